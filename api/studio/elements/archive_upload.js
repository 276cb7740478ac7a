// Sends an archive of pictures in parts, as docs/datasets.md has it: what breaks off goes on where
// it was, in this page by itself, and in a later one when the same archive is chosen again.
const PART = 16 << 20; // bytes of a request
const PROBE = 1 << 16; // bytes of a request after one that failed: its refusal arrives in any case
const PATIENCE = 300; // seconds without a byte that arrives after which to give up
const LONGEST_PAUSE = 5; // seconds

export default {
  template: `
    <form class="archive-upload" @submit.prevent="start" @dragenter.prevent="depth += 1" @dragleave="depth -= 1"
          @dragover.prevent @drop.prevent="drop">
      <label class="drop-target" :class="{ over: depth > 0 }">
        <input type="file" accept=".zip,.tar,.tgz,.tar.gz,.tar.bz2,.tar.xz,application/zip,application/x-tar"
               :disabled="busy" @change="choose">
        <span class="drop-words">{{ label }}</span>
        <span class="drop-hint">{{ file ? file.name + ', ' + bytes(file.size) : 'zip or tar, with PNG, JPEG, WebP or TIFF pictures in any folders' }}</span>
      </label>
      <template v-if="!dataset">
        <div class="archive-fields">
          <div class="field"><label :for="id + 'name'">Name</label>
            <input :id="id + 'name'" class="text" v-model.trim="name" maxlength="200" :disabled="busy"
                   placeholder="that of the file"></div>
          <div class="field"><label :for="id + 'bad'">A file that is no good picture</label>
            <select :id="id + 'bad'" class="text" v-model="onBadFile" :disabled="busy">
              <option value="skip">is left out and listed</option>
              <option value="refuse">has the whole data set refused</option>
            </select></div>
        </div>
      </template>
      <div class="row">
        <button class="button" :disabled="busy || !file">{{ dataset ? "Go on with the upload" : "Upload" }}</button>
        <button v-if="busy" type="button" class="plain" @click="stop">Stop</button>
      </div>
      <div class="archive-progress">
        <progress v-if="busy" :value="sent" :max="file.size" :aria-label="'Upload of ' + file.name"></progress>
        <span role="status" class="number">{{ told }}</span>
      </div>
      <p class="problem" role="alert">{{ problem }}</p>
    </form>`,
  props: { dataset: String, size: Number, label: String },
  data: () => ({
    depth: 0, file: null, name: "", onBadFile: "skip", busy: false, sent: 0, told: "", problem: "",
  }),
  computed: {
    id() {
      return `archive-${this.$.uid}-`;
    },
  },
  mounted() {
    window.addEventListener("beforeunload", this.warn);
  },
  beforeUnmount() {
    window.removeEventListener("beforeunload", this.warn);
    this.stop();
  },
  methods: {
    bytes,
    warn(event) {
      if (this.busy) event.preventDefault();
    },
    drop(event) {
      this.depth = 0;
      this.take(event.dataTransfer.files);
    },
    choose(event) {
      this.take(event.target.files);
      event.target.value = ""; // so that the same file can be chosen again
    },
    take([file]) {
      if (this.busy || !file) return;
      this.problem = "";
      this.told = "";
      if (this.dataset && file.size !== this.size) {
        this.problem = `${file.name} has ${file.size} bytes, and this upload began with an archive of ${this.size}: choose the same archive.`;
        return;
      }
      if (!file.size) {
        this.problem = `${file.name} is empty (0 bytes).`;
        return;
      }
      this.file = file;
    },
    async start() {
      if (this.busy || !this.file) return;
      this.busy = true;
      this.stopped = false;
      this.problem = "";
      this.told = "";
      try {
        const id = this.dataset || (await this.create());
        await this.sendAll(`/v1/datasets/${id}/content`);
        this.told = "All bytes are there.";
        this.busy = false;
        this.$emit("done", id);
      } catch (error) {
        this.told = "";
        this.problem = error.message;
      }
      this.busy = false;
    },
    stop() {
      this.stopped = true;
      this.request?.abort();
    },
    async create() {
      if (this.created?.file === this.file) return this.created.id; // its upload broke off here
      const answer = await ask("POST", "/v1/datasets", {
        body: JSON.stringify({
          name: this.name || this.file.name.slice(0, 200),
          source: { kind: "upload", size: this.file.size },
          on_bad_file: this.onBadFile,
        }),
        headers: { "Content-Type": "application/json" },
      });
      if (!answer.ok) throw new Error(answer.reason);
      this.created = { file: this.file, id: answer.json().id };
      this.$emit("created", this.created.id);
      return this.created.id;
    },
    async sendAll(path) {
      let offset = await this.offset(path);
      let failures = 0;
      let heard = Date.now();
      while (offset < this.file.size) {
        if (this.stopped) throw new Error("Stopped. What has come is kept: press the button to go on.");
        try {
          if (failures) offset = await this.offset(path);
          const end = Math.min(offset + (failures ? PROBE : PART), this.file.size);
          await this.sendPart(path, offset, end);
          [offset, failures, heard] = [end, 0, Date.now()];
        } catch (error) {
          if (!error.passing || this.stopped) {
            if (this.stopped) continue;
            throw error;
          }
          if (Date.now() - heard > PATIENCE * 1000) throw error;
          const pause = Math.min(0.25 * 2 ** failures, LONGEST_PAUSE);
          this.told = `${error.message} Trying again by itself.`;
          failures += 1;
          await new Promise((resolve) => setTimeout(resolve, pause * 1000));
        }
      }
    },
    async offset(path) {
      const answer = await ask("HEAD", path);
      if (!answer.ok) throw refusal(answer);
      return Number(answer.header("Upload-Offset"));
    },
    async sendPart(path, start, end) {
      const answer = await ask("PATCH", path, {
        body: this.file.slice(start, end),
        headers: { "Content-Type": "application/octet-stream", "Upload-Offset": String(start) },
        onBegin: (request) => (this.request = request),
        onBytes: (sent) => this.tell(start + sent),
      });
      if (!answer.ok) throw refusal(answer);
      this.tell(end);
    },
    tell(sent) {
      this.sent = Math.min(sent, this.file.size);
      const share = Math.floor((100 * this.sent) / this.file.size);
      this.told = `${bytes(this.sent)} of ${bytes(this.file.size)}, ${share} %`;
    },
  },
};

