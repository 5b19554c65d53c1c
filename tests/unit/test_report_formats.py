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

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.analysis.measured.metrics import RUN_METRICS, SAMPLE_METRICS
from hpcsweep.analysis.summary import analyse
from hpcsweep.errors import ReportError
from hpcsweep.registry import Registry
from hpcsweep.report.command_text import command_lines
from hpcsweep.report.console import PIPE_WIDTH
from hpcsweep.report.first_screen import build_first_screen
from hpcsweep.report.formats import registry
from hpcsweep.report.formats.registry import DEFAULTS, FORMATS, ReportOptions, format_of_file, get_format
from hpcsweep.report.formats.terminal_screen import _Writer, screen_lines
from hpcsweep.spec.phases import OutcomeKind


def written(name, rows, options=DEFAULTS):
    return shown(name, analyse(rows), options)


def shown(name, findings, options=DEFAULTS):
    stream = io.StringIO()
    get_format(name).write(findings, stream, options)
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
    get_format("terminal").write(analyse(h200_study()), stream)
    assert ("\x1b[1;32m" in stream.getvalue()) == coloured


def grid(first, second, failed_from=None):
    """A sweep of first x second variants; those with a second level from `failed_from` on have failed."""
    axes = {"a": tuple(map(str, range(first))), "b": tuple(map(str, range(second)))}
    runs = []
    for a in axes["a"]:
        for b in axes["b"]:
            bad = failed_from is not None and int(b) >= failed_from
            work = [] if bad else [workload("w", samples([(10, 1.0 + int(a) / 10 + n / 100) for n in range(5)]))]
            outcome = OutcomeKind.STALLED if bad else OutcomeKind.COMPLETED
            reason = f"no progress for 10m{a}s" if bad else ""
            runs.append(
                run({"a": a, "b": b}, [attempt(work, outcome=outcome, reason=reason, hint="wait longer" * bad)])
            )
    return sweep(runs, axes, {"a": "0", "b": "0"})


SIZES = [  # (rows, at most so many lines)
    pytest.param(sweep([run({"a": "1"}, [attempt([workload("w", samples([(10, 1.0)] * 4))])])], {"a": ("1",)}, {}), 25),
    pytest.param(h200_study(), 45),
    pytest.param(a100_study(), 45),
    pytest.param(grid(4, 3, failed_from=2), 45, id="12"),
    pytest.param(grid(8, 6, failed_from=3), 50, id="48"),
    pytest.param(grid(100, 10, failed_from=5), 50, id="1000"),
    pytest.param(grid(100, 10), 50, id="1000 completed"),
    pytest.param(sweep([], {}, {}), 12, id="empty"),
]


@pytest.mark.parametrize(("rows", "most"), SIZES)
def test_the_first_screen_is_short_and_no_wider_than_the_terminal(monkeypatch, rows, most):
    findings = analyse(rows)
    for columns in (80, 140):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = shown("terminal", findings).splitlines()
        assert len(lines) <= most * (1.5 if columns == 80 else 1)
        assert all(len(line) <= columns for line in lines if not line.endswith("\\") and "/opt/" not in line)


def test_rows_that_are_cut_are_counted_and_the_recommended_one_stays():
    findings = analyse(grid(100, 10))
    text = shown("terminal", findings)
    assert "986 more: --full" in text
    assert " *  " in text and "baseline" in text
    assert "| E1000 |" in shown("markdown", findings)


def test_the_full_report_on_the_terminal_has_every_chapter_and_is_cut():
    text = written("terminal", grid(40, 3), ReportOptions(full=True))
    chapters = ("Speed", "Effects", "Cost", "Requests", "Method")
    lines = text.splitlines()
    assert [lines.index(chapter) for chapter in chapters] == sorted(lines.index(chapter) for chapter in chapters)
    assert "80 more rows" in text


