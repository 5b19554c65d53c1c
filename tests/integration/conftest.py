"""Fixtures that several integration tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_job import Job
from pbs_fixture import pbs as pbs
from report_pages import driver as driver
from report_pages import open_page as open_page
from report_pages import small as small


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A job folder for the node agent; nothing of it may be left after the test."""
    made = Job(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    made.wait_until_nothing_is_left()
