// Restores images through the REST interface, one after the other, and measures what comes back.
// What is small comes at once; of the rest a job is made, and waited for. The page is told of the
// job, and names it when it wants the same after a reload.
const WAIT = 60; // seconds that a restoration may take without a job
const ASK_EVERY = 1000; // milliseconds between two looks at a job
const ENDED = ["succeeded", "failed", "canceled", "expired"];

export default {
  template: `<span hidden></span>`,
  props: { wanted: Array },
  created() {
    this.restored = new Map(); // by model and image: where the result is, and how long it took
    this.told = new Set();
    this.failed = new Set(); // jobs
    this.busy = false;
  },
  mounted() {
    this.work();
  },
  unmounted() {
    this.gone = true;
    for (const { src } of this.restored.values()) if (src.startsWith("blob:")) URL.revokeObjectURL(src);
  },
  watch: {
    wanted() {
      this.work();
    },
  },
  methods: {
    async work() {
      if (this.busy) return;
      this.busy = true;
      let next;
      while (!this.gone && (next = this.wanted.find((each) => !this.told.has(each.key)))) {
        this.told.add(next.key);
        try {
          this.$emit("result", { key: next.key, ...(await this.answer(next)) });
        } catch (error) {
          this.$emit("problem", { key: next.key, detail: error.message });
        }
      }
      this.busy = false;
    },
    again(key) {
      this.told.delete(key);
      this.work();
    },
    async answer({ key, model, image, reference, job }) {
      const found = model ? await this.restore(key, model, image, job) : { src: `/v1/images/${image}/content` };
      const told = { src: found.src, seconds: found.seconds ?? null };
      if (!reference) return told;
      this.$emit("result", { key, ...told }); // to be looked at already
      this.$emit("progress", { key, words: "being measured", share: null });
      return { ...told, ...(await measure(found, reference)) };
    },
    async restore(key, model, image, job) {
      const name = `${model}-${image}`;
      if (!this.restored.has(name)) {
        this.$emit("progress", { key, words: "being restored", share: null });
        const began = performance.now();
        const result =
          job && !this.failed.has(job)
            ? { src: await this.follow(key, job) }
            : await this.ask(key, model, image);
        this.restored.set(name, { ...result, seconds: (performance.now() - began) / 1000 });
      }
      return this.restored.get(name);
    },
    async ask(key, model, image) {
      const answer = await request(`/v1/models/${model}/restore?format=png`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Prefer: `wait=${WAIT}` },
        body: JSON.stringify({ image_id: image }),
      });
      if (answer.status !== 200) return { src: await this.follow(key, (await answer.json()).id) };
      const blob = await answer.blob();
      return { src: URL.createObjectURL(blob), blob };
    },
    async follow(key, id) {
      try {
        for (;;) {
          const job = await (await request(`/v1/jobs/${id}`)).json();
          if (job.state === "succeeded") return `/v1/jobs/${id}/artifacts/restored/content`;
          if (ENDED.includes(job.state)) throw new Error(job.error?.message ?? `Its job was ${job.state}.`);
          const share = job.progress?.fraction ?? null;
          this.$emit("progress", { key, words: `job ${job.state}`, share, job: id });
          await new Promise((resolve) => setTimeout(resolve, ASK_EVERY));
          if (this.gone) throw new Error("The page was left.");
        }
      } catch (error) {
        this.failed.add(id); // another try makes another one
        throw error;
      }
    },
  },
};

async function measure({ src, blob }, reference) {
  try {
    const form = new FormData();
    form.append("file", blob ?? (await (await request(src)).blob()), "restored.png");
    const answer = await request(`/v1/images/${reference}/measure`, { method: "POST", body: form });
    return { metrics: (await answer.json()).metrics };
  } catch (error) {
    return { unmeasured: error.message };
  }
}

async function request(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The service does not answer: try again in a moment.");
  }
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({}));
  throw new Error(detail ?? `The service answered ${answer.status}.`);
}
