// What each plot draws: from the packed data and the chosen runs to traces, a layout, a line of text and a table.
// Here the plots of whole runs and variants; those of single requests are in report_requests.js.

const PHASE_COLOURS = ["#7f8c8d", "#b07aa1", "#2f7fc1", "#e07b39", "#59a14f", "#d4a72c", "#c9506b", "#17a2a2"];
const COLOURS = ["#2f7fc1", "#e07b39", "#3f9b50", "#c9506b", "#8e6bb8", "#b8860b", "#17a2a2", "#9c6b4e", "#d86fb0", "#7f8c8d"];
const EFFECTS_DRAWN = 60;
const LABELLED_POINTS = 40;

/** Text that plotly shows letter by letter: it reads a few HTML tags otherwise. */
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const short = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
/** Up to three lines of about `width` letters, broken at spaces. */
function lines(text, width) {
  const found = [""];
  for (const word of text.split(" ")) {
    const joined = found.at(-1) === "" ? word : `${found.at(-1)} ${word}`;
    if (joined.length > width && found.at(-1) !== "" && found.length < 3) found.push(word);
    else found[found.length - 1] = joined;
  }
  return found.map((line) => plain(short(line, 2 * width))).join("<br>");
}
const distinct = (values) => [...new Set(values)];
const drawnOf = (drawn, all, what) =>
  drawn === all ? `All ${count(all)} ${what} are drawn.` : `${count(drawn)} of ${count(all)} ${what} are drawn.`;

