"""What all tests share: nothing of them reaches a real scheduler or a person's home, unless a test is marked for it."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hpcsweep import registry

SUBMITTERS = (
    "sbatch",
    "srun",
    "salloc",
    "scancel",
    "qsub",
    "qdel",
    "qalter",
    "qhold",
    "qrls",
    "qrerun",
    "qsig",
    "qmove",
)
"""Commands that change something on a cluster. What only asks (squeue, qstat) may run."""

_NOWHERE = {"SLURM_CONF": "/nonexistent/slurm.conf", "PBS_CONF_FILE": "/nonexistent/pbs.conf"}
"""With these a real client finds no server, should it be reached by another way than PATH."""


def _hide_installed_plugins() -> None:
    """Hide the plugins that are installed in this environment: a test sees the built-in ones and those that it adds."""
    find = registry.entry_points

    def key(point: EntryPoint) -> tuple[str, str, str, str]:
        return point.group, point.name, point.value, str(point.dist.locate_file("")) if point.dist else ""

    installed = {key(point) for kind in _KINDS for point in find(group=f"hpcsweep.{kind}")}
    registry.entry_points = lambda *, group: [point for point in find(group=group) if key(point) not in installed]


_KINDS = ("engines", "containers", "schedulers", "datasets", "clients", "reports")
_REAL = "HPCSWEEP_TESTS_REAL_"
_GUARD = pytest.StashKey[Path]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("nightly") and os.environ.get("HPCSWEEP_NIGHTLY") != "1":
        pytest.skip("takes minutes: scripts/nightly engines, or HPCSWEEP_NIGHTLY=1")


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests a home without login files, and guards in the place of a scheduler's commands.

    And Ctrl-C works in what the tests start, also where the tests themselves were started in the background: a shell
    ignores SIGINT for background commands, and an ignored signal is inherited by every process below.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _hide_installed_plugins()
    for name in ("HOME", "PATH"):
        os.environ.setdefault(_REAL + name, os.environ.get(name, ""))  # a worker of xdist finds those of its master
    folder = Path(tempfile.mkdtemp(prefix="hpcsweep-tests-"))
    config.stash[_GUARD] = folder
    (folder / "home").mkdir()
    (folder / "guard").mkdir()
    for command in SUBMITTERS:
        guard = folder / "guard" / command
        guard.write_text(
            f'#!/bin/sh\necho "{command} $*" >>{folder}/calls\n'
            f'echo "{command}: kept from a real scheduler by tests/conftest.py" >&2\nexit 97\n'
        )
        guard.chmod(0o755)
    os.environ["HOME"] = str(folder / "home")
    os.environ["PATH"] = f"{folder / 'guard'}:{os.environ[_REAL + 'PATH']}"


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_GUARD], ignore_errors=True)


@pytest.fixture
def guards(pytestconfig: pytest.Config) -> Path:
    """Folder of the guards, for tests that set a PATH of their own."""
    return pytestconfig.stash[_GUARD] / "guard"


@pytest.fixture(autouse=True)
def _no_real_scheduler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that is not marked `slurm` fails when it calls a command of SUBMITTERS that is not a fake of its own."""
    if request.node.get_closest_marker("slurm") is not None:
        monkeypatch.setenv("PATH", os.environ[_REAL + "PATH"])
        yield
        return
    if request.node.get_closest_marker("vllm") is not None:  # its models and compile caches are in the real home
        monkeypatch.setenv("HOME", os.environ[_REAL + "HOME"])
    for name, value in _NOWHERE.items():
        monkeypatch.setenv(name, value)
    calls = request.config.stash[_GUARD] / "calls"
    calls.unlink(missing_ok=True)
    yield
    if calls.exists():
        pytest.fail(f"a real scheduler would have been called: {calls.read_text()}", pytrace=False)
