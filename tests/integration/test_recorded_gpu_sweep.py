"""A sweep that ran on one H200 (vLLM 0.22.1, from the compile cache of an earlier start), read as if it ended here."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcsweep.cli.main import main

RECORDED = Path(__file__).parents[1] / "transcripts" / "store" / "h200-sweep"


@pytest.fixture
def report(tmp_path):
    def invoke(*args):
        result = CliRunner().invoke(
            main, ["--home", str(tmp_path / "home"), *args], env={"COLUMNS": "250", "HPCSWEEP_STORE": ""}
        )
        assert result.exit_code == 0, result.output
        return result.stdout

    shutil.copytree(RECORDED, tmp_path / "home" / "sweeps")
    return invoke


def test_status_is_completed(report):
    assert "1 run: 1 completed" in report("status")


def test_the_report_says_on_what_it_ran_and_what_the_start_cost(report):
    text = report("report", "--format", "markdown")
    assert "Ran on 1 GPU per run (NVIDIA H200): vm" in text and "SIMULATED" not in text
    startup = next(line for line in text.split("\n") if "4,625,360" in line)
    assert [cell.strip() for cell in startup.split("|")[2:8]] == [
        "1.2 s",
        "1.9 s",
        "42 s",
        "4.7 GiB",
        "4,625,360",
        "hit",
    ]
    assert "first of server requests took at least 1.1x the warm median" in text


def test_energy_is_what_the_gpus_own_counter_gained_over_the_tokens(report):
    """286 and 110.8 J for four answers of 128 tokens each; at one look a second power alone would say nothing here."""
    text = report("report", "--format", "markdown")
    assert [line for line in text.split("\n") if "J/token" in line] == [
        "- energy: 0.559 J/token n=1 repeat",
        "- energy: 0.216 J/token n=1 repeat",
    ]


def test_milliseconds_and_small_costs_are_not_rounded_away(report):
    text = report("report", "--format", "markdown")
    sample = next(line for line in text.split("\n") if line.startswith("| tiny_4 |"))
    assert "0.013" in sample and "0.182" in sample
    used = next(line for line in text.split("\n") if line.startswith("| Used |"))
    assert "0.013 GPU-hours" in used and "0.00 GPU-hours" not in text.partition("Without a result")[0]
