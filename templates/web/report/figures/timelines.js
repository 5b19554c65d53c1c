// Startup timelines: a bar per run, divided into its phases.

import { distinct, drawnOf, plain, short } from "#web/report/figures/text.js";

/** @typedef {import("#web/report/types.d.ts").Run} Run */
/** @typedef {{ run: Run, y: number, phase: number, start: number, length: number | null, ended: boolean }} Part */

/** @param {Run} run */
const begin = (run) => run.phases[0][1];

/** @param {Run} run */
const endOf = (run) => Math.max(...run.phases.map(([, start, length]) => start - begin(run) + (length ?? 0)));

/**
 * Return the bars of one phase; those of runs that ended in it are hatched.
 * @param {string} name
 * @param {Part[]} known
 * @param {string} color
 */
function barsOf(name, known, color) {
  /** @param {Part[]} kept @param {string} shape */
  const bars = (kept, shape) => ({
    type: "bar",
    orientation: "h",
    name,
    legendgroup: name,
    showlegend: shape === "",
    y: /** @type {(number | null)[]} */ (kept.map((part) => part.y)),
    base: /** @type {(number | null)[]} */ (kept.map((part) => part.start)),
    x: kept.map((part) => part.length),
    hovertext: kept.map((part) =>
      plain(`${part.run.exp} ${part.run.label}: ${name} ${part.length} s${part.ended ? "" : ", not finished"}`),
    ),
    hoverinfo: "text",
    marker: { color, pattern: { shape, solidity: 0.35 } },
  });
  const cut = known.filter((part) => !part.ended);
  const whole = bars(
    known.filter((part) => part.ended),
    "",
  );
  // Keep a phase that no run finished in the legend.
  if (cut.length && !whole.x.length) Object.assign(whole, { x: [null], y: [null], base: [null] });
  return [whole, bars(cut, "/")];
}

/** @type {import("#web/report/types.d.ts").Figure} */
export const timelines = {
  controls: () => [{ name: "many", title: "Runs drawn", options: [25, 10, 50, 100] }],
  draw(data, choice, chosen, { narrow, look }) {
    const all = distinct(chosen.map((row) => row.run)).filter((place) => data.runs[place].phases.length);
    const runs = all.slice(0, Number(choice.many)).map((place) => data.runs[place]);
    const parts = runs.flatMap((run, y) =>
      run.phases.map(([phase, start, length, ended]) => ({
        run,
        y,
        phase,
        start: start - begin(run),
        length,
        ended,
      })),
    );
    /** @type {import("#web/report/types.d.ts").Trace[]} */
    const traces = data.phases.flatMap((name, phase) =>
      barsOf(
        name,
        parts.filter((part) => part.phase === phase && part.length !== null),
        look.phases[phase % look.phases.length],
      ),
    );
    const numbered = runs.map((run, y) => ({ run, y, end: run.ready_s ?? endOf(run) }));
    /** @param {typeof numbered} kept @param {Record<string, unknown>} more */
    const ends = (kept, more) => ({
      type: "scatter",
      y: kept.map((item) => item.y),
      x: kept.map((item) => item.end),
      hoverinfo: "text",
      hovertext: kept.map(({ run }) => plain(`${run.exp} ${run.label}: ${run.outcome}`)),
      ...more,
    });
    traces.push(
      ends(
        numbered.filter((item) => item.run.ready_s !== null),
        {
          name: "ready",
          mode: "markers",
          marker: { symbol: "line-ns-open", size: 13, color: look.ink, line: { width: 2, color: look.ink } },
        },
      ),
    );
    const failed = numbered.filter((item) => item.run.ready_s === null);
    traces.push(
      ends(failed, {
        name: "ended here",
        mode: "markers+text",
        text: failed.map(({ run }) => plain(`  ${narrow ? run.ended : run.outcome}`)),
        textposition: "middle right",
        textfont: { size: 11 },
        cliponaxis: false,
        marker: { symbol: "x", size: 9, color: look.ink },
      }),
    );
    const last = Math.max(
      1,
      ...numbered.map((item) => item.end),
      ...parts.map((part) => part.start + (part.length ?? 0)),
    );
    const beyond = failed.length ? (narrow ? 1.4 : 1.2) : 1.03; // room for the words behind a failed start
    /** @param {Run} run */
    const label = (run) => plain(narrow ? run.exp : `${run.exp} ${short(run.label, 36)}`);
    return {
      traces: traces.filter((trace) => trace.x.length),
      layout: {
        barmode: "overlay",
        height: 150 + 24 * runs.length,
        bargap: 0.25,
        xaxis: { title: { text: "seconds since launch" }, range: [0, last * beyond] },
        yaxis: {
          tickvals: runs.map((_, y) => y),
          ticktext: runs.map(label),
          range: [runs.length - 0.5, -0.5],
          zeroline: false,
        },
      },
      shown: drawnOf(runs.length, all.length, "runs of the table that were started"),
      empty: runs.length === 0,
      columns: ["Variant", "Run", "Outcome", "Phase", "From (s)", "Length (s)", "Finished"],
      rows: parts.map(({ run, phase, start, length, ended }) => [
        run.exp,
        run.label,
        run.outcome,
        data.phases[phase],
        start.toFixed(1),
        length ?? "-",
        ended ? "yes" : "no",
      ]),
    };
  },
};
