// KV cache and queue of the server while it was measured.

import { drawnOf, plain } from "#web/report/figures/text.js";
import { cellName, cellsOf, colour } from "#web/report/figures/requests.js";

/** @typedef {"kv_cache_usage" | "waiting" | "running"} Series */

/** @type {Series[]} */
const SERIES = ["kv_cache_usage", "waiting", "running"];

/** @type {import("#web/report/types.d.ts").Figure} */
export const telemetry = {
  controls: () => [{ name: "many", title: "Runs drawn", options: [6, 3, 12] }],
  draw(data, choice, chosen, { look }) {
    const { all, cells } = cellsOf(data, chosen, choice, (cell) => cell.telemetry);
    /** @type {(string | number)[][]} */
    const rows = [];
    /** @type {import("#web/report/types.d.ts").Trace[]} */
    const traces = [];
    let kept = 0;
    let total = 0;
    cells.forEach((cell, place) => {
      const readings = cell.telemetry;
      if (!readings) return;
      const name = cellName(data, cell);
      const since = readings.t_s.map((t) => t - readings.t_s[0]);
      /** @param {Series} key @param {string} yaxis @param {string} style @param {boolean} showlegend */
      const line = (key, yaxis, style, showlegend) => ({
        type: "scatter",
        mode: readings.n < 40 ? "lines+markers" : "lines",
        name: plain(name),
        legendgroup: String(place),
        showlegend,
        x: since,
        y: readings[key],
        yaxis,
        hovertext: since.map((t, i) => plain(`${name}: ${key} ${readings[key]?.[i]} after ${t.toFixed(0)} s`)),
        hoverinfo: "text",
        cliponaxis: false,
        line: { width: 2, color: colour(look, place), dash: style },
        marker: { size: 4 },
      });
      if (readings.kv_cache_usage) traces.push(line("kv_cache_usage", "y", "solid", true));
      if (readings.waiting) traces.push(line("waiting", "y2", "solid", !readings.kv_cache_usage));
      if (readings.running) traces.push(line("running", "y2", "dot", false));
      since.forEach((t, i) => rows.push([name, t.toFixed(1), ...SERIES.map((key) => readings[key]?.[i] ?? "-")]));
      kept += readings.t_s.length;
      total += readings.n;
    });
    return {
      traces,
      layout: {
        height: 520 + 12 * cells.length,
        xaxis: { title: { text: "seconds since the first reading" }, anchor: "y2" },
        yaxis: { title: { text: "KV cache in use" }, tickformat: ".1~%", domain: [0.56, 1], rangemode: "tozero" },
        yaxis2: { title: { text: "requests" }, domain: [0, 0.44], rangemode: "tozero" },
      },
      shown: `${drawnOf(cells.length, all, "runs and workloads with readings")} ${drawnOf(kept, total, "of their readings")}${kept < total ? " Peaks are kept." : ""}`,
      empty: cells.length === 0,
      columns: ["Run", "Since the first reading (s)", "KV cache in use (share)", "Waiting", "Running"],
      rows,
    };
  },
};