def test_markdown_has_the_first_screen_then_the_chapters():
    full, brief = written("markdown", h200_study()), written("markdown", h200_study(), ReportOptions(full=False))
    assert full.index("## Summary") < full.index("## Speed") < full.index("## Method")
    assert "## Summary" in brief and "## Speed" not in brief


def test_a_terminal_without_unicode_gets_ascii():
    screen = build_first_screen(analyse(simulated(h200_study())))
    lines = [line.plain for line in screen_lines(screen, 140, unicode=False)]
    assert all(line.isascii() for line in lines)
    assert any("[" in line and "#" in line for line in lines)


def test_five_questions_are_answered_by_the_first_screen():
    text = " ".join(written("terminal", h200_study()).split())
    assert "Recommended (provisional): E04" in text  # which one
    assert "tok/s (95 % CI" in text  # how fast
    assert "onfidence" in text  # how sure
    assert "E02: startup timeout in compile" in text  # what failed
    assert "What would settle it" in text  # what next


def test_failed_variants_share_a_row_and_name_what_they_have_in_common():
    text = written("terminal", grid(4, 3, failed_from=2))
    assert "(every variant with b=2): stalled in compile" in text
    assert "Next: Wait longer." in text
    assert sum("stalled in compile" in line for line in text.splitlines()) == 5  # four rows, one group


@pytest.mark.parametrize(
    ("width", "names"),
    [
        (140, {"variant", "axes", "speed", "against", "startup", "bar", "result"}),
        (100, {"variant", "axes", "speed", "against", "startup", "result"}),
        (40, {"variant", "axes", "speed", "against", "result"}),
    ],
)
def test_a_narrow_terminal_has_fewer_columns(width, names):
    writer = _Writer(build_first_screen(analyse(h200_study())), width)
    assert {column.name for column in writer._fitting_columns()} == names


def test_a_command_is_broken_between_options_only():
    argv = ["vllm", "serve", "m", "--a", "1", "--flag", "--json", '{"x": 1}']
    assert command_lines({"A": "b c"}, argv, 30) == ["A='b c' vllm serve m --a 1", "--flag --json '{\"x\": 1}'"]
    assert command_lines({}, [], 30) == []


@pytest.mark.parametrize("columns", [80, 120, 160])
@pytest.mark.parametrize("full", [True, False])
def test_simulated_is_a_banner_and_not_a_word_in_every_row(monkeypatch, columns, full):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = written("terminal", simulated(h200_study()), ReportOptions(full=full))
    assert text.count("SIMULATED") == 1
    rows = h200_study()
    runs = (simulated(rows).runs[0], *rows.runs[1:])
    mixed = written("terminal", replace(rows, runs=runs), ReportOptions(full=full))
    assert re.search(r"^E01 .*SIMULATED$", mixed, re.MULTILINE)
    assert not re.search(r"^E0[345] .*SIMULATED", mixed, re.MULTILINE)


def test_failures_that_are_alike_share_a_part():
    dead = [
        run({"a": level}, [attempt([], outcome=OutcomeKind.STALLED, reason=f"no sign of life for 10m{n}s")])
        for n, level in enumerate("234")
    ]
    other = run({"a": "5"}, [attempt([], outcome=OutcomeKind.CRASHED, reason="no sign of life for 10m1s")])
    good = run({"a": "1"}, [attempt([workload("w", samples([(10, 1.0)] * 4))])])
    text = written("terminal", sweep([good, *dead, other], {"a": tuple("12345")}, {"a": "1"}), ReportOptions(full=True))
    assert "\nE02, E03, E04: stalled in compile" in text
    assert "\nE05: crashed in compile" in text


def test_reasons_that_hold_for_every_row_are_said_once():
    runs = [run({"a": str(n)}, [attempt([workload("w", samples([(10, 1.0)] * 2))])]) for n in range(3)]
    text = written("markdown", sweep(runs, {"a": tuple("012")}, {"a": "0"}))
    assert "In every row: fewer than 3 warm samples, a single run." in text
    assert "provisional (fewer than 3 warm samples" not in text


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
