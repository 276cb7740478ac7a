// A task being put together: which one, how strong, and for a custom one which distortions in
// which order. The state lives here, so that sliders follow the hand; each change is told.
const Pair = {
  template: `
    <fieldset class="pair">
      <legend>{{ parameter.label }} <span class="quiet">{{ parameter.help }}</span></legend>
      <div v-for="end in [0, 1]" class="pair-row">
        <span aria-hidden="true">{{ ENDS[end] }}</span>
        <input type="range" :min="parameter.span[0]" :max="parameter.span[1]" :step="parameter.step"
               :value="value[end]" :aria-label="of + ', ' + parameter.label + ' ' + ENDS[end]"
               @input="set(end, $event.target.valueAsNumber)">
        <input type="number" class="text" :min="parameter.low" :max="parameter.high" step="any"
               :value="shown[end]" :aria-label="of + ', ' + parameter.label + ' ' + ENDS[end] + ', as a number'"
               :aria-invalid="problem[end] !== ''" @input="type(end, $event.target)">
      </div>
      <p v-if="problem[0] || problem[1]" class="problem" role="alert">{{ problem[0] || problem[1] }}</p>
    </fieldset>`,
  props: { parameter: Object, value: Array, of: String },
  emits: ["change"],
  data() {
    return { shown: [...this.value], problem: ["", ""], ENDS: ["from", "to"] };
  },
  watch: {
    // What is being typed stays as it is: `1.` is on its way to 1.5.
    value(value) {
      this.shown = value.map((each, end) => (Number(this.shown[end]) === each ? this.shown[end] : each));
    },
  },
  methods: {
    set(end, number) {
      const value = [...this.value];
      value[end] = number;
      // An end that meets the other one takes it along.
      if (value[0] > value[1]) value[1 - end] = number;
      this.problem = ["", ""];
      this.$emit("change", value);
    },
    type(end, field) {
      const { low, high, whole, label } = this.parameter;
      this.shown[end] = field.value;
      const number = field.valueAsNumber;
      if (number >= low && number <= high && (!whole || Number.isInteger(number))) {
        this.set(end, number);
        return;
      }
      const kind = whole ? "a whole number" : "a number";
      this.problem[end] = `${label} must be ${kind} from ${low} to ${high}.`;
    },
  },
};

const Parameters = {
  components: { Pair },
  template: `
    <div class="parameters">
      <template v-for="parameter in kind.parameters">
        <label v-if="parameter.choices" class="choice">
          <span>{{ parameter.label }} <span class="quiet">{{ parameter.help }}</span></span>
          <select class="text" :value="values[parameter.name]"
                  @change="$emit('change', parameter.name, $event.target.value)">
            <option v-for="choice in parameter.choices" :value="choice">{{ choice }}</option>
          </select>
        </label>
        <Pair v-else :parameter="parameter" :value="values[parameter.name]" :of="kind.label"
              @change="$emit('change', parameter.name, $event)" />
      </template>
    </div>`,
  props: { kind: Object, values: Object },
  emits: ["change"],
};

const asPair = (value) => (Array.isArray(value) ? [...value] : [value, value]);
const asWritten = ([low, high]) => (low === high ? low : [low, high]);

function valuesOf(kind, given = {}) {
  return Object.fromEntries(
    kind.parameters.map(({ name, choices, start }) => {
      const value = given[name] ?? start;
      return [name, choices ? value : asPair(value)];
    }),
  );
}

function written(kind, values) {
  const fields = kind.parameters.map(({ name, choices }) => [
    name,
    choices ? values[name] : asWritten(values[name]),
  ]);
  return { kind: kind.kind, ...Object.fromEntries(fields) };
}

