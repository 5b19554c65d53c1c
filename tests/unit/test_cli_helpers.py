"""Small parts of the command line: how often a log is fetched over SSH, and errors about --store."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hpcsweep.cli.commands import logs
from hpcsweep.cli.commands.logs import fetcher
from hpcsweep.errors import StoreError
from hpcsweep.store.open import open_store


class Opened:
    """A session that counts how often it is refreshed."""

    def __init__(self, ssh: object) -> None:
        self.ssh, self.refreshed = ssh, 0

    def cluster(self, sweep: object) -> SimpleNamespace:
        return SimpleNamespace(ssh=self.ssh)

    def refresh(self, sweeps: object) -> None:
        self.refreshed += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    return now


SWEEP = cast(Any, SimpleNamespace(name="study-0001", path=Path()))


def test_over_ssh_a_log_is_fetched_at_most_every_few_seconds(clock: list[float]) -> None:
    opened = Opened(ssh=object())
    fetch = fetcher(cast(Any, opened), SWEEP)
    fetch()
    assert opened.refreshed == 0  # the command has just refreshed the sweep
    for passed_s, refreshed in ((logs.FETCH_S - 0.1, 0), (0.1, 1), (0.1, 1), (logs.FETCH_S, 2)):
        clock[0] += passed_s
        fetch()
        assert opened.refreshed == refreshed


def test_on_this_machine_nothing_is_fetched(clock: list[float]) -> None:
    opened = Opened(ssh=None)
    fetch = fetcher(cast(Any, opened), SWEEP)
    clock[0] += 10 * logs.FETCH_S
    fetch()
    assert opened.refreshed == 0


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("nosuch+driver://me:hunter2@host/db", "nosuch+driver://"),
        ("postgresql://me:hunter2@host:port/db", "host:port"),
        ("mysql://me:hunter2@host/db", "mysql"),
    ],
)
def test_an_error_about_a_store_url_names_it_without_its_password(url: str, named: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value) and named in str(caught.value)
