// The start of a report page: unpack its data, then bring tables, plots and printing to life.

import { make, need, unpack } from "#web/report/dom.js";
import { startHover } from "#web/report/hover.js";
import { Plots } from "#web/report/plots.js";
import { startPrinting } from "#web/report/printing.js";
import { SortableTable } from "#web/report/tables.js";

/** @typedef {import("#web/report/types.d.ts").ReportData} ReportData */

async function start() {
  document.body.classList.add("scripted");
  /** @type {ReportData} */
  const data = JSON.parse(await unpack("packed-data"));
  const roots = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-table]")]);
  const tables = roots.map((root) => new SortableTable(root, (item, axis) => data.runs[item.run].axes[axis]));
  const runs = tables.find((table) => table.id === "runs");
  if (!runs) throw new Error("this page has no table of runs");
  for (const table of tables) table.complete(data.tables[table.id] ?? [], table === runs ? data.keys : null);
  const plots = new Plots(data, () => runs.visible);
  runs.onchange = plots.redraw;
  startHover(document, data);
  startPrinting(tables, plots);
  window.hpcsweepReport = { data, tables, runs, plots };
  document.documentElement.dataset.ready = "yes";
  plots.prepare();
}

/**
 * Say in the page what went wrong: rows and plots are missing, and a console is not what readers look at.
 * @param {unknown} error
 */
function complain(error) {
  const cause = error instanceof Error ? error.message : String(error);
  const text = `This browser cannot unpack the rest of this report (${cause}). Tables show their first rows only.`;
  document.body.classList.remove("scripted");
  need(document, "#main").prepend(make("p", { className: "strong trouble", role: "alert" }, text));
}

start().catch(complain);
