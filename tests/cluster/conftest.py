"""Tests on real schedulers: skipped with a reason where there is none, failed in CI."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_sweeps import Sweep

NEEDS = {
    "slurm": ("SLURM_CONF", 'a real Slurm: eval "$(scripts/test-services start slurm)"'),
    "sshd": ("HPCSWEEP_TEST_SSH_HOST", 'a real sshd: eval "$(scripts/test-services start sshd)"'),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (variable, what) in NEEDS.items():
        if item.get_closest_marker(marker) and not os.environ.get(variable):
            if os.environ.get("CI") == "true":
                pytest.fail(f"needs {what}", pytrace=False)
            pytest.skip(f"needs {what}")


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """A project with its own home; afterwards its jobs are cancelled, and nothing of them may be left running."""
    made = Sweep(tmp_path)
    yield made
    made.end()
