// A place to drop, choose or paste files on, which sends them to the API as the browser's own
// requests: what the API refuses is told here in its words.
const zones = [];

// Of several places on a page, what is pasted goes to the one that a person is at.
function paste(event) {
  if (event.target.closest?.("input:not([type=file]), textarea, [contenteditable]")) return;
  const shown = zones.filter((zone) => zone.$el.offsetParent !== null);
  const zone =
    shown.find((each) => each.$el.contains(document.activeElement)) ??
    shown.find((each) => each.$el.matches(":hover")) ??
    shown[0];
  const files = [...(event.clipboardData?.files ?? [])];
  if (!zone || files.length === 0) return;
  event.preventDefault();
  zone.take(files);
}

function reason(request) {
  if (request.status === 0) {
    return "The connection broke off: try again. A file that is far too large ends this way, too.";
  }
  try {
    const { detail, errors } = JSON.parse(request.responseText);
    return detail ?? errors[0].detail;
  } catch {
    return `The server answered ${request.status}: try again in a moment.`;
  }
}

export default {
  template: `
    <div class="drop-zone" :class="{ over: depth > 0, busy }"
         @dragenter.prevent="depth += 1" @dragleave="depth -= 1" @dragover.prevent @drop.prevent="drop">
      <label class="drop-target">
        <input type="file" :accept="accept" :multiple="multiple" :disabled="busy" @change="choose">
        <span class="drop-words">{{ label }}</span>
        <span class="drop-hint">{{ hint }}</span>
      </label>
      <div class="drop-state">
        <progress v-if="busy" :value="sent" max="1" :aria-label="'Upload of ' + name"></progress>
        <span role="status">{{ told }}</span>
        <p v-for="problem in problems" class="problem" role="alert">{{ problem }}</p>
      </div>
    </div>`,
  props: { to: String, accept: String, multiple: Boolean, label: String, hint: String },
  emits: ["done", "problem"],
  data: () => ({ depth: 0, busy: false, name: "", sent: 0, told: "", problems: [] }),
  mounted() {
    zones.push(this);
    if (zones.length === 1) document.addEventListener("paste", paste);
  },
  beforeUnmount() {
    zones.splice(zones.indexOf(this), 1);
    if (zones.length === 0) document.removeEventListener("paste", paste);
  },
  methods: {
    drop(event) {
      this.depth = 0;
      this.take([...event.dataTransfer.files]);
    },
    choose(event) {
      const files = [...event.target.files];
      event.target.value = ""; // so that the same file can be chosen again
      this.take(files);
    },
    async take(files) {
      if (this.busy || files.length === 0) return;
      this.problems = [];
      if (files.length > 1 && !this.multiple) {
        this.tellProblem(`One file at a time, please: these are ${files.length}.`);
        return;
      }
      this.busy = true;
      let done = 0;
      for (const [index, file] of files.entries()) {
        this.name = file.name;
        const place = files.length > 1 ? ` (${index + 1} of ${files.length})` : "";
        try {
          const answer = await this.send(file, place);
          done += 1;
          this.$emit("done", answer);
        } catch (error) {
          this.tellProblem(files.length > 1 ? `${file.name}: ${error.message}` : error.message);
        }
      }
      this.told = done === 1 ? `${this.name} is stored.` : done ? `${done} files are stored.` : "";
      this.busy = false;
    },
    send(file, place) {
      return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        const form = new FormData();
        form.append("file", file);
        this.sent = 0;
        this.told = `${file.name}${place}: sending`;
        request.upload.onprogress = (event) => {
          this.sent = event.loaded / event.total;
          const share = Math.floor(this.sent * 100);
          this.told = `${file.name}${place}: ${share < 100 ? `${share} % sent` : "being checked"}`;
        };
        request.onloadend = () => {
          const good = request.status >= 200 && request.status < 300;
          if (good) resolve(JSON.parse(request.responseText));
          else reject(new Error(reason(request)));
        };
        request.open("POST", this.to);
        request.send(form);
      });
    },
    tellProblem(problem) {
      this.problems.push(problem);
      this.$emit("problem", problem);
    },
  },
};
