"""The public Python API: the examples of docs/api.md on a real (simulated) sweep, and what the functions promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hpcsweep
from hpcsweep.api.session import open_session
from hpcsweep.sweep.layout import Home

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all examples of the page have run."""
    path = tmp_path_factory.mktemp("api")
    (path / "study.yaml").write_text("\n".join(text for kind, text in BLOCKS if kind == "yaml"))
    script = path / "examples.py"
    script.write_text("\n".join(text for kind, text in BLOCKS if kind == "python"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPCSWEEP_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path / "output").write_text(done.stdout)
    return path


@pytest.fixture(autouse=True)
def _in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_the_examples_print_what_the_page_describes(folder: Path) -> None:
    output = (folder / "output").read_text()
    assert "study-0001 ['study-0001:0']" in output
    assert "did you mean 'len'" in output
    assert (folder / "report.html").stat().st_size > 100_000


def test_a_finished_sweep_is_returned_as_plain_values() -> None:
    state = hpcsweep.status()
    assert (state.name, state.finished, state.warnings) == ("study-0001", True, ())
    assert state.outcomes == {"completed": 1, "stalled": 1}
    eager = state.runs[0]
    assert (eager.state, eager.outcome, eager.axes, eager.simulated) == (
        "finished", "completed", {"eager": "yes", "len": "8k"}, True,
    )  # fmt: skip
    assert eager.samples_done == eager.samples_total > 0 and eager.startup_s is not None


def test_a_frame_has_a_row_per_request_with_numbers_as_numbers() -> None:
    frame = hpcsweep.load_results()
    measured = frame[frame["outcome"] == "completed"]
    (run,) = [run for run in hpcsweep.status().runs if run.outcome == "completed"]
    assert len(measured) == run.samples_total
    assert set(measured["axis_eager"]) == {"yes"} and frame["simulated"].all()
    assert (measured["ttft_s"] > 0).all() and (measured["e2e_s"] > measured["ttft_s"]).all()
    stalled = frame[frame["outcome"] == "stalled"]
    assert len(stalled) == 1 and stalled["ttft_s"].isna().all() and list(stalled["error"]) == [""]


def test_a_frame_has_a_row_per_run_with_its_statistics() -> None:
    frame = hpcsweep.load_results(rows="runs").set_index("run")
    samples = hpcsweep.load_results()
    mean = samples.loc[samples["run"] == "eager-yes_len-8k", "tps"].mean()
    assert frame.loc["eager-yes_len-8k", "tps_all_mean"] == pytest.approx(mean)


def test_a_level_of_a_switch_may_be_a_bool() -> None:
    planned = hpcsweep.plan("study.yaml", grid=["len"], set={"eager": True}, cluster="local")
    assert [run.split("_")[0] for run in planned.runs] == ["eager-on", "eager-on"] or planned.runs[0].startswith(
        "eager-yes"
    )


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: hpcsweep.plan("study.yaml", grid=[]), "grid_empty"),
        (lambda: hpcsweep.plan("study.yaml", runs_per_job=0), "not_positive"),
        (lambda: hpcsweep.submit(hpcsweep.plan("study.yaml", cluster="local"), repeats=2), "plan_with_options"),
        (lambda: hpcsweep.report(output="report.unknown"), "unknown_ending"),
        (lambda: hpcsweep.load_results(rows="both"), "unknown_rows"),  # type: ignore[arg-type]
        (lambda: hpcsweep.report(output="missing/report.md"), "output_not_writable"),
    ],
)
def test_an_error_has_a_code(call, code: str) -> None:
    with pytest.raises(hpcsweep.HpcsweepError) as caught:
        call()
    assert caught.value.code == code


def test_without_pandas_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(hpcsweep.HpcsweepError) as caught:
        hpcsweep.load_results()
    assert (caught.value.code, "hpcsweep[pandas]" in caught.value.hint) == ("pandas_missing", True)


def test_wait_times_out_and_calls_back_once_per_change(monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    hpcsweep.wait(on_change=states.append)
    assert [state.finished for state in states] == [True]
    running = hpcsweep.SweepInfo("study-0001", "study", "local", Path(), 0.0, True, ())
    unfinished = hpcsweep.RunInfo("a", {}, 1, "running", None, None, "", "", 1, None, None, True, None, 0, 0, 1)
    monkeypatch.setattr(
        "hpcsweep.api.tracking.sweep_info", lambda sweep: hpcsweep.SweepInfo(**{**vars(running), "runs": (unfinished,)})
    )
    with pytest.raises(TimeoutError, match="study-0001 has runs that have not ended after 0 s"):
        hpcsweep.wait(timeout_s=0)


def test_the_umask_of_the_process_is_restored(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with open_session(tmp_path / "home", None) as opened:
            assert opened.home == Home(tmp_path / "home")
            assert os.umask(0o077) == 0o077
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
