// Pictures made in the course of a run: the latest, or those of an earlier step by a slider.
export default {
  template: `
    <div class="film">
      <div class="film-pictures">
        <figure v-for="picture in pictures" :key="picture.name">
          <figcaption>{{ picture.name }}</figcaption>
          <div class="film-frame" :style="{ aspectRatio: picture.ratio }">
            <a v-if="frame(picture)" :href="frame(picture).src" target="_blank"
               :aria-label="picture.alt + words(frame(picture)) + ', in its own size'">
              <img :src="frame(picture).src" :alt="picture.alt + words(frame(picture))" class="pixels" />
            </a>
            <span v-else>{{ picture.waiting }}</span>
          </div>
        </figure>
      </div>
      <div class="film-time" :class="{ still: steps.length < 2 }">
        <input type="range" min="0" :max="Math.max(1, steps.length - 1)" :value="place" :aria-label="'Iteration of ' + title"
               :aria-valuetext="String(steps[place])" @input="turn(+$event.target.value)" />
        <output class="number">iteration {{ steps[place] }}</output>
      </div>
    </div>`,
  props: {
    title: String,
    pictures: Array, // of {name, alt, ratio, waiting, frames: [{step, src}]}
  },
  data: () => ({ chosen: null }), // a step; null for the latest, which moves on with the run
  computed: {
    steps() {
      const many = this.pictures.filter((picture) => picture.frames.length > 1);
      const all = many.flatMap((picture) => picture.frames.map((frame) => frame.step));
      return [...new Set(all)].sort((one, other) => one - other);
    },
    place() {
      const found = this.steps.indexOf(this.chosen);
      return found < 0 ? this.steps.length - 1 : found;
    },
  },
  methods: {
    frame(picture) {
      const frames = picture.frames;
      if (frames.length < 2) return frames[0];
      return frames.filter((frame) => frame.step <= this.steps[this.place]).pop() ?? frames[0];
    },
    words(frame) {
      return frame.step === null ? "" : `, after iteration ${frame.step}`;
    },
    turn(place) {
      this.chosen = place === this.steps.length - 1 ? null : this.steps[place];
    },
  },
};
