// Latency distributions: the share of requests up to each value.

import { count } from "#web/report/dom.js";
import { drawnOf, plain } from "#web/report/figures/text.js";
import { cellName, cellsOf, colour, dash, measureTitle, metricControl } from "#web/report/figures/requests.js";

const MARKERS_BELOW = 30; // of so few requests each one is a visible step

/** @type {import("#web/report/types.d.ts").Figure} */
export const curves = {
  controls: (data) => [
    metricControl(data, ["ttft_s", "tpot_s", "e2e_s"], (cell, name) => cell.curves?.[name]),
    { name: "many", title: "Runs drawn", options: [8, 4, 16, 40] },
  ],
  draw(data, choice, chosen, { look }) {
    const { all, cells } = cellsOf(data, chosen, choice, (cell) => cell.curves?.[choice.metric]);
    /** @type {(string | number)[][]} */
    const rows = [];
    let kept = 0;
    let total = 0;
    const traces = cells.flatMap((cell, place) => {
      const curve = cell.curves?.[choice.metric];
      if (!curve) return [];
      const name = `${cellName(data, cell)}, ${cell.warm ? "warm" : "all"} n=${count(curve.n)}`;
      curve.x.forEach((x, i) => rows.push([name, x, curve.share[i]]));
      kept += curve.x.length;
      total += curve.n;
      return {
        type: "scatter",
        mode: curve.n < MARKERS_BELOW ? "lines+markers" : "lines",
        name: plain(name),
        x: [curve.x[0], ...curve.x],
        y: [0, ...curve.share],
        hovertext: ["", ...curve.x.map((x, i) => plain(`${name}: ${curve.share[i]} within ${x} s`))],
        hoverinfo: "text",
        // Between the ranks of a thinned distribution nothing is known: no step is drawn there.
        line: {
          shape: curve.x.length < curve.n ? "linear" : "hv",
          width: 2,
          color: colour(look, place),
          dash: dash(look, place),
        },
        marker: { size: 5 },
      };
    });
    const thinned =
      kept < total
        ? ` ${count(kept)} steps represent ${count(total)} requests, evenly spaced by rank, with the slow tail.`
        : "";
    return {
      traces,
      layout: {
        height: 440 + 12 * cells.length,
        xaxis: { title: { text: plain(measureTitle(data, choice.metric)) }, rangemode: "tozero" },
        yaxis: { title: { text: "share of requests" }, range: [0, 1.02], tickformat: ".0%" },
      },
      shown: `${drawnOf(cells.length, all, "runs and workloads of the table")}${thinned}`,
      empty: cells.length === 0,
      columns: ["Run", measureTitle(data, choice.metric), "Share at most this"],
      rows,
    };
  },
};
