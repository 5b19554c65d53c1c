// Effects of the settings: changes with their intervals, one below the other.

import { distinct, drawnOf, lines, plain } from "#web/report/figures/text.js";
import { errorBars } from "#web/report/figures/interval.js";

/** @typedef {import("#web/report/types.d.ts").EffectData} EffectData */

const EFFECTS_DRAWN = 60;
const WAYS = { alone: "one setting changed from the baseline", pairs: "mean over all pairs" };

/** @param {EffectData} effect */
const keyOf = (effect) => `${effect.metric}|${effect.condition}`;

/**
 * Return the range of the axis: as wide as the values need, but not as wide as the widest intervals.
 * @param {EffectData[]} effects
 */
function rangeOf(effects) {
  const reach = 4 * Math.max(5, ...effects.map(({ percent }) => Math.abs(percent[0])));
  const lows = effects.map(({ percent }) => percent[1] ?? percent[0]);
  const highs = effects.map(({ percent }) => percent[2] ?? percent[0]);
  return {
    low: Math.max(Math.min(-5, ...lows) * 1.1, -reach, -105),
    high: Math.min(Math.max(5, ...highs) * 1.1, reach),
  };
}

/** @type {import("#web/report/types.d.ts").Figure} */
export const effects = {
  controls(data) {
    const ways = distinct(data.effects.map((effect) => effect.how));
    const metrics = distinct(data.effects.map(keyOf));
    /** @param {string} key */
    const title = (key) => {
      const [metric, condition] = key.split("|");
      return `${data.measures[metric].title}${condition === "warm" ? ", warm only" : ""}`;
    };
    const warmFirst = [...metrics].sort((a, b) => Number(b.includes("warm")) - Number(a.includes("warm")));
    return [
      { name: "how", title: "Comparison", options: ways.map((way) => [way, WAYS[way]]) },
      { name: "metric", title: "Metric", options: warmFirst.map((key) => [key, title(key)]) },
    ];
  },
  draw(data, choice, _chosen, { narrow, look }) {
    const all = data.effects.filter((effect) => effect.how === choice.how && keyOf(effect) === choice.metric);
    const largest = new Set(
      [...all].sort((a, b) => Math.abs(b.percent[0]) - Math.abs(a.percent[0])).slice(0, EFFECTS_DRAWN),
    );
    const rows = all.filter((effect) => largest.has(effect));
    /** @param {EffectData} effect */
    const label = (effect) => {
      const workload = data.workloads.length > 1 && effect.workload ? `, ${effect.workload}` : "";
      return `${effect.name}${workload}`;
    };
    const { low, high } = rangeOf(rows);
    const cut = rows.some(({ percent }) => (percent[2] ?? high) > high || (percent[1] ?? low) < low);
    /** @type {Record<string, string>} */
    const hues = { better: look.better, worse: look.worse };
    /** @type {Record<string, string>} */
    const symbols = { better: "triangle-up", worse: "triangle-down" };
    const left = rows.length < all.length ? " They are the largest." : "";
    const framed = cut ? " Wider intervals are cut by the frame; the table has them in full." : "";
    return {
      traces: [
        {
          type: "scatter",
          mode: "markers",
          showlegend: false,
          x: rows.map((effect) => effect.percent[0]),
          y: rows.map((_, y) => y),
          error_x: errorBars(
            rows.map((effect) => effect.percent),
            { color: look.quiet, thickness: 1.5 },
          ),
          hovertext: rows.map((effect) => plain(`${label(effect)}: ${effect.text}`)),
          hoverinfo: "text",
          marker: {
            size: 10,
            color: rows.map((effect) => hues[effect.verdict] ?? look.quiet),
            symbol: rows.map((effect) => symbols[effect.verdict] ?? "circle-open"),
            line: { width: 2 },
          },
        },
      ],
      layout: {
        height: 130 + (narrow ? 50 : 28) * rows.length,
        xaxis: { title: { text: "change, %" }, range: [low, high], zeroline: true },
        yaxis: {
          tickvals: rows.map((_, y) => y),
          ticktext: rows.map((effect) => lines(label(effect), narrow ? 20 : 60)),
          range: [rows.length - 0.5, -0.5],
          zeroline: false,
        },
      },
      shown: `${drawnOf(rows.length, all.length, "changes")}${left}${framed}`,
      empty: rows.length === 0,
      columns: ["Setting", "Workload", "Change and verdict"],
      rows: all.map((effect) => [effect.name, effect.workload || "-", effect.text]),
    };
  },
};
