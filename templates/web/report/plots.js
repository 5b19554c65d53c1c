// When plots are drawn: each when it is scrolled to, again when the table of runs or the colours change, all to print.

import { count, debounced, make, need, unpack } from "#web/report/dom.js";
import { figures } from "#web/report/figures/registry.js";
import { finished, isNarrow, pageLook } from "#web/report/look.js";

/** @typedef {import("#web/report/types.d.ts").ReportData} ReportData */
/** @typedef {import("#web/report/types.d.ts").Look} Look */

const ROWS_OF_DATA = 500;
const REDRAW_AFTER_MS = 250;
const DRAWN_WITHIN = "400px"; // of the window
const PRINT_WIDTH_PX = 980;
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };

/** @type {Promise<void> | null} */
let loading = null;

/** Unpack and run the plotting library, once. */
function plotly() {
  loading ??= unpack("packed-plotly").then((source) => {
    document.head.append(make("script", { textContent: source }));
    if (!window.Plotly) throw new Error("the plotting library did not start");
  });
  return loading;
}

class Plot {
  /**
   * @param {HTMLElement} root the figure element
   * @param {ReportData} data
   * @param {() => import("#web/report/types.d.ts").Chosen[]} chosen the rows of the table of runs, as filtered and sorted
   */
  constructor(root, data, chosen) {
    this.root = root;
    this.data = data;
    this.chosen = chosen;
    this.figure = figures[root.dataset.plot ?? ""];
    this.place = need(root, ".plot");
    this.shown = need(root, ".shown");
    this.details = /** @type {HTMLDetailsElement} */ (need(root, "details.data"));
    this.near = false;
    /** @type {import("#web/report/types.d.ts").Drawing | null} */
    this.drawing = null;
    this.selects = this.figure.controls(data).map((control) => this.makeSelect(control));
    this.details.addEventListener("toggle", () => this.fillTable());
  }

  /** @param {import("#web/report/types.d.ts").Control} control */
  makeSelect({ name, title, options }) {
    const select = make("select", { name });
    for (const option of options) {
      const [value, text] = Array.isArray(option) ? option : [String(option), String(option)];
      select.append(make("option", { value }, text));
    }
    select.addEventListener("change", () => this.draw());
    if (options.length > 1) need(this.root, ".tools").append(make("label", {}, `${title} `, select));
    return select;
  }

  /**
   * Return the figure of what is chosen now.
   * @param {boolean} narrow
   * @param {Look} look
   */
  build(narrow, look) {
    const choice = Object.fromEntries(this.selects.map((select) => [select.name, select.value]));
    return this.figure.draw(this.data, choice, this.chosen(), { narrow, look });
  }

  async draw() {
    if (!this.near) return;
    try {
      await plotly();
    } catch (error) {
      this.say(`The plot cannot be drawn in this browser: ${messageOf(error)}. The tables have its figures.`);
      return;
    }
    this.drawNow(false);
  }

  /**
   * Draw with the library at hand.
   * @param {boolean} print at the width of a page; printing.js has set its colours
   */
  drawNow(print) {
    const width_px = print ? PRINT_WIDTH_PX : this.place.clientWidth;
    const look = pageLook();
    const narrow = isNarrow(width_px);
    const drawing = this.build(narrow, look);
    this.drawing = drawing;
    this.shown.textContent = drawing.shown;
    if (drawing.empty) {
      this.say("Nothing to draw: no listed run has these data.");
    } else {
      this.place.querySelector(".waiting")?.remove();
      this.place.classList.add("drawn");
      const layout = finished(drawing.layout, look, { width_px, fixed: print, simulated: this.data.simulated });
      const displayModeBar = print || narrow ? false : "hover";
      window.Plotly.react(this.place, drawing.traces, layout, { ...CONFIG, displayModeBar });
    }
    this.fillTable();
  }

  /** @param {string} text */
  say(text) {
    window.Plotly?.purge(this.place);
    this.place.classList.add("drawn");
    this.place.replaceChildren(make("p", { className: "waiting empty" }, text));
  }

  fillTable() {
    if (!this.details.open) return;
    const { columns, rows, shown } = this.drawing ?? this.build(false, pageLook());
    const caption =
      rows.length > ROWS_OF_DATA ? `${count(ROWS_OF_DATA)} of ${count(rows.length)} rows. ${shown}` : shown;
    const head = make("tr", {}, ...columns.map((text) => make("th", { scope: "col" }, text)));
    const body = rows
      .slice(0, ROWS_OF_DATA)
      .map(([first, ...rest]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, String(first)),
          ...rest.map((value) => make("td", {}, String(value))),
        ),
      );
    const table = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
    need(this.details, ".scroll").replaceChildren(table);
  }
}

/** @param {unknown} error */
const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** The plots of a page. */
export class Plots {
  /**
   * @param {ReportData} data
   * @param {() => import("#web/report/types.d.ts").Chosen[]} chosen
   */
  constructor(data, chosen) {
    const roots = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-plot]")]);
    this.plots = roots.map((root) => new Plot(root, data, chosen));
    this.redraw = debounced(() => this.drawAll(), REDRAW_AFTER_MS);
    const observer = new IntersectionObserver((entries) => this.comeNear(entries), { rootMargin: DRAWN_WITHIN });
    for (const plot of this.plots) observer.observe(plot.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.redraw);
    new MutationObserver(this.redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  /** @param {IntersectionObserverEntry[]} entries */
  comeNear(entries) {
    for (const entry of entries) {
      const plot = this.plots.find((candidate) => candidate.place === entry.target);
      if (!plot || !entry.isIntersecting || plot.near) continue;
      plot.near = true;
      plot.draw();
    }
  }

  drawAll() {
    for (const plot of this.plots) plot.draw();
  }

  /** Draw every plot for paper, if the library is there: what prints a page does not wait for it. */
  drawToPrint() {
    if (window.Plotly) for (const plot of this.plots) plot.drawNow(true);
  }

  /** Load the library while the browser has nothing to do, so that it is there before the page is printed. */
  prepare() {
    if (!this.plots.length) return;
    const later = window.requestIdleCallback ?? setTimeout;
    later(() => plotly().catch(() => {})); // the plot that needs it reports the error
  }
}
