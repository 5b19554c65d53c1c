// The plots of single requests and readings: as in report_figures.js, one colour a run and workload.

const DASHES = ["solid", "dash", "dot", "dashdot"];
const MARKS = { w: "warm", c: "cold", f: "failed", u: "warm-up" };
const SYMBOLS = { w: "circle", c: "diamond", f: "x", u: "circle-open" };
const colour = (place) => COLOURS[place % COLOURS.length];
const dash = (place) => DASHES[Math.floor(place / COLOURS.length) % DASHES.length];
const measureTitle = (data, name) => `${data.measures[name].title} (${data.measures[name].unit})`;
const cellName = (data, cell) => {
  const run = data.runs[cell.run];
  const workload = data.workloads[cell.workload] ?? "";
  return `${run.exp} ${short(run.label, 40)}${data.workloads.length > 1 ? `, ${workload}` : ""}`;
};

Object.assign(figures, {
  samples: {
    controls: (data) => [metricControl(data, ["e2e_s", "ttft_s", "tpot_s", "tps"], (cell, name) => cell.samples?.[name].some((v) => v !== null)), { name: "many", title: "Runs drawn", options: [6, 12, 25] }],
    draw(data, choice, chosen) {
      const { all, cells } = cellsOf(data, chosen, choice, (cell) => cell.samples);
      const rows = [];
      const seen = new Set();
      let points = 0;
      const traces = cells.map((cell, place) => {
        const name = cellName(data, cell);
        const marks = [...cell.samples.marks];
        const values = cell.samples[choice.metric];
        marks.forEach((mark, i) => {
          seen.add(mark);
          rows.push([name, cell.samples.sent_s[i] ?? "-", values[i] ?? "-", MARKS[mark]]);
        });
        points += marks.length;
        return {
          type: "scatter",
          mode: "markers",
          name: plain(name),
          x: cell.samples.sent_s,
          y: values.map((value, i) => (marks[i] === "f" ? 0 : value)),
          hovertext: marks.map((mark, i) => plain(`${name}: ${MARKS[mark]}, ${values[i] ?? "no value"} ${data.measures[choice.metric].unit}`)),
          hoverinfo: "text",
          cliponaxis: false,
          marker: { color: colour(place), symbol: marks.map((mark) => SYMBOLS[mark]), size: marks.map((mark) => (mark === "w" ? 6 : 11)), opacity: 0.85, line: { width: 0 } },
        };
      });
      for (const mark of seen) {
        traces.push({ type: "scatter", mode: "markers", name: MARKS[mark], x: [null], y: [null], hoverinfo: "skip", marker: { symbol: SYMBOLS[mark], size: 9, color: "INK" } });
      }
      const total = cells.reduce((sum, cell) => sum + cell.n, 0);
      return {
        traces,
        layout: {
          height: 440 + 12 * cells.length,
          xaxis: { title: { text: "sent at (s of the attempt)" } },
          yaxis: { title: { text: plain(measureTitle(data, choice.metric)) }, rangemode: "tozero" },
        },
        shown: `${drawnOf(cells.length, all, "runs and workloads of the table")} ${drawnOf(points, total, "of their requests")}${points < total ? " Evenly thinned; cold and failed ones are all kept." : ""}`,
        empty: cells.length === 0,
        columns: ["Run", "Sent at (s)", measureTitle(data, choice.metric), "Mark"],
        rows,
      };
    },
  },

  curves: {
    controls: (data) => [metricControl(data, ["ttft_s", "tpot_s", "e2e_s"], (cell, name) => cell.curves?.[name]), { name: "many", title: "Runs drawn", options: [8, 4, 16, 40] }],
    draw(data, choice, chosen) {
      const { all, cells } = cellsOf(data, chosen, choice, (cell) => cell.curves?.[choice.metric]);
      const rows = [];
      const traces = cells.map((cell, place) => {
        const curve = cell.curves[choice.metric];
        const name = `${cellName(data, cell)}, ${cell.warm ? "warm" : "all"} n=${count(curve.n)}`;
        curve.x.forEach((x, i) => rows.push([name, x, curve.share[i]]));
        return {
          type: "scatter",
          mode: curve.n < 30 ? "lines+markers" : "lines",
          name: plain(name),
          x: [curve.x[0], ...curve.x],
          y: [0, ...curve.share],
          hovertext: ["", ...curve.x.map((x, i) => plain(`${name}: ${curve.share[i]} within ${x} s`))],
          hoverinfo: "text",
          // Between the ranks of a thinned distribution nothing is known: no step is drawn there.
          line: { shape: curve.x.length < curve.n ? "linear" : "hv", width: 2, color: colour(place), dash: dash(place) },
          marker: { size: 5 },
        };
      });
      const kept = cells.reduce((sum, cell) => sum + cell.curves[choice.metric].x.length, 0);
      const total = cells.reduce((sum, cell) => sum + cell.curves[choice.metric].n, 0);
      return {
        traces,
        layout: {
          height: 440 + 12 * cells.length,
          xaxis: { title: { text: plain(measureTitle(data, choice.metric)) }, rangemode: "tozero" },
          yaxis: { title: { text: "share of requests" }, range: [0, 1.02], tickformat: ".0%" },
        },
        shown: `${drawnOf(cells.length, all, "runs and workloads of the table")}${kept < total ? ` ${count(kept)} steps stand for ${count(total)} requests, evenly spaced by rank, with the slow tail.` : ""}`,
        empty: cells.length === 0,
        columns: ["Run", measureTitle(data, choice.metric), "Share at most this"],
        rows,
      };
    },
  },

  telemetry: {
    controls: () => [{ name: "many", title: "Runs drawn", options: [6, 3, 12] }],
    draw(data, choice, chosen) {
      const { all, cells } = cellsOf(data, chosen, choice, (cell) => cell.telemetry);
      const rows = [];
      const traces = [];
      cells.forEach((cell, place) => {
        const readings = cell.telemetry;
        const name = cellName(data, cell);
        const since = readings.t_s.map((t) => t - readings.t_s[0]);
        const line = (key, yaxis, style) => ({
          type: "scatter",
          mode: readings.n < 40 ? "lines+markers" : "lines",
          name: plain(name),
          legendgroup: String(place),
          showlegend: key === "kv_cache_usage" || readings.kv_cache_usage === undefined,
          x: since,
          y: readings[key],
          yaxis,
          hovertext: since.map((t, i) => plain(`${name}: ${key} ${readings[key][i]} after ${t.toFixed(0)} s`)),
          hoverinfo: "text",
          cliponaxis: false,
          line: { width: 2, color: colour(place), dash: style },
          marker: { size: 4 },
        });
        if (readings.kv_cache_usage) traces.push(line("kv_cache_usage", "y", "solid"));
        if (readings.waiting) traces.push(line("waiting", "y2", "solid"));
        if (readings.running) traces.push({ ...line("running", "y2", "dot"), showlegend: false });
        since.forEach((t, i) => rows.push([name, t.toFixed(1), ...["kv_cache_usage", "waiting", "running"].map((key) => readings[key]?.[i] ?? "-")]));
      });
      const kept = cells.reduce((sum, cell) => sum + cell.telemetry.t_s.length, 0);
      const total = cells.reduce((sum, cell) => sum + cell.telemetry.n, 0);
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
  },
});

function metricControl(data, names, has) {
  const known = names.filter((name) => data.cells.some((cell) => has(cell, name)));
  return { name: "metric", title: "Metric", options: known.map((name) => [name, measureTitle(data, name)]) };
}

/** The cells of the listed runs that have something to draw, and how many there are in all. */
function cellsOf(data, chosen, choice, has) {
  const all = distinct(chosen.map((item) => item.cell)).filter((place) => place >= 0 && has(data.cells[place]));
  return { all: all.length, cells: all.slice(0, Number(choice.many)).map((place) => data.cells[place]) };
}
