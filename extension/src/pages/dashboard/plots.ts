/** The plots of data, pages and rewards over the last 24 hours or 30 days, in the owner's time zone. */
import { byId, setText } from "../dom.ts";
import { formats, t } from "../text.ts";
import { BarPlot, type PlotData } from "./bar_plot.ts";
import type { Board, Section } from "./board.ts";
import { dailyBars, earliestHour, hourlyBars, type TimeBar } from "./time_bars.ts";

/** A kilobyte, ten pages, a thousandth of a token: below these, a plot shows how little there is. */
const LEAST = { bytes: 1_000, jobs: 10, reward: 1_000 } as const;

export class PlotsSection implements Section {
  private readonly plots: readonly BarPlot[];
  private readonly span = byId("plot-span", HTMLFieldSetElement);

  constructor(private readonly board: Board) {
    this.plots = [
      new BarPlot({
        title: t("dashboard_plot_data"),
        series: [
          { name: t("dashboard_plot_received"), of: (bar) => bar.received_bytes },
          { name: t("dashboard_plot_sent"), of: (bar) => bar.sent_bytes },
        ],
        least: LEAST.bytes,
        format: (value) => formats.bytes(value),
      }),
      new BarPlot({
        title: t("dashboard_plot_pages"),
        series: [{ name: t("dashboard_plot_pages_begun"), of: (bar) => bar.jobs }],
        least: LEAST.jobs,
        format: (value) => formats.number(value),
      }),
      new BarPlot({
        title: t("dashboard_plot_rewards"),
        series: [{ name: t("dashboard_plot_tokens"), of: (bar) => bar.reward }],
        least: LEAST.reward,
        format: (value) => formats.tokens(Math.round(value)),
      }),
    ];
    byId("plots", HTMLElement).append(...this.plots.map((plot) => plot.figure));
    this.span.addEventListener("change", () => void board.reload(this));
    const zone = new Intl.DateTimeFormat(formats.locale, { timeZoneName: "long" }).formatToParts(Date.now());
    const name = zone.find(({ type }) => type === "timeZoneName")?.value ?? "";
    setText(byId("plot-zone", HTMLElement), t("dashboard_plot_zone", name));
  }

  async showLog(): Promise<void> {
    const now_ms = Date.now();
    const hours = await (await this.board.store()).hours(earliestHour(now_ms));
    const byDay = this.span.querySelector<HTMLInputElement>("input:checked")?.value === "month";
    const data = byDay ? daily(dailyBars(hours, now_ms)) : hourly(hourlyBars(hours, now_ms));
    for (const plot of this.plots) plot.show(data);
  }
}

/** Where clocks go back an hour comes twice: then both are told apart by the name of their time. */
function hourly(bars: readonly TimeBar[]): PlotData {
  const time: Intl.DateTimeFormatOptions = { hour: "numeric", minute: "2-digit" };
  const span = new Intl.DateTimeFormat(formats.locale, time);
  const zoned = new Intl.DateTimeFormat(formats.locale, { ...time, timeZoneName: "short" });
  const starts = bars.map((bar) => formats.time(bar.from_ms));
  const isTwice = (bar: TimeBar): boolean => starts.filter((start) => start === formats.time(bar.from_ms)).length > 1;
  const name = (bar: TimeBar): string =>
    isTwice(bar) ? zoned.format(bar.from_ms) : span.formatRange(bar.from_ms, bar.until_ms);
  const onTheHour = bars.every((bar) => new Date(bar.from_ms).getMinutes() === 0);
  const hour = new Intl.DateTimeFormat(formats.locale, { hour: "numeric" });
  const brief = (bar: TimeBar): string => (onTheHour ? hour.format(bar.from_ms) : formats.time(bar.from_ms));
  return { bars, span: t("dashboard_plot_day"), name, brief };
}

function daily(bars: readonly TimeBar[]): PlotData {
  const long = new Intl.DateTimeFormat(formats.locale, { weekday: "short", day: "numeric", month: "short" });
  const brief = new Intl.DateTimeFormat(formats.locale, { day: "numeric", month: "short" });
  return {
    bars,
    span: t("dashboard_plot_month"),
    name: (bar) => long.format(bar.from_ms),
    brief: (bar) => brief.format(bar.from_ms),
  };
}
