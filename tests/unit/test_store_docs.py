"""docs/json.md and docs/store.md name what there is."""

import re
from pathlib import Path

import pytest

from hpcsweep.report.status.status_json import status_json
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.store.schema import METADATA
from hpcsweep.track.evidence import RunVerdict
from hpcsweep.track.runs import Progress, RunStatus, SweepStatus

DOCS = Path(__file__).parents[2] / "docs"


def _keys(page: str, heading: str) -> list[str]:
    """The first cells of the table that follows `heading`."""
    table = page.split(f"\n{heading}:\n", 1)[1].lstrip().split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)`", table, re.MULTILINE)


@pytest.fixture
def told():
    run = RunStatus(
        run_id=1,
        run="a-1",
        axes={"a": "1"},
        repeat=1,
        attempt=None,
        job=None,
        node=None,
        simulated=False,
        verdict=RunVerdict(RunState.PLANNED),
        progress=Progress(),
        queued_s=None,
        gpus=0,
        not_submitted=False,
        documented_only=False,
    )
    sweep = SweepStatus(1, "s-0001", "s", "", "local", "local", 0.0, False, "/s", (run,))
    return status_json([sweep], 0.0)["sweeps"][0]


def test_every_key_of_a_sweep_is_documented_in_its_order(told):
    assert _keys((DOCS / "json.md").read_text(encoding="utf-8"), "A sweep") == list(told)


def test_every_key_of_a_run_is_documented_in_its_order(told):
    assert _keys((DOCS / "json.md").read_text(encoding="utf-8"), "A run") == list(told["runs"][0])


@pytest.mark.parametrize("word", [*OutcomeKind, *RunState], ids=lambda word: f"{type(word).__name__} {word.value}")
def test_every_outcome_and_state_is_documented(word):
    assert f"`{word.value}`" in (DOCS / "json.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", sorted(METADATA.tables))
def test_every_table_is_documented(table):
    assert f"`{table}`" in (DOCS / "store.md").read_text(encoding="utf-8")
