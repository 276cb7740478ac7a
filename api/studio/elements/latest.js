// Loads what is wanted now; while it loads, what was wanted in between is forgotten.
export default {
  template: `
    <div class="latest">
      <span role="status">{{ told }}</span>
      <p v-if="problem" class="problem" role="alert">{{ problem }}</p>
    </div>`,
  props: { src: String, patience: String },
  emits: ["ready"],
  data: () => ({ told: "", problem: "" }),
  created() {
    this.loading = false;
    this.seen = false; // whether anything has come yet
  },
  mounted() {
    this.load();
  },
  watch: {
    src() {
      this.load();
    },
  },
  methods: {
    async load() {
      if (this.loading) return;
      this.loading = true;
      let src;
      do {
        src = this.src;
        await this.fetch(src);
      } while (src !== this.src);
      this.loading = false;
    },
    async fetch(src) {
      const slow = setTimeout(() => (this.told = this.seen ? "Drawing …" : this.patience), 500);
      try {
        const answer = await fetch(src);
        if (answer.ok) {
          await answer.blob(); // whole, and kept by the browser for who shows it
          this.seen = true;
          this.problem = "";
          this.$emit("ready", src);
        } else {
          this.problem = (await answer.json()).detail;
        }
      } catch {
        this.problem = "The server does not answer: try again in a moment.";
      } finally {
        clearTimeout(slow);
        this.told = "";
      }
    },
  },
};
