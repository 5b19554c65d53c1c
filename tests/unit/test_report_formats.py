"""CSV, JSON, the terminal, and the registry of formats."""

import csv
import io
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from study_rows import a100_study, attempt, h200_study, run, samples, sweep, workload

from hpcsweep.analysis.measured.metrics import RUN_METRICS, SAMPLE_METRICS
from hpcsweep.analysis.rows import SampleRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.errors import ReportError
from hpcsweep.registry import Registry
from hpcsweep.report.console import PIPE_WIDTH
from hpcsweep.report.formats import registry, terminal
from hpcsweep.report.formats.registry import FORMATS, format_of_file, get_format
from hpcsweep.spec.phases import OutcomeKind


def written(name, rows):
    stream = io.StringIO()
    get_format(name).write(analyse(rows), stream)
    return stream.getvalue()


def table(name, rows):
    return list(csv.DictReader(io.StringIO(written(name, rows))))


def simulated(rows):
    runs = tuple(
        replace(r, simulated=True, attempts=tuple(replace(a, simulated=True) for a in r.attempts)) for r in rows.runs
    )
    return replace(rows, runs=runs)


@pytest.mark.parametrize("name", FORMATS.builtin)
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(h200_study(), id="H200 study"),
        pytest.param(a100_study(), id="A100 study, aggregates only"),
        pytest.param(sweep([], {}, {}), id="no run at all"),
        pytest.param(sweep([run({"a": "1"}, [])], {"a": ("1",)}, {"a": "1"}), id="nothing has begun"),
        pytest.param(simulated(h200_study()), id="simulated"),
    ],
)
def test_every_format_writes_every_sweep(name, rows):
    text = written(name, rows)
    assert text.strip()
    marked = "SIMULATED" in text or '"simulated": true' in text
    if any(r.simulated for r in rows.runs):
        assert marked
    elif name != "html":  # its script knows the word
        assert not marked


def test_csv_has_a_row_for_every_sample_and_every_run_without_one():
    rows = table("csv", h200_study())
    with_samples = [row for row in rows if row["sample"]]
    assert len(with_samples) == 3 + 3 + 3 + 2
    first = with_samples[0]
    assert (first["sample"], first["prompt_tokens"], first["e2e_s"], first["cold"]) == (
        "8k_1", "6101", "59.86", "first_of_server",
    )  # fmt: skip
    assert float(first["tps"]) == pytest.approx(512 / 59.86)
    assert (first["axis_len"], first["ttft_s"], first["simulated"]) == ("32k", "", "")
    stalled = next(row for row in rows if row["run"] == "ep-on_eager-no_len-32k")
    assert (stalled["outcome"], stalled["phase"], stalled["workload"]) == ("startup_timeout", "compile", "")
    assert {row["left_out"] for row in rows if row["workload"] == "64k"} == {"does not fit", ""}
    assert {row["simulated"] for row in table("csv", simulated(h200_study())) if row["sample"]} == {"SIMULATED"}


def test_csv_of_runs_has_the_metrics():
    rows = table("csv-runs", h200_study())
    (cold,) = [r for r in rows if r["run"] == "ep-on_eager-yes_len-8k" and r["workload"] == "8k"]
    assert float(cold["tps_all_mean"]) == pytest.approx(7.936, abs=0.001)
    assert (cold["tps_warm_n"], cold["load_s"], cold["validity_reasons"]) == ("2", "155", "too_few_samples")
    assert all(f"{m}_warm_p99" in cold for m in SAMPLE_METRICS)
    assert all(m in cold for m in RUN_METRICS)


def test_csv_runs_no_formula_and_survives_hostile_text():
    evil = '=cmd|"x"!A1\n,'
    found = (SampleRow(evil, 0, 0.0, 10, 8, 0.5, 1.0, error=None), SampleRow("-1+1", 1, 1.0, 10, 8, 0.5, 1.0))
    rows = table("csv", sweep([run({"a": evil}, [attempt([workload("w", found)])])], {"a": (evil,)}, {"a": evil}))
    assert [row["sample"] for row in rows] == ["'" + evil, "'-1+1"]
    assert rows[0]["axis_a"] == "'" + evil
    assert len(rows) == 2


