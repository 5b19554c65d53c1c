"""Tests on real engines: skipped with a reason where there is none, failed in CI. At the end: the tables of faults."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_job import Declared, EngineJob
from sglang_job import SglangJob
from vllm_job import VllmJob

VARIABLES = {
    "vllm": ("HPCSWEEP_VLLM", "HPCSWEEP_TINY_MODEL"),
    "sglang": ("HPCSWEEP_SGLANG", "HPCSWEEP_TINY_MODEL"),
}
"""Marker, which is the name of the service too -> what the service exports."""
FAULTS = pytest.StashKey[dict[str, Declared]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, variables in VARIABLES.items():
        if item.get_closest_marker(marker) and not all(os.environ.get(name) for name in variables):
            what = f'needs a real {marker}: eval "$(scripts/test-services start {marker})"'
            if os.environ.get("CI") == "true":
                pytest.fail(what, pytrace=False)
            pytest.skip(what)


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of caches that all tests of one session share."""
    return tmp_path_factory.mktemp("engine-cache")


def ended(made: EngineJob) -> Iterator[EngineJob]:
    """The job, of which nothing may be left after the test."""
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    made.wait_until_nothing_is_left()


@pytest.fixture
def job(tmp_path: Path, engine_cache: Path) -> Iterator[EngineJob]:
    """A job with a real vLLM."""
    yield from ended(VllmJob(tmp_path, engine_cache))


@pytest.fixture
def sglang_job(tmp_path: Path, engine_cache: Path) -> Iterator[EngineJob]:
    """A job with a real SGLang."""
    yield from ended(SglangJob(tmp_path, engine_cache))


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> dict[str, Declared]:
    """Fault -> how it was judged: printed when all tests are over."""
    return request.config.stash.setdefault(FAULTS, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(FAULTS, {})
    if not found:
        return
    terminalreporter.section("faults on real engines")
    for fault, told in found.items():
        cause = f" ({told.cause}: {told.ranks or 'no rank named'})" if told.cause else ""
        idle = f", {told.idle_s:.1f} s after the last progress" if told.idle_s is not None else ""
        terminalreporter.write_line(
            f"{fault}: {told.outcome}{cause} in {told.phase}, {told.after_s} s{idle}, by {told.decided_by}"
        )
        terminalreporter.write_line(f"    {told.reason}")
        terminalreporter.write_line(f"    evidence: {told.evidence[:160]}")