function ask(method, path, { body = null, headers = {}, onBegin, onBytes } = {}) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onBytes?.(event.loaded);
    request.onloadend = () =>
      resolve({
        status: request.status,
        ok: request.status >= 200 && request.status < 300,
        reason: reason(request),
        code: code(request),
        header: (name) => request.getResponseHeader(name),
        json: () => JSON.parse(request.responseText),
      });
    onBegin?.(request);
    request.send(body);
  });
}

// As the Python client has it: what passes by itself, or shows that more is there than was known.
function refusal(answer) {
  const passes = [0, 408, 409, 429].includes(answer.status) || answer.status >= 500;
  return Object.assign(new Error(answer.reason), {
    passing: passes && !["disk_full", "quota_exceeded"].includes(answer.code),
  });
}

function problem(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return {};
  }
}

function code(request) {
  return problem(request).code ?? "";
}

function reason(request) {
  if (request.status === 0) return "The service does not answer.";
  const { detail, errors } = problem(request);
  return detail ?? errors?.[0]?.detail ?? `The service answered ${request.status}.`;
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  let index = 0;
  while (count >= 1000 && index < units.length - 1) {
    count /= 1000;
    index += 1;
  }
  return `${index < 2 ? Math.round(count) : count.toFixed(1)} ${units[index]}`;
}
