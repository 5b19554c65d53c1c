// Speed per user and throughput per GPU, with the Pareto front.

import { count } from "#web/report/dom.js";
import { distinct, plain, short } from "#web/report/figures/text.js";
import { errorBars } from "#web/report/figures/interval.js";

/** @typedef {import("#web/report/types.d.ts").FrontPoint} FrontPoint */

const LABELLED_POINTS = 40;

/** @type {import("#web/report/types.d.ts").Figure} */
export const front = {
  controls: (data) => [
    { name: "workload", title: "Workload", options: distinct(data.pareto.map((point) => point.workload)) },
  ],
  draw(data, choice, _chosen, { look }) {
    const points = data.pareto.filter((point) => point.workload === choice.workload);
    const best = points.filter((point) => point.better === "").sort((a, b) => a.user[0] - b.user[0]);
    const others = points.filter((point) => point.better !== "");
    const labelled = points.length <= LABELLED_POINTS;
    /** @param {FrontPoint[]} kept @param {"user" | "gpu"} key */
    const bars = (kept, key) =>
      errorBars(
        kept.map((point) => point[key]),
        { visible: labelled || kept === best, color: look.quiet, thickness: 1, width: 3 },
      );
    /** @param {FrontPoint[]} kept @param {string} name @param {Record<string, unknown>} more */
    const trace = (kept, name, more) => ({
      type: "scatter",
      name,
      x: kept.map((point) => point.user[0]),
      y: kept.map((point) => point.gpu[0]),
      error_x: bars(kept, "user"),
      error_y: bars(kept, "gpu"),
      text: kept.map((point) => plain(point.short)),
      textposition: "top center",
      hovertext: kept.map((point) => {
        const beaten = point.better ? `; ${point.better} is better` : "";
        return plain(`${point.exp} (${short(point.name, 80)}): ${point.text}${beaten}`);
      }),
      hoverinfo: "text",
      cliponaxis: false,
      ...more,
    });
    /** @param {string} mode @param {boolean} shown */
    const text = (mode, shown) => (shown ? `${mode}+text` : mode);
    return {
      traces: [
        trace(others, "another one is better", {
          mode: text("markers", labelled),
          marker: { size: 8, color: look.quiet, symbol: "circle-open" },
        }),
        trace(best, "on the front", {
          mode: text("lines+markers", best.length <= LABELLED_POINTS),
          marker: { size: 10, color: look.series[0] },
          line: { color: look.series[0], width: 2, shape: "linear" },
        }),
      ].filter((part) => part.x.length),
      layout: {
        height: 480,
        xaxis: { title: { text: "tokens/s for one user (1 / TPOT)" } },
        yaxis: { title: { text: "output tokens/s of a GPU" } },
      },
      shown: `${count(points.length)} variants, ${count(best.length)} of them on the front.${labelled ? "" : " Intervals are drawn for those on the front; the table has all."}`,
      empty: points.length === 0,
      columns: ["Variant", "Configuration", "Figures", "On the front"],
      rows: points.map((point) => [
        point.exp,
        point.name,
        point.text,
        point.better ? `no: ${point.better} is better` : "yes",
      ]),
    };
  },
};
