// Images, as close as one likes: beside one another, one over another, and what differs.
// Zoom counts the screen's pixels for each pixel of the largest image; all panes share one view.
const ZOOMS = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32];
const MOST = ZOOMS[ZOOMS.length - 1];
const GAINS = [1, 2, 4, 8, 16, 32];
const MODES = {
  slider: "Slider",
  "side-by-side": "Side by side",
  difference: "Difference",
  single: "One at a time",
};
const groups = new Map();

export default {
  template: `
    <div class="viewer" role="group" :aria-label="title">
      <div class="viewer-tools">
        <div v-if="images.length > 1" class="viewer-modes" role="group" aria-label="How to compare">
          <button v-for="(name, key) in modes" :key="key" type="button" :aria-pressed="key === shownMode"
                  @click="chosenMode = key">{{ name }}</button>
        </div>
        <template v-if="images.length > 2 && isPair">
          <label>Left <select v-model.number="left">
            <option v-for="(image, index) in images" :key="index" :value="index">{{ image.label }}</option>
          </select></label>
          <label>Right <select v-model.number="right">
            <option v-for="(image, index) in images" :key="index" :value="index">{{ image.label }}</option>
          </select></label>
        </template>
        <label v-if="images.length > 1 && shownMode === 'single'">Image <select v-model.number="alone">
          <option v-for="(image, index) in images" :key="index" :value="index">{{ image.label }}</option>
        </select></label>
        <label v-if="shownMode === 'difference'">Gain <select v-model.number="gain">
          <option v-for="each in gains" :key="each" :value="each">×{{ each }}</option>
        </select></label>
        <label v-if="overlay">Overlay <input type="range" min="0" max="100" :value="Math.round(opacity * 100)"
          @input="opacity = $event.target.value / 100" />
          <output>{{ Math.round(opacity * 100) }} %</output></label>
        <div class="viewer-zoom" role="group" aria-label="Zoom">
          <button type="button" aria-label="Zoom out" @click="step(-1)">−</button>
          <output class="viewer-percent" aria-label="Zoom in percent">{{ percent }}</output>
          <button type="button" aria-label="Zoom in" @click="step(1)">+</button>
          <button type="button" :aria-pressed="fitted" @click="fit">Fit</button>
          <button type="button" :aria-pressed="percent === '100 %'" title="one pixel of the image on one of the screen"
                  @click="zoomTo(1)">1:1</button>
        </div>
      </div>
      <div ref="stage" class="viewer-stage" tabindex="0" role="group" :aria-label="instructions"
           :class="{ moving: dragging, zoomed: !fitted }"
           @keydown="key" @wheel="wheel" @pointerdown="press" @pointermove="move" @pointerup="release"
           @pointercancel="release" @pointerleave="spot = null">
        <figure v-for="(pane, index) in panes" :key="pane.key" class="viewer-pane">
          <div class="viewer-picture" :style="{ height }">
            <canvas :ref="(canvas) => hold(canvas, index)" role="img" :aria-label="pane.words"
                    :style="{ filter: shownMode === 'difference' ? 'brightness(' + gain + ')' : 'none' }"></canvas>
            <template v-if="shownMode === 'slider'">
              <span class="viewer-tag left">{{ images[left].label }}</span>
              <span class="viewer-tag right">{{ images[right].label }}</span>
              <div class="viewer-split" role="slider" tabindex="0" :style="{ left: split * 100 + '%' }"
                   aria-valuemin="0" aria-valuemax="100" :aria-valuenow="Math.round(split * 100)"
                   aria-orientation="horizontal" :aria-label="'Border between ' + images[left].label + ' and ' + images[right].label"
                   :aria-valuetext="Math.round(split * 100) + ' % ' + images[left].label"
                   @keydown="keySplit" @pointerdown="pressSplit" @pointermove="moveSplit"></div>
            </template>
          </div>
          <figcaption>{{ pane.caption }}</figcaption>
        </figure>
      </div>
      <p v-if="images.length" class="viewer-values"><span v-if="!spot" class="quiet">Point at a pixel for its place and colour.</span>
        <template v-else><span>x {{ spot.x }}, y {{ spot.y }} px</span>
          <span v-for="value in spot.values" :key="value.label"><i :style="{ background: 'rgb(' + value.rgb + ')' }"></i>
            {{ value.label }} {{ value.rgb }}</span></template></p>
      <p v-if="remark" class="viewer-remark quiet">{{ remark }}</p>
    </div>
  `,
  props: {
    sources: Array,
    mode: String,
    group: String,
    overlay: String,
    overlay_opacity: Number,
    height: String,
    title: String,
  },
  data() {
    return {
      gains: GAINS,
      images: this.sources.map(unloaded),
      chosenMode: this.mode,
      left: 0,
      right: 1,
      alone: 0,
      gain: 4,
      split: 0.5,
      opacity: this.overlay_opacity,
      fitted: true,
      zoom: 1,
      centre: { x: 0.5, y: 0.5 },
      room: { width: 0, height: 0, density: 1 },
      dragging: false,
      spot: null,
    };
  },
  created() {
    // What the screen shows is drawn from these; Vue need not watch them.
    this.pictures = [];
    this.overlayPicture = null;
    this.canvases = [];
    this.pointers = new Map();
    this.differing = null;
    this.probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  },
  mounted() {
    this.sizes = new ResizeObserver(this.measure);
    this.sizes.observe(this.$refs.stage);
    this.load();
    this.loadOverlay();
    this.join(this.group);
  },
  unmounted() {
    this.sizes.disconnect();
    cancelAnimationFrame(this.waiting);
    this.leave(this.group);
  },
  watch: {
    sources(now, before) {
      if (JSON.stringify(now) !== JSON.stringify(before)) this.load();
    },
    mode(mode) {
      this.chosenMode = mode;
    },
    group(now, before) {
      this.leave(before);
      this.join(now);
    },
    overlay() {
      this.loadOverlay();
    },
    overlay_opacity(opacity) {
      this.opacity = opacity;
    },
    panes() {
      this.$nextTick(this.measure);
    },
    height() {
      this.$nextTick(this.measure);
    },
    view() {
      this.draw();
    },
    pair() {
      this.differing = null;
      this.draw();
    },
  },
  computed: {
    modes() {
      return MODES;
    },
    shownMode() {
      return this.images.length > 1 ? this.chosenMode : "single";
    },
    isPair() {
      return this.shownMode === "slider" || this.shownMode === "difference";
    },
    pair() {
      return `${this.left} ${this.right}`;
    },
    // All that a drawing depends on, so that one watcher sees it change.
    view() {
      const { x, y } = this.centre;
      return [this.scale, x, y, this.split, this.opacity, this.shownMode, this.alone].join(" ");
    },
    // The size, in its own pixels, of the largest image: the others are scaled to it.
    frame() {
      const known = this.images.filter((image) => image.width);
      const largest = known.reduce((a, b) => (b.width > a.width ? b : a), known[0]);
      return largest ? { width: largest.width, height: largest.height } : { width: 1, height: 1 };
    },
    fitting() {
      const { width, height } = this.room;
      return Math.min(MOST, width / this.frame.width, height / this.frame.height) || 1;
    },
    scale() {
      return this.fitted ? this.fitting : this.zoom;
    },
    percent() {
      const percent = this.scale * 100;
      return `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
    },
    panes() {
      if (!this.images.length) return [];
      const describe = (image) => ({ key: image.src, words: image.label, caption: told(image) });
      if (this.shownMode === "single") return [describe(this.images[this.alone])];
      if (this.shownMode === "side-by-side") {
        return this.images.map((image, index) => ({ ...describe(image), key: index }));
      }
      const [left, right] = [this.images[this.left], this.images[this.right]];
      if (this.shownMode === "slider") {
        const words = `${left.label} to the left, ${right.label} to the right`;
        return [{ key: "slider", words, caption: `${told(left)}  |  ${told(right)}` }];
      }
      const words = `absolute difference of ${left.label} and ${right.label}`;
      return [{ key: "difference", words, caption: `${capital(words)}, times ${this.gain}: black where they are equal` }];
    },
    instructions() {
      return `${this.title}: arrow keys move, plus and minus zoom, 0 fits, 1 shows pixels one to one`;
    },
    remark() {
      const { width, height } = this.frame;
      const parts = this.images.filter((image) => image.width && (image.width !== width || image.height !== height));
      return parts
        .map((image) => {
          const [across, down] = [width / image.width, height / image.height];
          if (Math.abs(across - down) < 0.01 * across) return `${image.label} is shown ×${plain(across)}, at the size of the largest.`;
          return `${image.label} is stretched to the size of the largest, ×${plain(across)} across and ×${plain(down)} down.`;
        })
        .join(" ");
    },
  },
  methods: {
    load() {
      const kept = new Map(this.images.map((image, index) => [image.src, [image, this.pictures[index]]]));
      const round = (this.round = Symbol("the newest sources"));
      const names = this.images.map((image) => image.label);
      const before = this.images.length;
      this.images = this.sources.map((source) => {
        const [image] = kept.get(source.src) ?? [];
        return image?.width ? { ...image, label: source.label } : unloaded(source);
      });
      // What has another address now, and the name that it had, is shown until that is there.
      this.pictures = this.sources.map((source, index) => {
        if (this.images[index].width) return kept.get(source.src)[1];
        return names[index] === source.label ? this.pictures[index] : null;
      });
      this.differing = null;
      if (this.images.length !== before) [this.left, this.right, this.alone] = [0, 1, 0];
      this.sources.forEach(async (source, index) => {
        if (this.images[index].width) return;
        const picture = await loaded(source.src);
        if (this.round !== round) return;
        const image = this.images[index];
        this.pictures[index] = picture;
        this.images[index] = picture
          ? { ...image, width: picture.naturalWidth, height: picture.naturalHeight }
          : { ...image, failed: true };
        this.differing = null;
        this.$nextTick(this.draw);
      });
      this.$nextTick(this.draw);
    },
    async loadOverlay() {
      const wanted = this.overlay;
      const picture = wanted ? await loaded(wanted) : null;
      if (wanted !== this.overlay) return;
      this.overlayPicture = picture;
      this.draw();
    },
    hold(canvas, index) {
      this.canvases[index] = canvas;
    },
    measure() {
      const canvas = this.canvases[0];
      if (!canvas) return;
      const box = canvas.getBoundingClientRect();
      const density = window.devicePixelRatio;
      const room = { width: Math.round(box.width * density), height: Math.round(box.height * density), density };
      if (JSON.stringify(room) !== JSON.stringify(this.room)) this.room = room;
      this.draw();
    },

    // Drawing
    draw() {
      cancelAnimationFrame(this.waiting);
      this.waiting = requestAnimationFrame(this.drawNow);
    },
    drawNow() {
      this.canvases.slice(0, this.panes.length).forEach((canvas, index) => {
        if (!canvas || !this.room.width) return;
        const { width, height } = this.room;
        if (canvas.width !== width) canvas.width = width;
        if (canvas.height !== height) canvas.height = height;
        const context = canvas.getContext("2d");
        context.clearRect(0, 0, width, height);
        if (this.shownMode === "difference") {
          const difference = this.difference();
          if (difference) this.put(context, difference);
        } else if (this.shownMode === "slider") {
          this.put(context, this.pictures[this.right]);
          context.save();
          context.beginPath();
          context.rect(0, 0, Math.round(width * this.split), height);
          context.clip();
          context.clearRect(0, 0, width, height);
          this.put(context, this.pictures[this.left]);
          context.restore();
        } else {
          this.put(context, this.pictures[this.shownMode === "single" ? this.alone : index]);
        }
        if (this.overlayPicture) {
          context.globalAlpha = this.opacity;
          this.put(context, this.overlayPicture);
          context.globalAlpha = 1;
        }
      });
    },
    origin() {
      const { width, height } = this.room;
      return {
        x: Math.round(width / 2 - this.centre.x * this.frame.width * this.scale),
        y: Math.round(height / 2 - this.centre.y * this.frame.height * this.scale),
      };
    },
    // The part of a picture that is in view, in whole pixels of its own.
    put(context, picture) {
      if (!picture) return;
      const [wide, high] = extent(picture);
      const [across, down] = [(this.scale * this.frame.width) / wide, (this.scale * this.frame.height) / high];
      const { x, y } = this.origin();
      const [x0, x1] = visible(x, across, wide, this.room.width);
      const [y0, y1] = visible(y, down, high, this.room.height);
      if (x1 <= x0 || y1 <= y0) return;
      context.imageSmoothingEnabled = across < 1;
      context.imageSmoothingQuality = "medium";
      context.drawImage(picture, x0, y0, x1 - x0, y1 - y0,
        x + x0 * across, y + y0 * down, (x1 - x0) * across, (y1 - y0) * down);
    },
    difference() {
      const [left, right] = [this.pictures[this.left], this.pictures[this.right]];
      if (!left || !right) return null;
      if (!this.differing) {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [this.frame.width, this.frame.height];
        const context = canvas.getContext("2d");
        context.imageSmoothingEnabled = false;
        context.drawImage(left, 0, 0, canvas.width, canvas.height);
        context.globalCompositeOperation = "difference";
        context.drawImage(right, 0, 0, canvas.width, canvas.height);
        this.differing = canvas;
      }
      return this.differing;
    },

    // Zoom and place
    look({ fitted = this.fitted, zoom = this.zoom, x = this.centre.x, y = this.centre.y }) {
      this.fitted = fitted;
      this.zoom = Math.min(MOST, Math.max(Math.min(this.fitting, ZOOMS[0]), zoom));
      const inside = (value, room, side) => {
        const half = room / (2 * side * this.scale);
        return half >= 0.5 ? 0.5 : Math.min(1 - half, Math.max(half, value));
      };
      this.centre = {
        x: inside(x, this.room.width, this.frame.width),
        y: inside(y, this.room.height, this.frame.height),
      };
    },
    share() {
      const view = { fitted: this.fitted, shown: this.zoom * this.frame.width, ...this.centre };
      for (const other of groups.get(this.group) ?? []) if (other !== this) other.follow(view);
    },
    follow({ fitted, shown, x, y }) {
      this.look({ fitted, zoom: shown / this.frame.width, x, y });
    },
    join(group) {
      if (!group) return;
      const members = groups.get(group) ?? new Set();
      const [first] = members;
      groups.set(group, members.add(this));
      first?.share();
    },
    leave(group) {
      groups.get(group)?.delete(this);
      if (!groups.get(group)?.size) groups.delete(group);
    },
    fit() {
      this.look({ fitted: true, x: 0.5, y: 0.5 });
      this.share();
    },
    // Keeps what lies `dx`, `dy` screen pixels from the middle where it is.
    zoomTo(zoom, dx = 0, dy = 0) {
      const before = this.scale;
      const after = Math.min(MOST, zoom);
      const moved = (offset, side) => (offset / side) * (1 / before - 1 / after);
      const x = this.centre.x + moved(dx, this.frame.width);
      const y = this.centre.y + moved(dy, this.frame.height);
      this.look({ fitted: false, zoom: after, x, y });
      this.share();
    },
    step(direction) {
      const near = 1e-6;
      const next =
        direction > 0
          ? ZOOMS.find((zoom) => zoom > this.scale * (1 + near))
          : ZOOMS.findLast((zoom) => zoom < this.scale * (1 - near));
      if (next) this.zoomTo(next);
    },
    pan(dx, dy) {
      const x = this.centre.x - dx / (this.frame.width * this.scale);
      const y = this.centre.y - dy / (this.frame.height * this.scale);
      this.look({ x, y });
      this.share();
    },
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const far = 0.1 * this.room.width;
      const acts = {
        ArrowLeft: () => this.pan(far, 0),
        ArrowRight: () => this.pan(-far, 0),
        ArrowUp: () => this.pan(0, far),
        ArrowDown: () => this.pan(0, -far),
        "+": () => this.step(1),
        "=": () => this.step(1),
        "-": () => this.step(-1),
        0: this.fit,
        1: () => this.zoomTo(1),
      };
      if (!(event.key in acts)) return;
      acts[event.key]();
      event.preventDefault();
    },
    keySplit(event) {
      const far = event.shiftKey ? 0.1 : 0.02;
      const places = {
        ArrowLeft: this.split - far,
        ArrowDown: this.split - far,
        ArrowRight: this.split + far,
        ArrowUp: this.split + far,
        PageDown: this.split - 0.1,
        PageUp: this.split + 0.1,
        Home: 0,
        End: 1,
      };
      if (!(event.key in places)) return;
      this.split = Math.min(1, Math.max(0, places[event.key]));
      event.preventDefault();
      event.stopPropagation();
    },
    // Where an event is in the pane below it, in screen pixels: from its edge and from its middle.
    place(event) {
      const pane = event.target.closest(".viewer-picture") ?? this.canvases[0];
      const box = pane.getBoundingClientRect();
      const { density, width, height } = this.room;
      const [x, y] = [(event.clientX - box.left) * density, (event.clientY - box.top) * density];
      return { x, y, dx: x - width / 2, dy: y - height / 2 };
    },
    wheel(event) {
      if (event.deltaY > 0 && this.fitted) return; // the page scrolls on
      event.preventDefault();
      const { dx, dy } = this.place(event);
      const lines = event.deltaMode === 1 ? 20 : 1;
      const zoom = this.scale * Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002));
      if (zoom <= this.fitting && event.deltaY > 0) this.fit();
      else this.zoomTo(zoom, dx, dy);
    },
    press(event) {
      if (event.button || !event.target.closest("canvas")) return;
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      this.$refs.stage.setPointerCapture(event.pointerId);
      this.dragging = true;
    },
    move(event) {
      const before = this.pointers.get(event.pointerId);
      if (!before) {
        this.read(event);
        return;
      }
      const now = { x: event.clientX, y: event.clientY };
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
      this.pointers.set(event.pointerId, now);
      if (others.length) {
        const [, still] = others[0];
        const apart = (point) => Math.hypot(point.x - still.x, point.y - still.y);
        const box = this.canvases[0].getBoundingClientRect();
        const middle = (a, b, start, length) => ((a + b) / 2 - start - length / 2) * this.room.density;
        this.zoomTo((this.scale * apart(now)) / (apart(before) || 1),
          middle(now.x, still.x, box.left, box.width), middle(now.y, still.y, box.top, box.height));
      } else {
        const { density } = this.room;
        this.pan((now.x - before.x) * density, (now.y - before.y) * density);
      }
    },
    release(event) {
      this.pointers.delete(event.pointerId);
      this.dragging = this.pointers.size > 0;
    },
    pressSplit(event) {
      event.stopPropagation();
      event.target.setPointerCapture(event.pointerId);
      event.target.focus();
    },
    moveSplit(event) {
      if (!event.target.hasPointerCapture(event.pointerId)) return;
      this.split = Math.min(1, Math.max(0, this.place(event).x / this.room.width));
    },
    read(event) {
      const { x, y } = this.place(event);
      const start = this.origin();
      const [right, down] = [(x - start.x) / this.scale, (y - start.y) / this.scale];
      const { width, height } = this.frame;
      if (!event.target.closest("canvas") || right < 0 || down < 0 || right >= width || down >= height) {
        this.spot = null;
        return;
      }
      const values = this.images.flatMap((image, index) =>
        this.pictures[index] && this.isSeen(index)
          ? [{ label: image.label, rgb: this.colour(this.pictures[index], right / width, down / height) }]
          : [],
      );
      this.spot = { x: Math.floor(right), y: Math.floor(down), values };
    },
    isSeen(index) {
      if (this.shownMode === "single") return index === this.alone;
      return !this.isPair || index === this.left || index === this.right;
    },
    colour(picture, x, y) {
      const [wide, high] = extent(picture);
      this.probe.clearRect(0, 0, 1, 1);
      this.probe.drawImage(picture, Math.floor(x * wide), Math.floor(y * high), 1, 1, 0, 0, 1, 1);
      return [...this.probe.getImageData(0, 0, 1, 1).data.slice(0, 3)].join(", ");
    },
  },
};

function unloaded({ src, label }) {
  return { src, label, width: 0, height: 0, failed: false };
}

async function loaded(src) {
  const picture = new Image();
  picture.src = src;
  try {
    await picture.decode();
    return picture;
  } catch {
    return null;
  }
}

function told(image) {
  if (image.failed) return `${image.label}: cannot be loaded`;
  if (!image.width) return `${image.label}: loading …`;
  return `${image.label}, ${image.width} × ${image.height} px`;
}

function extent(picture) {
  return picture instanceof HTMLCanvasElement
    ? [picture.width, picture.height]
    : [picture.naturalWidth, picture.naturalHeight];
}

function visible(start, scale, side, room) {
  return [Math.max(0, Math.floor(-start / scale)), Math.min(side, Math.ceil((room - start) / scale))];
}

function plain(factor) {
  return String(Math.round(factor * 100) / 100);
}

function capital(words) {
  return words[0].toUpperCase() + words.slice(1);
}
