import assert from "node:assert/strict";
import { test } from "node:test";

const { figures } = await import("../../templates/web/report/figures/registry.js");
const { finished, isNarrow } = await import("../../templates/web/report/look.js");
const { lines, plain } = await import("../../templates/web/report/figures/text.js");

const LOOK = {
  ink: "#000",
  quiet: "#444",
  rule: "#ccc",
  paper: "#fff",
  better: "#0f0",
  worse: "#f00",
  series: ["s0", "s1"],
  phases: ["p0", "p1", "p2"],
};
const VIEW = { narrow: false, look: LOOK };
const RUNS = [
  {
    exp: "E01",
    label: "ep-on",
    sim: false,
    outcome: "completed",
    ended: "completed",
    axes: [0],
    ready_s: 12,
    phases: [
      [0, 100, 2, true],
      [1, 102, 10, true],
    ],
  },
  {
    exp: "E02",
    label: "ep-off",
    sim: false,
    outcome: "stalled in compile",
    ended: "stalled",
    axes: [1],
    ready_s: null,
    phases: [
      [0, 50, 3, true],
      [1, 53, 27, false],
    ],
  },
  {
    exp: "E03",
    label: "never",
    sim: false,
    outcome: "waiting",
    ended: "waiting",
    axes: [1],
    ready_s: null,
    phases: [],
  },
];
const samples = (marks) => ({
  sent_s: [1, 2, 3],
  e2e_s: [5, 1, null],
  ttft_s: [4, 0.1, null],
  tpot_s: [0.1, 0.1, null],
  tps: [1, 2, null],
  marks,
});
const DATA = {
  phases: ["launch", "compile"],
  workloads: ["8k"],
  measures: {
    e2e_s: { title: "E2E", unit: "s", meaning: "" },
    ttft_s: { title: "TTFT", unit: "s", meaning: "" },
    tpot_s: { title: "TPOT", unit: "s", meaning: "" },
    tps: { title: "TPS", unit: "tok/s", meaning: "" },
  },
  runs: RUNS,
  cells: [
    {
      run: 0,
      workload: 0,
      n: 300,
      samples: samples("cwf"),
      warm: true,
      curves: { e2e_s: { n: 4, x: [1, 2], share: [0.5, 1] } },
      telemetry: { n: 2, t_s: [10, 11], kv_cache_usage: [0.1, 0.5], running: [1, 2] },
    },
    { run: 1, workload: 0, n: 0 },
  ],
  effects: [
    {
      how: "alone",
      name: "ep: on → off",
      workload: "8k",
      metric: "tps",
      condition: "warm",
      percent: [-3, -900, 900],
      verdict: "no difference",
      text: "-3 %",
    },
    {
      how: "alone",
      name: "ep: on → off",
      workload: "8k",
      metric: "ttft_s",
      condition: "warm",
      percent: [9, null, null],
      verdict: "worse",
      text: "+9 %",
    },
  ],
  pareto: [
    {
      exp: "E01",
      short: "E01",
      name: "ep=on",
      workload: "8k",
      user: [9, 8, 10],
      gpu: [1, null, null],
      better: "",
      text: "9 tok/s",
    },
    {
      exp: "E02",
      short: "E02",
      name: "ep=off",
      workload: "8k",
      user: [7, 6, 8],
      gpu: [0.5, 0.4, 0.6],
      better: "E01",
      text: "7 tok/s",
    },
  ],
};
const CHOSEN = [
  { run: 1, cell: 1 },
  { run: 0, cell: 0 },
  { run: 2, cell: -1 },
];

