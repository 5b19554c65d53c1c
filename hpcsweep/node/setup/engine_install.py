"""Find the engine on this node or in its container: executable, version and flags, which are cached."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.engines.base import Engine
from hpcsweep.engines.registry import get_engine
from hpcsweep.node.process.processes import die_with_parent
from hpcsweep.node.records import read_json, write_json
from hpcsweep.node.setup.engine_identity import EngineIdentity, executable_identity, python_of

_VERSION_TIMEOUT_S = 300.0
_HELP_TIMEOUT_S = 600.0
_METADATA_TIMEOUT_S = 60.0
_FLAG = re.compile(r"(?<![\w-])--[A-Za-z][A-Za-z0-9_-]*")
ASK_METADATA = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        print(version(name))
        break
    except PackageNotFoundError:
        continue
"""
"""Prints the version of the first installed distribution of its arguments."""


@dataclass(frozen=True)
class Installation:
    """An installed engine, on this node or in a container.

    `identity` None: unknown, so that nothing is cached. `metadata_version`: of its Python distribution. `output`: runs
    the executable with some arguments and returns what it prints; None: it failed, or did not end in time.
    """

    engine: Engine
    executable: str
    identity: EngineIdentity | None
    metadata_version: Callable[[], str | None]
    output: Callable[[Sequence[str], float], str | None]


def find_executable(engine: str, named: Mapping[str, str], env: Mapping[str, str]) -> str | None:
    """Return the path from the cluster profile, else $HPCSWEEP_<ENGINE>, else the first on PATH. None: not found."""
    asked = named.get(engine) or env.get(f"HPCSWEEP_{engine.upper()}") or get_engine(engine).executable
    return shutil.which(asked, path=env.get("PATH"))


def on_this_node(engine: Engine, executable: str, env: Mapping[str, str]) -> Installation:
    """Return the installation of an engine behind an executable of this node. `env`: of the engine."""
    return Installation(
        engine,
        executable,
        executable_identity(executable, env),
        lambda: _metadata_version(engine, executable, env),
        lambda argv, timeout_s: text_of(answer_of([executable, *argv], timeout_s, env)),
    )


def installed_version(installation: Installation, cache_dir: Path) -> str | None:
    """Return the version of an engine; None: unknown.

    It is read from the metadata of the executable's Python, which takes a fraction of a second because the engine is
    not imported; else from the output of its version command, which can take minutes and is cached.
    """
    version = installation.metadata_version()
    if version is not None:
        return version
    engine = installation.engine
    argv = engine.version_argv(installation.executable)
    text = _cached(installation, "version", argv, _VERSION_TIMEOUT_S, cache_dir)
    return engine.parse_version(text) if text is not None else None


def known_flags(installation: Installation, version: str | None, cache_dir: Path) -> frozenset[str] | None:
    """Return all long flags in the engine's help, as written there; None: no help."""
    argv = installation.engine.help_argv(installation.executable)
    text = _cached(installation, f"help-{version}", argv, _HELP_TIMEOUT_S, cache_dir)
    return parse_flags(text) if text else None


def parse_flags(text: str) -> frozenset[str]:
    """Return the long flags in a help text. `--[no-]x` (argparse, click) yields both forms."""
    plain = re.sub(r"--\[no-?\]([A-Za-z][\w-]*)", r"--\1 --no-\1", text)
    return frozenset(_FLAG.findall(plain))


def answer_of(
    argv: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str] | None:
    """Run a command; None: it could not be started, or did not end in time."""
    try:
        return subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env=env,
            preexec_fn=die_with_parent,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def text_of(answer: subprocess.CompletedProcess[str] | None) -> str | None:
    """Return the output of a command that succeeded, else of its standard error; None: it failed."""
    return (answer.stdout or answer.stderr) if answer is not None and answer.returncode == 0 else None


def _metadata_version(engine: Engine, executable: str, env: Mapping[str, str]) -> str | None:
    python = python_of(executable)
    if python is None or not engine.distributions:
        return None
    answer = answer_of([python, "-c", ASK_METADATA, *engine.distributions], _METADATA_TIMEOUT_S, env)
    return answer.stdout.strip() or None if answer is not None else None


def _cached(
    installation: Installation, what: str, argv: tuple[str, ...], timeout_s: float, cache_dir: Path
) -> str | None:
    """Return the output of the executable with `argv`, from the cache if the same engine was executed before."""
    identity = installation.identity
    if not argv or identity is None:
        return None
    key = json.dumps([identity.digest, installation.executable, what, argv, sys.platform])
    cached = cache_dir / "engines" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    record = read_json(cached) if identity.certain else None
    if record is not None and isinstance(record.get("output"), str):
        return str(record["output"])
    output = installation.output(argv, timeout_s)
    if output is None or not identity.certain:
        return output
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_json(cached, {"executable": installation.executable, "argv": list(argv), "output": output})
    except OSError:  # without a cache the next attempt asks again
        return output
    return output