def test_json_has_the_documented_keys():
    document = json.loads(written("json", h200_study()))
    assert document["schema"] == "hpcsweep.report/1"
    first, stalled = document["runs"][:2]
    assert (first["run"], first["outcome"], first["simulated"]) == ("ep-on_eager-yes_len-32k", "completed", False)
    assert first["facts"]["load_s"] == {"value": 155.0, "unit": "s", "source": "log"}
    assert stalled["phases"] == {"compile": 830.0}
    assert stalled["startup"]["ended_in"] == "compile"
    work = first["workloads"]["8k"]
    assert work["metrics"]["tps"]["warm"]["n"] == 2
    assert work["metrics"]["tps"]["all"]["mean"] == pytest.approx(8.692, abs=0.001)
    assert [sample["sample"] for sample in work["samples"]] == ["8k_1", "8k_2", "8k_3"]
    assert work["samples"][0]["cold"] == "first_of_server"
    assert work["samples"][0]["ttft_s"] is None
    assert first["workloads"]["64k"]["left_out"] == "does not fit"
    assert document["recommendation"]["chosen"] == "ep-on_eager-yes_len-64k"
    assert document["waterfalls"][0]["total"]["unit"] == "%"


def test_json_has_no_nan():
    found = tuple(replace(s, ttft_s=math.nan) for s in samples([(10, 1.0)] * 4))
    text = written("json", sweep([run({"a": "1"}, [attempt([workload("w", found)])])], {"a": ("1",)}, {"a": "1"}))
    assert "NaN" not in text
    json.loads(text, parse_constant=lambda word: pytest.fail(word))


def test_the_terminal_into_a_pipe_has_no_colour_and_no_markup():
    rows = h200_study()
    text = written("terminal", replace(rows, title="[bold red]no markup[/] \x1b[31mred"))
    assert "\x1b" not in text
    assert "[bold red]no markup[/] red" in text
    assert "E03" in text
    assert all(len(line) <= PIPE_WIDTH or "serve" in line for line in text.splitlines())


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("no_colour", "coloured"), [(None, True), ("1", False)])
def test_colours_on_a_terminal_unless_no_color(monkeypatch, no_colour, coloured):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_colour:
        monkeypatch.setenv("NO_COLOR", no_colour)
    stream = Terminal()
    terminal.write(analyse(h200_study()), stream)
    assert ("\x1b[1;36m" in stream.getvalue() or "\x1b[36m" in stream.getvalue()) == coloured


def test_a_large_sweep_is_cut_on_the_terminal_and_says_so():
    runs = [run({"a": str(n)}, [attempt([workload("w", samples([(10, 1.0)] * 4))])]) for n in range(120)]
    rows = sweep(runs, {"a": tuple(map(str, range(120)))}, {"a": "0"})
    text = written("terminal", rows)
    assert "80 more rows" in text
    assert "112 more took part" in " ".join(text.split())
    assert written("markdown", rows).count("| E119 |") >= 2