export default {
  components: { Parameters },
  template: `
    <div class="pipeline">
      <fieldset class="tasks">
        <legend>Task</legend>
        <label v-for="each in tasks" :class="{ chosen: each.kind === kind }">
          <input type="radio" :name="'task-' + $.uid" :value="each.kind" :checked="each.kind === kind"
                 @change="kind = each.kind; tell()">
          <span><b>{{ each.label }}</b> <span class="quiet">{{ each.help }}</span></span>
        </label>
      </fieldset>
      <template v-if="kind === 'custom'">
        <ol class="steps">
          <li v-for="(step, index) in steps" :key="step.key">
            <div class="step-head">
              <h4>{{ index + 1 }}. {{ kindOf(step).label }}</h4>
              <button type="button" class="plain small" :disabled="index === 0"
                      :aria-label="'Earlier: step ' + (index + 1) + ', ' + kindOf(step).label"
                      @click="move(index, -1)">Earlier</button>
              <button type="button" class="plain small" :disabled="index === steps.length - 1"
                      :aria-label="'Later: step ' + (index + 1) + ', ' + kindOf(step).label"
                      @click="move(index, 1)">Later</button>
              <button type="button" class="plain small" :disabled="steps.length === 1"
                      :title="steps.length === 1 ? 'A pipeline has one step or more' : null"
                      :aria-label="'Remove step ' + (index + 1) + ', ' + kindOf(step).label"
                      @click="remove(index)">Remove</button>
            </div>
            <p class="quiet">{{ kindOf(step).help }}</p>
            <Parameters :kind="kindOf(step)" :values="step.values"
                        @change="(name, value) => { step.values[name] = value; tell(); }" />
          </li>
        </ol>
        <div class="step-add">
          <label>
            <span>Add a step</span>
            <select class="text" v-model="adding" :disabled="steps.length >= most">
              <option v-for="each in distortions" :value="each.kind">{{ each.label }}</option>
            </select>
          </label>
          <button type="button" class="plain" :disabled="steps.length >= most" @click="add">Add</button>
          <span v-if="steps.length >= most" class="quiet">A pipeline has {{ most }} steps at most.</span>
        </div>
      </template>
      <Parameters v-else :key="kind" :kind="taskKind" :values="values[kind]"
                  @change="(name, value) => { values[kind][name] = value; tell(); }" />
      <p v-if="drawn" class="quiet">
        In training each step draws a new value between the two ends; equal ends fix it.
      </p>
    </div>`,
  props: { task: Object, tasks: Array, distortions: Array, most: Number },
  emits: ["change"],
  data() {
    const plain = this.tasks.filter((each) => each.kind !== "custom");
    return {
      kind: plain[0].kind,
      values: Object.fromEntries(plain.map((each) => [each.kind, valuesOf(each)])),
      steps: [],
      adding: this.distortions[0].kind,
      keys: 0,
    };
  },
  created() {
    this.steps = [this.stepOf({ kind: this.distortions[0].kind })];
    this.take(this.task);
  },
  watch: {
    task(task) {
      if (JSON.stringify(task) !== JSON.stringify(this.written)) this.take(task);
    },
  },
  computed: {
    taskKind() {
      return this.tasks.find((each) => each.kind === this.kind);
    },
    drawn() {
      const kinds = this.kind === "custom" ? this.steps.map(this.kindOf) : [this.taskKind];
      return kinds.some((each) => each.parameters.some((parameter) => !parameter.choices));
    },
    written() {
      if (this.kind !== "custom") return written(this.taskKind, this.values[this.kind]);
      const distortions = this.steps.map((step) => written(this.kindOf(step), step.values));
      return { kind: "custom", distortions };
    },
  },
  methods: {
    kindOf(step) {
      return this.distortions.find((each) => each.kind === step.kind);
    },
    stepOf(given) {
      this.keys += 1;
      return { key: this.keys, kind: given.kind, values: valuesOf(this.kindOf(given), given) };
    },
    take(task) {
      this.kind = task.kind;
      if (task.kind === "custom") this.steps = task.distortions.map(this.stepOf);
      else this.values[task.kind] = valuesOf(this.taskKind, task);
    },
    add() {
      this.steps.push(this.stepOf({ kind: this.adding }));
      this.tell();
    },
    move(index, by) {
      this.steps.splice(index + by, 0, ...this.steps.splice(index, 1));
      this.tell();
    },
    remove(index) {
      this.steps.splice(index, 1);
      this.tell();
    },
    tell() {
      this.$emit("change", this.written);
    },
  },
};