const figures = {
  timelines: {
    controls: () => [{ name: "many", title: "Runs drawn", options: [25, 10, 50, 100] }],
    draw(data, choice, chosen, narrow) {
      const all = distinct(chosen.map((item) => item.run)).filter((place) => data.runs[place].phases.length);
      const runs = all.slice(0, Number(choice.many)).map((place) => data.runs[place]);
      const begin = (run) => run.phases[0][1];
      const phases = runs.flatMap((run, y) =>
        run.phases.map(([phase, start, length, ended]) => ({ run, y, phase, start: start - begin(run), length, ended })),
      );
      const traces = data.phases.flatMap((name, phase) => {
        const known = phases.filter((one) => one.phase === phase && one.length !== null);
        const bars = (kept, shape) => ({
          type: "bar",
          orientation: "h",
          name,
          legendgroup: name,
          showlegend: shape === "",
          y: kept.map((one) => one.y),
          base: kept.map((one) => one.start),
          x: kept.map((one) => one.length),
          hovertext: kept.map((one) => plain(`${one.run.exp} ${one.run.label}: ${name} ${one.length} s${one.ended ? "" : ", not finished"}`)),
          hoverinfo: "text",
          marker: { color: PHASE_COLOURS[phase], pattern: { shape, solidity: 0.35 } },
        });
        const cut = known.filter((one) => !one.ended);
        const whole = bars(known.filter((one) => one.ended), "");
        // Keep a phase that no run finished in the legend.
        if (cut.length && !whole.x.length) Object.assign(whole, { x: [null], y: [null], base: [null] });
        return [whole, bars(cut, "/")];
      });
      const endOf = (run) => Math.max(...run.phases.map(([, start, length]) => start - begin(run) + (length ?? 0)));
      const numbered = runs.map((run, y) => ({ run, y, end: run.ready_s ?? endOf(run) }));
      const ends = (kept, more) => ({
        type: "scatter",
        y: kept.map((one) => one.y),
        x: kept.map((one) => one.end),
        hoverinfo: "text",
        hovertext: kept.map((one) => plain(`${one.run.exp} ${one.run.label}: ${one.run.outcome}`)),
        ...more,
      });
      traces.push(
        ends(numbered.filter((one) => one.run.ready_s !== null), {
          name: "ready",
          mode: "markers",
          marker: { symbol: "line-ns-open", size: 13, color: "INK", line: { width: 2, color: "INK" } },
        }),
      );
      const failed = numbered.filter((one) => one.run.ready_s === null);
      traces.push(
        ends(failed, {
          name: "ended here",
          mode: "markers+text",
          text: failed.map((one) => plain(`  ${narrow ? one.run.ended : one.run.outcome}`)),
          textposition: "middle right",
          textfont: { size: 11 },
          cliponaxis: false,
          marker: { symbol: "x", size: 9, color: "INK" },
        }),
      );
      const last = Math.max(1, ...numbered.map((one) => one.end), ...phases.map((one) => one.start + (one.length ?? 0)));
      const label = (run) => plain(narrow ? run.exp : `${run.exp} ${short(run.label, 36)}`);
      return {
        traces: traces.filter((trace) => trace.x.length),
        layout: {
          barmode: "overlay",
          height: 150 + 24 * runs.length,
          bargap: 0.25,
          xaxis: { title: { text: "seconds since launch" }, range: [0, last * (failed.length ? (narrow ? 1.4 : 1.2) : 1.03)] },
          yaxis: { tickvals: runs.map((_, y) => y), ticktext: runs.map(label), range: [runs.length - 0.5, -0.5], zeroline: false },
        },
        shown: drawnOf(runs.length, all.length, "runs of the table that were started"),
        empty: runs.length === 0,
        columns: ["Variant", "Run", "Outcome", "Phase", "From (s)", "Length (s)", "Finished"],
        rows: phases.map((one) => [one.run.exp, one.run.label, one.run.outcome, data.phases[one.phase], one.start.toFixed(1), one.length ?? "-", one.ended ? "yes" : "no"]),
      };
    },
  },

  effects: {
    controls(data) {
      const ways = distinct(data.effects.map((one) => one.how));
      const label = { alone: "one setting changed from the baseline", pairs: "mean over all pairs" };
      const metrics = distinct(data.effects.map((one) => `${one.metric}|${one.condition}`));
      const title = (key) => {
        const [metric, condition] = key.split("|");
        return `${data.measures[metric].title}${condition === "warm" ? ", warm only" : ""}`;
      };
      return [
        { name: "how", title: "Comparison", options: ways.map((one) => [one, label[one]]) },
        { name: "metric", title: "Metric", options: metrics.sort((a, b) => b.includes("warm") - a.includes("warm")).map((key) => [key, title(key)]) },
      ];
    },
    draw(data, choice, chosen, narrow) {
      const all = data.effects.filter((one) => one.how === choice.how && `${one.metric}|${one.condition}` === choice.metric);
      let rows = all;
      if (all.length > EFFECTS_DRAWN) {
        const largest = [...all].sort((a, b) => Math.abs(b.percent[0]) - Math.abs(a.percent[0])).slice(0, EFFECTS_DRAWN);
        rows = all.filter((one) => largest.includes(one));
      }
      const label = (one) => `${one.name}${data.workloads.length > 1 && one.workload ? `, ${one.workload}` : ""}`;
      const values = rows.map((one) => one.percent[0]);
      const reach = 4 * Math.max(5, ...values.map(Math.abs));
      const low = Math.max(Math.min(-5, ...rows.map((one) => one.percent[1] ?? one.percent[0])) * 1.1, -reach, -105);
      const high = Math.min(Math.max(5, ...rows.map((one) => one.percent[2] ?? one.percent[0])) * 1.1, reach);
      const cut = rows.some((one) => one.percent[2] > high || one.percent[1] < low);
      const hues = { better: "#3f9b50", worse: "#c9506b" };
      const seen = (one) => one.verdict in hues;
      return {
        traces: [
          {
            type: "scatter",
            mode: "markers",
            showlegend: false,
            x: values,
            y: rows.map((_, y) => y),
            error_x: {
              type: "data",
              symmetric: false,
              array: rows.map((one) => (one.percent[2] === null ? 0 : one.percent[2] - one.percent[0])),
              arrayminus: rows.map((one) => (one.percent[1] === null ? 0 : one.percent[0] - one.percent[1])),
              color: "QUIET",
              thickness: 1.5,
            },
            hovertext: rows.map((one) => plain(`${label(one)}: ${one.text}`)),
            hoverinfo: "text",
            marker: {
              size: 10,
              color: rows.map((one) => hues[one.verdict] ?? "QUIET"),
              symbol: rows.map((one) => (seen(one) ? (one.verdict === "better" ? "triangle-up" : "triangle-down") : "circle-open")),
              line: { width: 2 },
            },
          },
        ],
        layout: {
          height: 130 + (narrow ? 50 : 28) * rows.length,
          xaxis: { title: { text: "change, %" }, range: [low, high], zeroline: true },
          yaxis: { tickvals: rows.map((_, y) => y), ticktext: rows.map((one) => lines(label(one), narrow ? 20 : 60)), range: [rows.length - 0.5, -0.5], zeroline: false },
        },
        shown: `${drawnOf(rows.length, all.length, "changes")}${rows.length < all.length ? " They are the largest." : ""}${cut ? " Wider intervals are cut by the frame; the table has them in full." : ""}`,
        empty: rows.length === 0,
        columns: ["Setting", "Workload", "Change and verdict"],
        rows: all.map((one) => [one.name, one.workload || "-", one.text]),
      };
    },
  },

  pareto: {
    controls: (data) => [{ name: "workload", title: "Workload", options: distinct(data.pareto.map((one) => one.workload)) }],
    draw(data, choice) {
      const points = data.pareto.filter((one) => one.workload === choice.workload);
      const front = points.filter((one) => one.better === "").sort((a, b) => a.user[0] - b.user[0]);
      const others = points.filter((one) => one.better !== "");
      const labels = points.length <= LABELLED_POINTS;
      const bars = (kept, key) => ({
        type: "data",
        visible: labels || kept === front,
        symmetric: false,
        array: kept.map((one) => (one[key][2] === null ? 0 : one[key][2] - one[key][0])),
        arrayminus: kept.map((one) => (one[key][1] === null ? 0 : one[key][0] - one[key][1])),
        color: "QUIET",
        thickness: 1,
        width: 3,
      });
      const trace = (kept, name, more) => ({
        type: "scatter",
        name,
        x: kept.map((one) => one.user[0]),
        y: kept.map((one) => one.gpu[0]),
        error_x: bars(kept, "user"),
        error_y: bars(kept, "gpu"),
        text: kept.map((one) => plain(one.short)),
        textposition: "top center",
        hovertext: kept.map((one) => plain(`${one.exp} (${short(one.name, 80)}): ${one.text}${one.better ? `; ${one.better} is better` : ""}`)),
        hoverinfo: "text",
        cliponaxis: false,
        ...more,
      });
      const text = (mode, shown) => (shown ? `${mode}+text` : mode);
      return {
        traces: [
          trace(others, "another one is better", { mode: text("markers", labels), marker: { size: 8, color: "QUIET", symbol: "circle-open" } }),
          trace(front, "on the front", { mode: text("lines+markers", front.length <= LABELLED_POINTS), marker: { size: 10, color: COLOURS[0] }, line: { color: COLOURS[0], width: 2, shape: "linear" } }),
        ].filter((one) => one.x.length),
        layout: {
          height: 480,
          xaxis: { title: { text: "tokens/s for one user (1 / TPOT)" } },
          yaxis: { title: { text: "output tokens/s of a GPU" } },
        },
        shown: `${count(points.length)} variants, ${count(front.length)} of them on the front.${labels ? "" : " Intervals are drawn for those on the front; the table has all."}`,
        empty: points.length === 0,
        columns: ["Variant", "Configuration", "Figures", "On the front"],
        rows: points.map((one) => [one.exp, one.name, one.text, one.better ? `no: ${one.better} is better` : "yes"]),
      };
    },
  },
};
