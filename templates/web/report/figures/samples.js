// Single requests by the time they were sent.

import { drawnOf, plain } from "#web/report/figures/text.js";
import { MARKS, cellName, cellsOf, colour, measureTitle, metricControl } from "#web/report/figures/requests.js";

/** @type {Record<string, string>} */
const SYMBOLS = { w: "circle", c: "diamond", f: "x", u: "circle-open" };

/** @typedef {"e2e_s" | "ttft_s" | "tpot_s" | "tps"} SampleMetric */

/** @type {SampleMetric[]} */
const METRICS = ["e2e_s", "ttft_s", "tpot_s", "tps"];

/** @type {import("#web/report/types.d.ts").Figure} */
export const samples = {
  controls: (data) => [
    metricControl(data, METRICS, (cell, name) =>
      cell.samples?.[/** @type {SampleMetric} */ (name)].some((value) => value !== null),
    ),
    { name: "many", title: "Runs drawn", options: [6, 12, 25] },
  ],
  draw(data, choice, chosen, { look }) {
    const metric = /** @type {SampleMetric} */ (choice.metric);
    const { all, cells } = cellsOf(data, chosen, choice, (cell) => cell.samples);
    /** @type {(string | number)[][]} */
    const rows = [];
    const seen = new Set();
    let points = 0;
    /** @type {import("#web/report/types.d.ts").Trace[]} */
    const traces = cells.flatMap((cell, place) => {
      if (!cell.samples) return [];
      const { sent_s, marks: letters, [metric]: values } = cell.samples;
      const name = cellName(data, cell);
      const marks = [...letters];
      marks.forEach((mark, i) => {
        seen.add(mark);
        rows.push([name, sent_s[i] ?? "-", values[i] ?? "-", MARKS[mark]]);
      });
      points += marks.length;
      const unit = data.measures[metric].unit;
      return {
        type: "scatter",
        mode: "markers",
        name: plain(name),
        x: sent_s,
        y: values.map((value, i) => (marks[i] === "f" ? 0 : value)),
        hovertext: marks.map((mark, i) => plain(`${name}: ${MARKS[mark]}, ${values[i] ?? "no value"} ${unit}`)),
        hoverinfo: "text",
        cliponaxis: false,
        marker: {
          color: colour(look, place),
          symbol: marks.map((mark) => SYMBOLS[mark]),
          size: marks.map((mark) => (mark === "w" ? 6 : 11)),
          opacity: 0.85,
          line: { width: 0 },
        },
      };
    });
    for (const mark of seen) {
      traces.push({
        type: "scatter",
        mode: "markers",
        name: MARKS[mark],
        x: [null],
        y: [null],
        hoverinfo: "skip",
        marker: { symbol: SYMBOLS[mark], size: 9, color: look.ink },
      });
    }
    const total = cells.reduce((sum, cell) => sum + cell.n, 0);
    const thinned = points < total ? " Evenly thinned; cold and failed ones are all kept." : "";
    return {
      traces,
      layout: {
        height: 440 + 12 * cells.length,
        xaxis: { title: { text: "sent at (s of the attempt)" } },
        yaxis: { title: { text: plain(measureTitle(data, metric)) }, rangemode: "tozero" },
      },
      shown: `${drawnOf(cells.length, all, "runs and workloads of the table")} ${drawnOf(points, total, "of their requests")}${thinned}`,
      empty: cells.length === 0,
      columns: ["Run", "Sent at (s)", measureTitle(data, metric), "Mark"],
      rows,
    };
  },
};
