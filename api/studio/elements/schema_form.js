// The fields keep what is typed here: the server hears of it when there is a pause, and answers
// with what is wrong.
const PAUSE = 300; // ms

export default {
  template: `
    <div class="schema-form" @focusout="tellNow">
      <p v-if="problems['']" class="problem" role="alert">{{ problems[""] }}</p>
      <component
        v-for="group in groups"
        :key="group.fields[0].key"
        :is="group.name ? 'fieldset' : 'div'"
        class="schema-group"
      >
        <legend v-if="group.name">{{ group.name }}</legend>
        <div
          v-for="each in group.fields"
          :key="each.key"
          class="field"
          :class="{changed: isChanged(each)}"
        >
          <div class="schema-label">
            <label v-if="each.kind !== 'choices'" :for="id(each)">{{ each.label }}</label>
            <span v-else :id="id(each, 'label')" class="schema-legend">{{ each.label }}</span>
            <span v-if="isChanged(each)" class="schema-mark">changed</span>
          </div>
          <div class="schema-input">
            <select
              v-if="each.words.length"
              class="text"
              :id="word(each) === 'number' ? undefined : id(each)"
              :aria-label="each.label + ': a number or a word'"
              v-bind="word(each) === 'number' ? {} : described(each)"
              :value="word(each)"
              @change="chooseWord(each, $event.target.value)"
            >
              <option value="number">a number</option>
              <option v-for="name in each.words" :key="name" :value="String(name)">
                {{ name === null ? "none" : name }}
              </option>
            </select>
            <input
              v-if="each.kind === 'number' && word(each) === 'number'"
              class="text number"
              type="number"
              inputmode="decimal"
              :id="id(each)"
              :min="each.least"
              :max="each.most"
              :step="each.step"
              :value="shown(each)"
              v-bind="described(each)"
              @input="type(each, $event.target.value)"
            />
            <input
              v-else-if="each.kind === 'text' || each.kind === 'numbers'"
              class="text"
              type="text"
              :id="id(each)"
              :value="shown(each)"
              v-bind="described(each)"
              @input="type(each, $event.target.value)"
            />
            <select
              v-else-if="each.kind === 'choice'"
              class="text"
              :id="id(each)"
              :value="value(each)"
              v-bind="described(each)"
              @change="set(each, each.options[$event.target.selectedIndex])"
            >
              <option v-for="name in each.options" :key="name" :value="name">{{ name }}</option>
            </select>
            <input
              v-else-if="each.kind === 'switch'"
              type="checkbox"
              :id="id(each)"
              :checked="value(each)"
              v-bind="described(each)"
              @change="set(each, $event.target.checked)"
            />
            <div
              v-else-if="each.kind === 'choices'"
              role="group"
              class="schema-choices"
              :aria-labelledby="id(each, 'label')"
              v-bind="described(each)"
            >
              <label v-for="name in each.options" :key="name">
                <input
                  type="checkbox"
                  :checked="(value(each) || []).includes(name)"
                  @change="choose(each, name, $event.target.checked)"
                />
                {{ name }}
              </label>
            </div>
            <span v-if="each.unit" class="schema-unit">{{ each.unit }}</span>
            <button
              v-if="isChanged(each)"
              type="button"
              class="plain small"
              :aria-label="'Put ' + each.label + ' back to ' + written(each.default)"
              @click="putBack(each, $event)"
            >
              Back to {{ written(each.default) }}
            </button>
          </div>
          <p v-if="each.help" class="help" :id="id(each, 'help')">
            <template v-for="(piece, place) in each.help.split('\`')" :key="place"
              ><code v-if="place % 2">{{ piece }}</code><template v-else>{{ piece }}</template
            ></template>
          </p>
          <p v-if="problems[each.key]" class="problem" role="alert" :id="id(each, 'problem')">
            {{ problems[each.key] }}
          </p>
        </div>
      </component>
    </div>
  `,
  props: { fields: Array, given: Object, problems: Object, revision: Number },
  emits: ["given"],
  data() {
    return { values: { ...this.given }, typed: {}, typing: null };
  },
  watch: {
    // What is being typed outlasts values that come from the server meanwhile.
    revision() {
      const each = this.byKey[this.typing];
      const text = this.typed[this.typing];
      this.values = { ...this.given };
      this.typed = {};
      if (each && this.isThere(each)) this.type(each, text);
      else this.forget();
    },
  },
  beforeUnmount() {
    this.forget();
  },
  computed: {
    byKey() {
      return Object.fromEntries(this.fields.map((each) => [each.key, each]));
    },
    groups() {
      const groups = [];
      for (const each of this.fields.filter(this.isThere)) {
        if (groups.at(-1)?.name !== each.group) groups.push({ name: each.group, fields: [] });
        groups.at(-1).fields.push(each);
      }
      return groups;
    },
  },
  methods: {
    id(each, part = "input") {
      return `${this.$attrs.id}-${each.key}-${part}`;
    },
    described(each) {
      const ids = [];
      if (each.help) ids.push(this.id(each, "help"));
      if (this.problems[each.key]) ids.push(this.id(each, "problem"));
      return {
        "aria-describedby": ids.join(" ") || undefined,
        "aria-invalid": this.problems[each.key] ? "true" : undefined,
      };
    },
    isThere(each) {
      return Object.entries(each.when).every(([key, kind]) => this.value(this.byKey[key]) === kind);
    },
    isChanged(each) {
      return each.key in this.values;
    },
    value(each) {
      return this.isChanged(each) ? this.values[each.key] : each.default;
    },
    word(each) {
      const value = this.value(each);
      const isWord = each.words.includes(value) && this.typed[each.key] === undefined;
      return isWord ? String(value) : "number";
    },
    shown(each) {
      const value = this.typed[each.key] ?? this.value(each);
      if (value === null || value === undefined) return "";
      return Array.isArray(value) ? value.join(", ") : String(value);
    },
    written(value) {
      if (value === null || value === undefined) return "none";
      if (typeof value === "boolean") return value ? "on" : "off";
      return Array.isArray(value) ? value.join(", ") : String(value);
    },
    type(each, text) {
      this.typed[each.key] = text;
      this.keep(each, this.parsed(each, text));
      this.forget();
      this.typing = each.key;
      this.waiting = setTimeout(this.tellNow, PAUSE);
    },
    parsed(each, text) {
      if (each.kind === "text") return text;
      if (each.kind === "number") return toNumber(text);
      return text.split(/[\s,;]+/).filter(Boolean).map(toNumber);
    },
    set(each, value) {
      this.tellNow();
      delete this.typed[each.key];
      this.keep(each, value);
      for (const other of this.fields) {
        if (!this.isThere(other)) {
          delete this.values[other.key];
          delete this.typed[other.key];
        }
      }
      this.tell(each);
    },
    choose(each, name, isChosen) {
      const chosen = new Set(this.value(each));
      if (isChosen) chosen.add(name);
      else chosen.delete(name);
      this.set(each, each.options.filter((option) => chosen.has(option)));
    },
    chooseWord(each, name) {
      if (name !== "number") {
        this.set(each, each.words.find((word) => String(word) === name));
        return;
      }
      const first = typeof each.default === "number" ? each.default : each.least;
      this.type(each, first === null ? "" : String(first));
    },
    keep(each, value) {
      if (JSON.stringify(value) === JSON.stringify(each.default)) delete this.values[each.key];
      else this.values[each.key] = value;
    },
    putBack(each, event) {
      const field = event.target.closest(".field");
      this.set(each, each.default);
      this.$nextTick(() => field.querySelector("input, select")?.focus());
    },
    // What is typed is told before a button beside the form is pressed.
    tellNow() {
      if (this.typing) this.tell(this.byKey[this.typing]);
    },
    tell(each) {
      this.forget();
      this.$emit("given", {
        revision: this.revision,
        values: { ...this.values },
        changed: { [each.key]: this.value(each) },
      });
    },
    forget() {
      clearTimeout(this.waiting);
      this.typing = null;
    },
  },
};

function toNumber(text) {
  const number = Number(text);
  return text.trim() === "" || Number.isNaN(number) ? text : number;
}
