// The start of a report page: unpack its data, then bring tables, plots and printing to life.

import { startChapters } from "#web/report/chapters.js";
import { startControls } from "#web/report/controls.js";
import { startHover } from "#web/report/hover.js";
import { startMap } from "#web/report/map.js";
import { Plots } from "#web/report/plots.js";
import { startPrinting } from "#web/report/printing.js";
import { SortableTable } from "#web/report/tables.js";

/** @typedef {import("#web/report/types.d.ts").ReportData} ReportData */

/**
 * @param {(id: string) => Promise<string>} unpack returns the text of a packed script element
 */
export async function start(unpack) {
  document.body.classList.add("scripted");
  /** @type {ReportData} */
  const data = JSON.parse(await unpack("packed-data"));
  const roots = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-table]")]);
  const tables = roots.map((root) => new SortableTable(root, (item, axis) => data.runs[item.run].axes[axis]));
  const runs = tables.find((table) => table.id === "runs");
  if (!runs) throw new Error("this page has no table of runs");
  for (const table of tables) table.complete(data.tables[table.id] ?? [], table === runs ? data.keys : null);
  const plots = new Plots(data, () => runs.visible, unpack);
  runs.onchange = plots.redraw;
  startHover(document, data);
  const showChapter = startChapters(document, "#chapter-overview");
  startMap(document, (label) => {
    history.replaceState(null, "", "#explore");
    showChapter("#explore");
    runs.open(label);
  });
  startControls(document);
  startPrinting(tables, plots);
  window.hpcsweepReport = { data, tables, runs, plots };
  document.documentElement.dataset.ready = "yes";
  plots.prepare();
}
