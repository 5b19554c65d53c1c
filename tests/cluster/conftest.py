"""Tests on real schedulers: skipped with a reason where there is none, failed in CI.

With workers of xdist, two at most run tests on Slurm: these mostly wait, and the others have the CPUs meanwhile.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_sweeps import Sweep

NEEDS = {
    "slurm": ("SLURM_CONF", 'a real Slurm: eval "$(scripts/test-services start slurm)"'),
    "vllm": ("HPCSWEEP_VLLM", 'a real vLLM: eval "$(scripts/test-services start vllm)"'),
    "sshd": ("HPCSWEEP_TEST_SSH_HOST", 'a real sshd: eval "$(scripts/test-services start sshd)"'),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_slurm = [item for item in items if item.get_closest_marker("slurm")]
    for number, item in enumerate(on_slurm):
        item.add_marker(pytest.mark.xdist_group(f"slurm-{number % 2}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (variable, what) in NEEDS.items():
        if item.get_closest_marker(marker) and not os.environ.get(variable):
            if os.environ.get("CI") == "true":
                pytest.fail(f"needs {what}", pytrace=False)
            pytest.skip(f"needs {what}")


@pytest.fixture(autouse=True)
def _share_the_cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """Workers of xdist share one Slurm; a test that asks for `whole_cluster` has it for itself."""
    if request.node.get_closest_marker("slurm") is None:
        yield
        return
    with (Path(tempfile.gettempdir()) / f"hpcsweep-cluster-{os.geteuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if "whole_cluster" in request.fixturenames else fcntl.LOCK_SH)
        yield


@pytest.fixture
def whole_cluster() -> None:
    """For tests that stop daemons, take nodes away, or need all of them."""


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """A project with its own home; afterwards its jobs are cancelled, and nothing of them may be left running."""
    made = Sweep(tmp_path)
    yield made
    made.end()
