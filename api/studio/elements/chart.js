// A chart of Apache ECharts in the page's colours, drawn while it is in view.
// The library comes after the page is there; colours may be CSS variables: "var(--series-1)".
import { toRaw } from "vue";

const library = () => import("nicegui-echart");

// One chart a frame: many that change at once must not hold up the page.
const waiting = new Set();

function schedule(chart) {
  if (waiting.size === 0) requestAnimationFrame(drawNext);
  waiting.add(chart);
}

function drawNext() {
  const [chart] = waiting;
  waiting.delete(chart);
  if (waiting.size > 0) requestAnimationFrame(drawNext);
  chart?.draw();
}

export default {
  template: `
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{{ title }}</span>
        <span v-for="key in keys" :key="key.name" class="chart-key">
          <svg width="22" height="8" aria-hidden="true">
            <line x1="0" x2="22" y1="4" y2="4" stroke-width="2.5" :style="{ stroke: key.colour }"
                  :stroke-dasharray="dashes[key.dash]" />
          </svg>{{ key.name }}<b v-if="key.value" class="number">{{ key.value }}</b>
        </span>
      </figcaption>
      <div class="chart-plot" ref="plot" role="img" :aria-label="words" :style="{ height }"></div>
    </figure>`,
  props: {
    title: String,
    words: String,
    keys: Array,
    options: Object,
    height: String,
  },
  data: () => ({ dashes: { solid: null, dashed: "6 4", dotted: "2 3" } }),
  watch: {
    options() {
      this.stale = true;
      schedule(this);
    },
  },
  mounted() {
    this.stale = true;
    this.inView = false;
    this.sight = new IntersectionObserver(
      (seen) => {
        this.inView = seen[seen.length - 1].isIntersecting;
        schedule(this);
      },
      { rootMargin: "200px" },
    );
    this.sight.observe(this.$refs.plot);
    this.theme = new MutationObserver(() => {
      this.stale = true;
      schedule(this);
    });
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    this.size = new ResizeObserver(() => this.chart?.resize());
    this.size.observe(this.$refs.plot);
  },
  beforeUnmount() {
    waiting.delete(this);
    for (const observer of [this.sight, this.theme, this.size]) observer.disconnect();
    this.chart?.dispose();
  },
  methods: {
    async draw() {
      if (!this.inView || !this.stale) return;
      this.stale = false;
      const { echarts } = await library();
      if (!this.$refs.plot) return; // gone meanwhile
      // Where the plot has no room yet, the observer of its size draws it.
      this.chart ??= echarts.init(this.$refs.plot);
      const styles = getComputedStyle(document.body);
      const options = inColours(toRaw(this.options), styles);
      const quiet = styles.getPropertyValue("--quiet").trim();
      const line = styles.getPropertyValue("--line").trim();
      for (const axis of [options.xAxis, options.yAxis].flat()) {
        if (!axis) continue;
        axis.axisLabel = { color: quiet, fontSize: 11, hideOverlap: true, ...axis.axisLabel };
        if (axis.type !== "category") axis.axisLabel.formatter ??= short;
        axis.axisLine = { lineStyle: { color: line }, ...axis.axisLine };
        axis.axisTick = { show: false, ...axis.axisTick };
        axis.splitLine = { lineStyle: { color: line, opacity: 0.6 }, ...axis.splitLine };
        axis.nameTextStyle = { color: quiet, fontSize: 11, ...axis.nameTextStyle };
      }
      if (options.tooltip) {
        Object.assign(options.tooltip, {
          backgroundColor: styles.getPropertyValue("--surface").trim(),
          borderColor: line,
          textStyle: { color: styles.getPropertyValue("--text").trim(), fontSize: 12 },
          valueFormatter: exact,
          confine: true,
        });
      }
      this.chart.setOption(options, { replaceMerge: ["series"] });
    },
  },
};

function inColours(value, styles) {
  if (Array.isArray(value)) {
    return typeof value[0] === "number" ? value : value.map((each) => inColours(each, styles));
  }
  if (typeof value === "string") {
    const variable = /^var\((--[\w-]+)\)$/.exec(value);
    return variable ? styles.getPropertyValue(variable[1]).trim() : value;
  }
  if (value === null || typeof value !== "object") return value;
  const copied = Object.entries(value).map(([name, part]) => [name, inColours(part, styles)]);
  return Object.fromEntries(copied);
}

// On axes: 12k, 0.05, 1e-5.
function short(value) {
  if (typeof value !== "number") return value;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(0);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return `${+value.toPrecision(5)}`; // neighbours must not look alike
}

function exact(value) {
  if (typeof value !== "number") return "—";
  const size = Math.abs(value);
  if (Number.isInteger(value) || size === 0) return `${value}`;
  return size < 1e-4 || size >= 1e7 ? value.toExponential(3) : value.toPrecision(4);
}
