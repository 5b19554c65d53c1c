// When plots are drawn: each when it is scrolled to, again when the table of runs or the colours change, all to print.

const ROWS_OF_DATA = 500;
const REDRAW_AFTER_MS = 250;
const FAR_MARGIN = "400px";
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
const PRINT_WIDTH = 980;
const ROWS_PRINTED = 500;

const report = { data: null, tables: [], runs: null };

class Plot {
  constructor(figure) {
    this.figure = figure;
    this.id = figure.dataset.plot;
    this.place = figure.querySelector(".plot");
    this.shown = figure.querySelector(".shown");
    this.details = figure.querySelector("details.data");
    this.near = false;
    this.drawn = null;
    this.selects = figures[this.id].controls(report.data).map((control) => this.makeSelect(control));
    this.details.addEventListener("toggle", () => this.fillTable());
  }

  makeSelect({ name, title, options }) {
    const select = make("select", { name });
    for (const option of options) {
      const [value, text] = Array.isArray(option) ? option : [option, option];
      select.append(make("option", { value }, String(text)));
    }
    select.addEventListener("change", () => this.draw());
    if (options.length > 1) this.figure.querySelector(".tools").append(make("label", {}, `${title} `, select));
    return select;
  }

  /** The figure for what is chosen now. */
  build(narrow) {
    const choice = Object.fromEntries(this.selects.map((select) => [select.name, select.value]));
    return figures[this.id].draw(report.data, choice, report.runs.visible, narrow);
  }

  async draw() {
    if (!this.near) return;
    try {
      await plotly();
    } catch (error) {
      this.say(`The plot cannot be drawn in this browser: ${error.message}. The tables have its figures.`);
      return;
    }
    this.drawNow(false);
  }

  /** Draw with the library at hand. `print`: on white, at the width of a page. */
  drawNow(print) {
    const width = print ? PRINT_WIDTH : this.place.clientWidth;
    this.drawn = this.build(width < 640);
    this.shown.textContent = this.drawn.shown;
    if (this.drawn.empty) {
      this.say("Nothing to draw: no listed run has these data.");
    } else {
      this.place.querySelector(".waiting")?.remove();
      this.place.classList.add("drawn");
      const look = print ? PRINT_LOOK : screenLook();
      const layout = finished(this.drawn.layout, look, width, print);
      Plotly.react(this.place, coloured(this.drawn.traces, look), layout, { ...CONFIG, displayModeBar: print || width < 640 ? false : "hover" });
    }
    this.fillTable();
  }

  say(text) {
    if (window.Plotly) Plotly.purge(this.place);
    this.place.classList.add("drawn");
    this.place.replaceChildren(make("p", { className: "waiting empty" }, text));
  }

  fillTable() {
    if (!this.details.open) return;
    const { columns, rows, shown } = this.drawn ?? this.build(false);
    const caption = rows.length > ROWS_OF_DATA ? `${count(ROWS_OF_DATA)} of ${count(rows.length)} rows. ${shown}` : shown;
    const head = make("tr", {}, ...columns.map((text) => make("th", { scope: "col" }, text)));
    const body = rows.slice(0, ROWS_OF_DATA).map(([first, ...rest]) =>
      make("tr", {}, make("th", { scope: "row" }, String(first)), ...rest.map((value) => make("td", {}, String(value)))),
    );
    const table = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
    this.details.querySelector(".scroll").replaceChildren(table);
  }
}

const PRINT_LOOK = { ink: "#000000", quiet: "#444444", rule: "#cccccc", paper: "#ffffff" };

function screenLook() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { ink: of("--ink"), quiet: of("--quiet"), rule: of("--rule"), paper: of("--paper") };
}

/** The traces with the words INK and QUIET replaced by the colours of the page. */
function coloured(value, look) {
  if (value === "INK") return look.ink;
  if (value === "QUIET") return look.quiet;
  if (Array.isArray(value)) return value.map((one) => coloured(one, look));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, look)]));
}

/** A layout with what all plots share. */
function finished(layout, look, width, print) {
  const axis = { gridcolor: look.rule, zerolinecolor: look.quiet, linecolor: look.quiet, zeroline: false, automargin: true, ticklen: 5, tickcolor: look.rule, ticks: "outside", fixedrange: width < 640 };
  const made = {
    autosize: !print,
    margin: { l: 50, r: width < 640 ? 15 : 45, t: 20, b: 50 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: look.ink, size: width < 640 ? 11 : 13, family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: look.paper, bordercolor: look.quiet, font: { color: look.ink }, namelength: -1, align: "left" },
    hovermode: "closest",
    modebar: { orientation: "v", bgcolor: "rgba(0,0,0,0)", color: look.quiet, activecolor: look.ink },
    legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom" },
    ...layout,
  };
  if (print) made.width = width;
  for (const key of ["xaxis", "yaxis", "yaxis2"]) if (layout[key]) made[key] = { ...axis, ...layout[key] };
  if (report.data.simulated) {
    const font = { size: width < 640 ? 34 : 64, color: look.quiet };
    const mark = { text: "SIMULATED", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, opacity: 0.16, font };
    made.annotations = [...(layout.annotations ?? []), mark];
  }
  return made;
}

let loading = null;

/** The plotting library, unpacked and run once. */
function plotly() {
  loading ??= unpack("packed-plotly").then((source) => {
    document.head.append(make("script", { textContent: source }));
    if (!window.Plotly) throw new Error("the plotting library did not start");
  });
  return loading;
}

function later(work, delay_ms) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, delay_ms);
  };
}

/** Open what is folded, show more rows and draw every plot for paper; afterwards everything is as it was. */
function printing(plots) {
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open]):not(.data)")];
    for (const one of folded) one.open = true;
    for (const table of report.tables) table.show(Math.max(table.limit, ROWS_PRINTED));
    if (window.Plotly) for (const plot of plots) plot.drawNow(true);
  });
  addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
    for (const table of report.tables) table.show();
    for (const plot of plots) plot.draw();
  });
}

async function start() {
  document.body.classList.add("scripted");
  report.tables = [...document.querySelectorAll("[data-table]")].map((root) => new SortableTable(root));
  report.runs = report.tables.find((table) => table.id === "runs");
  report.data = JSON.parse(await unpack("packed-data"));
  for (const table of report.tables) {
    table.complete(report.data.tables[table.id] ?? [], table === report.runs ? report.data.keys : null);
  }
  const plots = [...document.querySelectorAll("[data-plot]")].map((figure) => new Plot(figure));
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const plot = plots.find((one) => one.place === entry.target);
        if (!entry.isIntersecting || plot.near) continue;
        plot.near = true;
        plot.draw();
      }
    },
    { rootMargin: FAR_MARGIN },
  );
  for (const plot of plots) observer.observe(plot.place);
  const redraw = later(() => plots.forEach((plot) => plot.draw()), REDRAW_AFTER_MS);
  report.runs.onchange = redraw;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  printing(plots);
  document.documentElement.dataset.ready = "yes";
  // The library is at hand before anybody prints, and costs the first paint nothing.
  if (plots.length) (window.requestIdleCallback ?? setTimeout)(() => plotly().catch(() => {}));
}

/** Say in the page what went wrong: rows and plots are missing, and a console is not what readers look at. */
function complain(error) {
  const text = `This browser cannot unpack the rest of this report (${error.message}). Tables show their first rows only.`;
  document.body.classList.remove("scripted");
  document.getElementById("main").prepend(make("p", { className: "strong trouble", role: "alert" }, text));
}

addEventListener("DOMContentLoaded", () => start().catch(complain));
