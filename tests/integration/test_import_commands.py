"""`hpcsweep import` and `hpcsweep check` as a user runs them: real processes, real files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
STUDIES = TRANSCRIPTS / "imports"
H200 = STUDIES / "glm-4.6-h200-pbs-experiments.md"
A100 = STUDIES / "glm-4.6-a100-throughput.md"
AUDIT = TRANSCRIPTS / "audit"
GUIDE = STUDIES / "glm-4.x-vllm-guide.md"
DETAILED = TRANSCRIPTS / "vllm-bench" / "eager512-c4.json"


def hpcsweep(*arguments, home=None, stdin=None):
    argv = [sys.executable, "-m", "hpcsweep.cli.main"]
    argv += ["--home", str(home)] if home is not None else []
    argv += map(str, arguments)
    wide = os.environ | {"COLUMNS": "200"}
    return subprocess.run(argv, capture_output=True, text=True, input=stdin, timeout=100, env=wide)


def words(text):
    """A text as one line, so that it does not matter where a terminal broke it."""
    return " ".join(text.split())


def test_import_shows_every_block_of_every_study():
    done = hpcsweep("import", H200, A100, GUIDE)
    assert done.returncode == 0, done.stderr
    for label in ("Exp 1A", "Exp 3A", "Exp 3C", "TP+EP", "16384", "Expected Output"):
        assert label in done.stdout
    assert "Not imported" not in done.stdout


def test_import_as_json():
    done = hpcsweep("import", DETAILED, "--json")
    (file,) = json.loads(done.stdout)["files"]
    assert (file["form"], file["benchmarks"][0]["samples"]) == ("result file", 16)
    assert {one["verdict"] for one in file["findings"]} == {"confirmed"}


def test_import_reads_standard_input():
    done = hpcsweep("import", "-", "--json", stdin=A100.read_text(encoding="utf-8"))
    assert len(json.loads(done.stdout)["files"][0]["benchmarks"]) == 5


CHECKS = [
    pytest.param(H200, 3, "loses 6 flags", id="H200"),
    pytest.param(A100, 0, "which this command lacks; single runs", id="A100: all of it is noise"),
    pytest.param(AUDIT / "17-check-ok-total-wrong.md", 3, "WRONG BY 700", id="a total"),
    pytest.param(AUDIT / "07-check-percent-unrelated-number.md", 0, "1 cannot be checked", id="not checkable"),
    pytest.param(GUIDE, 0, "4 confirmed", id="guide"),
]


@pytest.mark.parametrize(("report", "code", "told"), CHECKS)
def test_check(report, code, told):
    done = hpcsweep("check", report)
    assert done.returncode == code, done.stderr
    assert told in words(done.stdout)


def test_claims_that_cannot_be_checked_are_listed_on_request():
    path = AUDIT / "08-check-one-digit.md"
    assert "+36.9%" not in hpcsweep("check", path).stdout
    assert "+36.9%" in hpcsweep("check", path, "--verbose").stdout


def test_check_as_json_says_line_and_both_values():
    body = json.loads(hpcsweep("check", H200, "--json").stdout)
    (cold, _) = [one for one in body["findings"] if one["kind"] == "cold_difference"]
    assert (cold["line"], cold["verdict"]) == (18, "does not follow")
    assert cold["stated"] == pytest.approx(-8.7, abs=0.05)
    assert cold["recomputed"] == pytest.approx(-0.92, abs=0.01)


@pytest.mark.parametrize("command", ["import", "check"])
@pytest.mark.parametrize("content", [None, b"", b"nothing here\n", b"\x00\xff\xfe" * 50], ids=str)
def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path, command, content):
    path = tmp_path / "a'; echo foo.md"
    if content is not None:
        path.write_bytes(content)
    done = hpcsweep(command, path)
    assert done.returncode == 1
    assert path.name in done.stderr
    assert "Traceback" not in done.stderr


def test_an_imported_sweep_can_be_reported(tmp_path):
    assert hpcsweep("import", H200, "--as", "h200", home=tmp_path).returncode == 0
    done = hpcsweep("report", "h200", "--format", "json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "Exp-1A-Baseline" in report["runs"][0]["run"]
    told = [one["text"] for one in report["remarks"] if one["kind"] == "cold_in_average"]
    assert any("-8.7%" in text and "-0.9%" in text for text in told)


def test_averages_alone_become_no_samples(tmp_path):
    assert hpcsweep("import", A100, "--as", "a100", home=tmp_path).returncode == 0
    events = list(tmp_path.glob("sweeps/a100/runs/*/attempt-1/events.jsonl"))
    assert len(events) == 5
    assert not any('"kind":"sample"' in path.read_text(encoding="utf-8") for path in events)
    argv = {path.parent.parent.name: json.loads(path.read_text().splitlines()[0])["argv"] for path in events}
    assert argv["max-num-batched-tokens-4096"][-2:] == ["--max-num-batched-tokens", "4096"]
    assert argv["max-num-batched-tokens-4096"].count("--max-num-batched-tokens") == 1
    done = hpcsweep("report", "a100", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Recommended (provisional): E01" in words(done.stdout)


def test_two_imports_can_be_compared(tmp_path):
    slower = json.loads(DETAILED.read_text(encoding="utf-8"))
    slower["latencies"] = [2 * value for value in slower["latencies"]]
    path = tmp_path / DETAILED.name
    path.write_text(json.dumps(slower), encoding="utf-8")
    assert hpcsweep("import", DETAILED, "--as", "before", home=tmp_path).returncode == 0
    assert hpcsweep("import", path, "--as", "after", home=tmp_path).returncode == 0
    done = hpcsweep("compare", "before", "after", "--json", home=tmp_path)
    assert done.returncode in (0, 3), done.stderr
    (pair,) = json.loads(done.stdout)["pairs"]
    (tps,) = [one for one in pair["comparisons"] if one["metric"] == "tps"]
    assert tps["variant_value"]["value"] == pytest.approx(tps["reference_value"]["value"] / 2)


@pytest.mark.parametrize("name", ["../x", "a b", "", "-x", "a/b"])
def test_a_name_that_is_no_name_of_a_sweep_is_refused(tmp_path, name):
    done = hpcsweep("import", DETAILED, f"--as={name}", home=tmp_path / "home")
    assert done.returncode == 1
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob("home/sweeps/*"))


def test_a_name_is_given_once(tmp_path):
    assert hpcsweep("import", DETAILED, "--as", "x", home=tmp_path).returncode == 0
    again = hpcsweep("import", DETAILED, "--as", "x", home=tmp_path)
    assert (again.returncode, "sweep exists: x" in again.stderr) == (1, True)


def test_what_was_measured_is_exported_for_llm_d_and_read_again(tmp_path):
    assert hpcsweep("import", DETAILED, "--as", "d", home=tmp_path).returncode == 0
    path = tmp_path / "report.yaml"
    done = hpcsweep("export", "E01", "d", "--to", "llm-d-report", "-o", path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text(encoding="utf-8"))
    assert (report["version"], report["run"]["eid"]) == ("0.2", "d")
    aggregate = report["results"]["request_performance"]["aggregate"]
    assert aggregate["requests"]["total"] == 16
    assert aggregate["latency"]["time_to_first_token"]["units"] == "s"
    (again,) = json.loads(hpcsweep("import", path, "--json").stdout)["files"][0]["benchmarks"]
    before = json.loads(DETAILED.read_text(encoding="utf-8"))
    for name in ("completed", "duration", "mean_ttft_ms", "mean_tpot_ms", "p99_e2el_ms", "output_throughput"):
        assert again["figures"][name] == pytest.approx(before[name], rel=1e-5), name


def test_a_folder_of_vllm_bench_sweep_is_compared_by_its_repeats(tmp_path):
    files = sorted((TRANSCRIPTS / "results" / "90-import-vllm-bench-sweep").glob("*/run=*.json"))
    assert hpcsweep("import", *files, "--as", "x", home=tmp_path).returncode == 0
    body = json.loads(hpcsweep("report", "x", "--format", "json", home=tmp_path).stdout)
    assert [(run["variant"], run["repeat"]) for run in body["runs"]] == [
        ("max_num_seqs=4", 1),
        ("max_num_seqs=4", 2),
        ("max_num_seqs=8", 1),
        ("max_num_seqs=8", 2),
    ]
    done = hpcsweep("report", "x", home=tmp_path)
    assert "+33.2 %" in words(done.stdout)


def test_a_result_in_which_all_requests_failed_is_a_failed_run(tmp_path):
    path = TRANSCRIPTS / "results" / "92-import-all-failed.json"
    assert hpcsweep("import", path, "--as", "x", home=tmp_path).returncode == 0
    text = words(hpcsweep("report", "x", home=tmp_path).stdout)
    assert "8 of 8 requests failed" in text
    assert "Objective: none" in text
    assert "1 run: 1 failed" in text
    assert ". ." not in text, "a table without marks has no empty legend"
