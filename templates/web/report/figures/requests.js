// What the plots of single requests and readings share: one colour for a run and workload.

import { distinct, short } from "#web/report/figures/text.js";

/** @typedef {import("#web/report/types.d.ts").ReportData} ReportData */
/** @typedef {import("#web/report/types.d.ts").Cell} Cell */

const DASHES = ["solid", "dash", "dot", "dashdot"];

/** What a letter of `marks` means. @type {Record<string, string>} */
export const MARKS = { w: "warm", c: "cold", f: "failed", u: "warm-up" };

/**
 * @param {import("#web/report/types.d.ts").Look} look
 * @param {number} place
 */
export const colour = (look, place) => look.series[place % look.series.length];

/**
 * Return the dash of a line: it differs where the colours repeat.
 * @param {import("#web/report/types.d.ts").Look} look
 * @param {number} place
 */
export const dash = (look, place) => DASHES[Math.floor(place / look.series.length) % DASHES.length];

/**
 * @param {ReportData} data
 * @param {string} name
 */
export const measureTitle = (data, name) => `${data.measures[name].title} (${data.measures[name].unit})`;

/**
 * @param {ReportData} data
 * @param {Cell} cell
 */
export function cellName(data, cell) {
  const run = data.runs[cell.run];
  const workload = data.workloads.length > 1 ? `, ${data.workloads[cell.workload] ?? ""}` : "";
  return `${run.exp} ${short(run.label, 40)}${workload}`;
}

/**
 * Return the choice of a metric among those that any cell has.
 * @param {ReportData} data
 * @param {string[]} names
 * @param {(cell: Cell, name: string) => unknown} has
 * @returns {import("#web/report/types.d.ts").Control}
 */
export function metricControl(data, names, has) {
  const known = names.filter((name) => data.cells.some((cell) => has(cell, name)));
  return { name: "metric", title: "Metric", options: known.map((name) => [name, measureTitle(data, name)]) };
}

/**
 * Return the cells of the listed runs that have something to draw, and how many there are in all.
 * @param {ReportData} data
 * @param {import("#web/report/types.d.ts").Chosen[]} chosen
 * @param {Record<string, string>} choice
 * @param {(cell: Cell) => unknown} has
 */
export function cellsOf(data, chosen, choice, has) {
  const all = distinct(chosen.map((row) => row.cell)).filter((place) => place >= 0 && has(data.cells[place]));
  return { all: all.length, cells: all.slice(0, Number(choice.many)).map((place) => data.cells[place]) };
}
