"""Tests on a real vLLM: skipped with a reason where there is none, failed in CI. At the end: the table of faults."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from vllm_job import Declared, VllmJob

VARIABLES = ("HPCSWEEP_VLLM", "HPCSWEEP_TINY_MODEL")
FAULTS = pytest.StashKey[dict[str, Declared]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("vllm") and not all(os.environ.get(name) for name in VARIABLES):
        what = 'needs a real vLLM: eval "$(scripts/test-services start vllm)"'
        if os.environ.get("CI") == "true":
            pytest.fail(what, pytrace=False)
        pytest.skip(what)


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of caches that all tests of one session share."""
    return tmp_path_factory.mktemp("engine-cache")


@pytest.fixture
def job(tmp_path: Path, engine_cache: Path) -> Iterator[VllmJob]:
    """A job with a real vLLM; nothing of it may be left after the test."""
    made = VllmJob(tmp_path, engine_cache)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    made.wait_until_nothing_is_left()


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> dict[str, Declared]:
    """Fault -> how it was judged: printed when all tests are over."""
    return request.config.stash.setdefault(FAULTS, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(FAULTS, {})
    if not found:
        return
    terminalreporter.section("faults on a real vLLM")
    for fault, told in found.items():
        cause = f" ({told.cause}: {told.ranks or 'no rank named'})" if told.cause else ""
        idle = f", {told.idle_s:.1f} s after the last progress" if told.idle_s is not None else ""
        terminalreporter.write_line(
            f"{fault}: {told.outcome}{cause} in {told.phase}, {told.after_s} s{idle}, by {told.decided_by}"
        )
        terminalreporter.write_line(f"    {told.reason}")
        terminalreporter.write_line(f"    evidence: {told.evidence[:160]}")