@pytest.mark.parametrize("columns", [80, 120, 160])
def test_the_terminal_has_the_decision_first_and_every_row_marked(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = written("terminal", simulated(h200_study())).splitlines()
    at = {title: lines.index(title) for title in ("Recommended configuration", "Summary of results", "Failed runs")}
    assert list(at) == sorted(at, key=at.__getitem__)
    summary = lines[at["Summary of results"] : at["Failed runs"]]
    rows = [line for line in summary if re.match(r"E0\d\b", line)]
    assert [row[:3] for row in rows] == ["E01", "E02", "E03", "E04", "E04", "E05"]
    assert all("SIMULATED" in row for row in rows)
    assert any("64k was not sent to" in line for line in lines)


def test_the_terminal_lists_the_samples_of_a_small_sweep_only(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    text = written("terminal", simulated(h200_study()))
    lines = text[text.index("\nSamples\n") :].splitlines()
    assert sum(re.match(r"E0\d SIMULATED +│ 8k +│ 8k_\d ", line) is not None for line in lines) == 9
    assert sum("first of server (cold)" in line for line in lines) == 3
    many = sweep([run({"a": "1"}, [attempt([workload("w", samples([(10, 1.0)] * 41))])])], {"a": ("1",)}, {"a": "1"})
    assert "\nSamples\n" not in written("terminal", many)


def test_failures_that_are_alike_stand_together_on_the_terminal():
    dead = [
        run({"a": level}, [attempt([], outcome=OutcomeKind.STALLED, reason=f"no sign of life for 10m{n}s")])
        for n, level in enumerate("234")
    ]
    other = run({"a": "5"}, [attempt([], outcome=OutcomeKind.CRASHED, reason="no sign of life for 10m1s")])
    good = run({"a": "1"}, [attempt([workload("w", samples([(10, 1.0)] * 4))])])
    text = written("terminal", sweep([good, *dead, other], {"a": tuple("12345")}, {"a": "1"}))
    assert "\nE02, E03, E04: stalled" in text
    assert "\nE05: crashed" in text
    assert "E02, E03, E04 gave no result: stalled" in " ".join(text.split())


def test_reasons_that_hold_for_every_row_are_said_once():
    runs = [run({"a": str(n)}, [attempt([workload("w", samples([(10, 1.0)] * 2))])]) for n in range(3)]
    text = written("markdown", sweep(runs, {"a": tuple("012")}, {"a": "0"}))
    assert "Held back in every row: too few samples, one run only." in text
    assert "provisional (too few samples" not in text


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(ReportError) as caught:
        get_format("markdwon")
    assert caught.value.code == "unknown_report_format"
    assert "markdown" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "name"), [("a.md", "markdown"), ("A.JSON", "json"), ("x.csv", "csv"), ("x.txt", None), ("md", None)]
)
def test_the_ending_of_a_file_names_the_format(path, name):
    found = format_of_file(path)
    assert (found.name if found else None) == name


PLUGIN = """
from hpcsweep.report.formats.registry import DEFAULTS, Format
class Plugin(Format):
    name = "{name}"
    meaning = "a plugin"
    suffixes = (".tiny",)
    def write(self, findings, stream, options=DEFAULTS):
        stream.write(f"{findings.sweep.sweep}\\n")
"""


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Install entry points for real: a dist-info in a folder on sys.path."""

    def install(**modules):
        info = tmp_path / "some_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugin\nVersion: 1.0\n")
        points = "".join(f"{name} = {name}_module:Plugin\n" for name in modules)
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{points}")
        for name, text in modules.items():
            (tmp_path / f"{name}_module.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        fresh = Registry(FORMATS.group, FORMATS.what, FORMATS.builtin, ReportError)
        monkeypatch.setattr(registry, "FORMATS", fresh)
        return fresh

    yield install
    for name in [name for name in sys.modules if name.endswith("_module")]:
        del sys.modules[name]


def test_a_plugin_is_a_format(plugins):
    plugins(tiny=PLUGIN.replace("{name}", "tiny"))
    assert written("tiny", h200_study()) == "h200-0001\n"
    assert format_of_file("a.TINY").name == "tiny"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("bad", "raise RuntimeError('broken')", "bad .*RuntimeError", id="it does not load"),
        pytest.param("bad", PLUGIN.replace("{name}", "json"), "its name is 'json'", id="it has another name"),
        pytest.param("json", PLUGIN.replace("{name}", "json"), "'json' is taken", id="it takes a known name"),
    ],
)
def test_a_bad_plugin_is_named_and_left_out(plugins, name, text, message):
    fresh = plugins(**{name: text})
    with pytest.warns(UserWarning, match=message):
        assert set(fresh.all()) == set(FORMATS.builtin)


def documented(heading):
    """The keys that a table of docs/report-json.md names."""
    text = (Path(__file__).parents[2] / "docs/report-json.md").read_text()
    table = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def test_json_keys_are_the_documented_ones():
    document = json.loads(written("json", h200_study()))
    assert document.keys() == documented("Top level")
    assert document["runs"][0].keys() - {"simulated"} == documented("A run")
