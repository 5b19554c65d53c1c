"""Tests on real container runtimes: skipped with a reason where there are none, failed in CI."""

import os
from collections.abc import Iterator

import pytest
from box_sweeps import BoxSweep


def pytest_runtest_setup(item: pytest.Item) -> None:
    what = 'real container runtimes: eval "$(scripts/test-services start containers)"'
    if item.get_closest_marker("containers") and not os.environ.get("HPCSWEEP_CONTAINER_BOX"):
        if os.environ.get("CI") == "true":
            pytest.fail(f"needs {what}", pytrace=False)
        pytest.skip(f"needs {what}")


@pytest.fixture
def sweep() -> Iterator[BoxSweep]:
    """A project of an ordinary user in the box; afterwards no process, mount or instance of it may be left."""
    made = BoxSweep()
    try:
        yield made
        made.check_nothing_is_left()
    finally:
        made.remove()
