/** One plot of bars as inline SVG, with the same numbers as a table. */
import { element, fill, setText, svgElement } from "../dom.ts";
import { formats, t } from "../text.ts";
import { scaleEnd, type TimeBar } from "./time_bars.ts";

const BAR_WIDTH = 10;
const GAP = 1.5;
const HEIGHT = 100;
/** Every how many bars the time is written below: both 24 and 30 are multiples. */
const LABEL_EVERY = 6;
const SVG_OF_SERIES = ["series-1", "series-2"] as const;

/** One row of values of a plot; several lie on top of each other. */
export interface Series {
  readonly name: string;
  readonly of: (bar: TimeBar) => number;
}

/** What a plot shows. `least`: the smallest end of its scale. `format` writes a value. */
export interface PlotKind {
  readonly title: string;
  readonly series: readonly Series[];
  readonly least: number;
  readonly format: (value: number) => string;
}

/** The bars, and the words for their times. `name` is exact, `brief` for the space below a bar. */
export interface PlotData {
  readonly bars: readonly TimeBar[];
  readonly span: string;
  readonly name: (bar: TimeBar) => string;
  readonly brief: (bar: TimeBar) => string;
}

/** A plot on the page. What it shows is replaced in place: an open table stays open, a marked bar marked. */
export class BarPlot {
  readonly figure: HTMLElement;
  private readonly total = element("p", { class: "headline number" });
  private readonly reading = element("p", { class: "soft small number" });
  private readonly values: readonly HTMLElement[];
  private readonly scale = element("div", { class: "plot-scale small number", "aria-hidden": "true" });
  private readonly times = element("div", { class: "plot-times small number", "aria-hidden": "true" });
  private readonly picture = svgElement("svg", { role: "img", preserveAspectRatio: "none" });
  private readonly caption = element("caption", { class: "visually-hidden" });
  private readonly rows = element("tbody");
  private data: PlotData | null = null;
  private marked = -1;

  constructor(private readonly kind: PlotKind) {
    this.values = kind.series.map(() => element("span", { class: "number" }));
    const isOne = kind.series.length === 1;
    const legend = kind.series.map((series, index) =>
      element(
        "li",
        {},
        element("span", { class: `swatch ${SVG_OF_SERIES[index] ?? ""}` }),
        isOne ? series.name : `${series.name} `,
        !isOne && (this.values[index] ?? null),
      ),
    );
    const heads = ["", ...kind.series.map((series) => series.name)].map((name, index) =>
      element(
        "th",
        { scope: "col", class: index === 0 ? null : "number" },
        index === 0 ? t("dashboard_plot_time") : name,
      ),
    );
    const table = element("table", {}, this.caption, element("thead", {}, element("tr", {}, ...heads)), this.rows);
    this.figure = element(
      "figure",
      { class: "card stack tight plot" },
      element(
        "figcaption",
        { class: "plot-head" },
        element("h3", { class: "eyebrow" }, kind.title),
        this.total,
        this.reading,
      ),
      element("ul", { class: "legend small" }, ...legend),
      element(
        "div",
        { class: "plot-area" },
        this.scale,
        element("div", { class: "plot-picture" }, this.picture),
        this.times,
      ),
      element(
        "details",
        { class: "small" },
        element("summary", {}, t("dashboard_plot_table")),
        element(
          "div",
          { class: "table-frame plot-table", tabindex: "0", role: "group", "aria-label": kind.title },
          table,
        ),
      ),
    );
    this.picture.addEventListener("pointermove", (event) => this.mark(this.barAt(event.clientX)));
    this.picture.addEventListener("pointerleave", () => this.mark(-1));
  }

  /** Show bars in place of those shown so far. */
  show(data: PlotData): void {
    this.data = data;
    const { kind } = this;
    const sums = data.bars.map((bar) => this.sum(bar));
    const total = sums.reduce((sum, value) => sum + value, 0);
    const most = Math.max(0, ...sums);
    const end = scaleEnd(most, kind.least);
    for (const [index, text] of [kind.format(end), kind.format(end / 2), formats.number(0)].entries()) {
      const mark = this.scale.children[index] ?? this.scale.appendChild(element("span"));
      setText(mark, text);
    }
    this.draw(data.bars, end);
    const peak = data.bars[sums.indexOf(most)];
    const words =
      total === 0 || peak === undefined
        ? t("dashboard_plot_nothing", kind.title, data.span)
        : t("dashboard_plot_summary", kind.title, data.span, kind.format(total), kind.format(most), data.name(peak));
    this.picture.setAttribute("aria-label", words);
    setText(this.caption, `${kind.title}, ${data.span}`);
    this.fillTable(data);
    fill(
      this.times,
      ...data.bars.filter((_, index) => index % LABEL_EVERY === 0).map((bar) => element("span", {}, data.brief(bar))),
    );
    this.read();
  }

  private draw(bars: readonly TimeBar[], end: number): void {
    const width = bars.length * BAR_WIDTH;
    this.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const lines = [0, HEIGHT / 2, HEIGHT].map((y) =>
      svgElement("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y, "vector-effect": "non-scaling-stroke" }),
    );
    const shapes = bars.flatMap((bar, index) => {
      let below = HEIGHT;
      const x = index * BAR_WIDTH;
      const band = svgElement("rect", { class: "band", x, y: 0, width: BAR_WIDTH, height: HEIGHT });
      const parts = this.kind.series.map((series, place) => {
        const value = series.of(bar);
        const height = value === 0 ? 0 : Math.max(0.75, (value / end) * HEIGHT);
        below -= height;
        return svgElement("rect", {
          class: SVG_OF_SERIES[place] ?? "",
          x: x + GAP,
          y: below,
          width: BAR_WIDTH - 2 * GAP,
          height,
        });
      });
      return [band, ...parts];
    });
    fill(this.picture, ...lines, ...shapes);
  }

  private fillTable(data: PlotData): void {
    fill(
      this.rows,
      ...data.bars.map((bar) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, data.name(bar)),
          ...this.kind.series.map((series) => element("td", { class: "number" }, this.kind.format(series.of(bar)))),
        ),
      ),
    );
  }

  private barAt(x: number): number {
    const { left, width } = this.picture.getBoundingClientRect();
    const share = (x - left) / Math.max(1, width);
    const fromStart = getComputedStyle(this.picture).direction === "rtl" ? 1 - share : share;
    return Math.floor(fromStart * (this.data?.bars.length ?? 0));
  }

  private mark(index: number): void {
    if (index === this.marked) return;
    this.marked = index;
    this.read();
  }

  /** Write the values of the marked bar; without one, of all together. */
  private read(): void {
    const { data, kind, marked } = this;
    if (data === null) return;
    const bar = data.bars[marked];
    this.picture.querySelectorAll(".band").forEach((band, index) => {
      band.classList.toggle("marked", index === marked);
    });
    const of = bar === undefined ? data.bars : [bar];
    const sumOf = (value: (bar: TimeBar) => number): string =>
      kind.format(of.reduce((sum, one) => sum + value(one), 0));
    setText(
      this.total,
      sumOf((one) => this.sum(one)),
    );
    setText(this.reading, bar === undefined ? data.span : data.name(bar));
    kind.series.forEach((series, index) => {
      const place = this.values[index];
      if (place !== undefined) setText(place, sumOf(series.of));
    });
  }

  private sum(bar: TimeBar): number {
    return this.kind.series.reduce((sum, series) => sum + series.of(bar), 0);
  }
}