test("a start that failed is hatched in its phase and ends with a cross at its end", () => {
  const drawing = figures.timelines.draw(DATA, { many: "25" }, CHOSEN, VIEW);
  const hatched = drawing.traces.filter((trace) => trace.marker?.pattern?.shape === "/");
  assert.deepEqual(
    hatched.map(({ name, x, base, y }) => [name, x, base, y]),
    [["compile", [27], [3], [0]]],
  );
  const cross = drawing.traces.find(({ name }) => name === "ended here");
  assert.deepEqual([cross.x, cross.y], [[30], [0]]);
  assert.equal(drawing.shown, "All 2 runs of the table that were started are drawn.");
  assert.equal(hatched[0].marker.color, "p1");
});

test("plots of runs follow the rows of the table, in their order", () => {
  const { layout } = figures.timelines.draw(DATA, { many: "25" }, [...CHOSEN].reverse(), VIEW);
  assert.deepEqual(layout.yaxis.ticktext, ["E01 ep-on", "E02 ep-off"]);
  assert.ok(figures.timelines.draw(DATA, { many: "25" }, [], VIEW).empty);
});

test("cold and failed requests have marks of their own, and what is left out is said", () => {
  const drawing = figures.samples.draw(DATA, { metric: "e2e_s", many: "6" }, CHOSEN, VIEW);
  assert.deepEqual(drawing.traces[0].marker.symbol, ["diamond", "circle", "x"]);
  assert.deepEqual(drawing.traces[0].y, [5, 1, 0]); // failed ones on the axis
  assert.match(drawing.shown, /3 of 300 of their requests are drawn/);
  assert.deepEqual(drawing.rows[2], ["E01 ep-on", 3, "-", "failed"]);
});

test("a thinned distribution has no steps between its ranks", () => {
  const [trace] = figures.curves.draw(DATA, { metric: "e2e_s", many: "8" }, CHOSEN, VIEW).traces;
  assert.equal(trace.line.shape, "linear");
  assert.deepEqual(trace.x, [1, 1, 2]);
});

test("readings count from the first one, and only series that exist are drawn", () => {
  const { traces } = figures.telemetry.draw(DATA, { many: "6" }, CHOSEN, VIEW);
  assert.deepEqual(
    traces.map(({ yaxis, x }) => [yaxis, x]),
    [
      ["y", [0, 1]],
      ["y2", [0, 1]],
    ],
  );
});

test("an interval wider than the frame is cut, and the plot says so", () => {
  const { shown, layout, traces } = figures.effects.draw(DATA, { how: "alone", metric: "tps|warm" }, [], VIEW);
  assert.match(shown, /cut by the frame/);
  assert.deepEqual(layout.xaxis.range, [-20, 20]);
  assert.equal(traces[0].marker.color[0], LOOK.quiet);
  const worse = figures.effects.draw(DATA, { how: "alone", metric: "ttft_s|warm" }, [], VIEW);
  assert.deepEqual([worse.traces[0].marker.symbol[0], worse.traces[0].error_x.array], ["triangle-down", [0]]);
});

test("the front has the variants that no other one beats", () => {
  const { traces, rows } = figures.pareto.draw(DATA, { workload: "8k" }, [], VIEW);
  assert.deepEqual(
    traces.map(({ name, x }) => [name, x]),
    [
      ["another one is better", [7]],
      ["on the front", [9]],
    ],
  );
  assert.equal(rows[1][3], "no: E01 is better");
});

test("names from an experiment are shown letter by letter", () => {
  assert.equal(plain("<b>&"), "&lt;b&gt;&amp;");
  assert.equal(lines("one two three four", 8), "one two<br>three<br>four");
});

test("the watermark is in plots of simulated runs only", () => {
  globalThis.document = { body: {} };
  globalThis.getComputedStyle = () => ({ fontFamily: "sans" });
  const how = { width_px: 900, fixed: false, simulated: true };
  assert.deepEqual(
    finished({}, LOOK, how).annotations.map(({ text }) => text),
    ["SIMULATED"],
  );
  assert.equal(finished({}, LOOK, { ...how, simulated: false }).annotations, undefined);
  assert.ok(isNarrow(390) && !isNarrow(980));
});
