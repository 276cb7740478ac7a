// A slider that knows its value: the page may be drawn anew while it is moved.
let made = 0;

export default {
  template: `
    <div class="value-slider">
      <label :for="id">{{ label }}</label>
      <output :for="id" class="number">{{ words }}</output>
      <input :id="id" type="range" :min="low" :max="high" :step="step" v-model.number="now"
             :aria-valuetext="words" @input="$emit('move', now)">
    </div>`,
  props: { label: String, value: Number, low: Number, high: Number, step: Number, factor: Number, unit: String },
  emits: ["move"],
  data() {
    return { now: this.value, id: `slider-${++made}` };
  },
  computed: {
    words() {
      return `${Number((this.now * this.factor).toPrecision(4))} ${this.unit}`;
    },
  },
};
