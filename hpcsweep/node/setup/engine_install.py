"""The engine on this node: its executable, its version and the flags it knows (asked once, then cached)."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.engines.base import Engine
from hpcsweep.engines.registry import get_engine
from hpcsweep.node.record.records import read_json, write_json

_VERSION_TIMEOUT_S = 300.0
_HELP_TIMEOUT_S = 600.0
_FLAG = re.compile(r"(?<![\w-])--[A-Za-z][A-Za-z0-9_-]*")
_SHEBANG = re.compile(rb"#!\s*(\S+)(?:[ \t]+(\S+))?")
_ASK_METADATA = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        print(version(name))
        break
    except PackageNotFoundError:
        continue
"""


@dataclass(frozen=True)
class Install:
    """An engine that can be started. `version` None: it does not tell."""

    executable: str
    version: str | None


def find_executable(engine: str, named: Mapping[str, str], env: Mapping[str, str]) -> str | None:
    """What the cluster profile names, else $HPCSWEEP_<ENGINE>, else the first on PATH. None: there is none."""
    asked = named.get(engine) or env.get(f"HPCSWEEP_{engine.upper()}") or get_engine(engine).executable
    return shutil.which(asked, path=env.get("PATH"))


def installed_version(engine: Engine, executable: str, cache_dir: Path) -> str | None:
    """The version of the engine behind `executable`; None: it does not tell.

    First by the metadata of the Python that the executable belongs to (no import of the engine: a fraction of a
    second), then by its own word, which can take minutes and is cached.
    """
    told = _metadata_version(engine, executable)
    if told is not None:
        return told
    text = _cached(executable, "version", engine.version_argv(executable), _VERSION_TIMEOUT_S, cache_dir)
    return engine.parse_version(text) if text is not None else None


def known_flags(engine: Engine, executable: str, version: str | None, cache_dir: Path) -> frozenset[str] | None:
    """Every long flag in the engine's own help, as written there; None: the help could not be had."""
    text = _cached(executable, f"help-{version}", engine.help_argv(executable), _HELP_TIMEOUT_S, cache_dir)
    return parse_flags(text) if text else None


def parse_flags(text: str) -> frozenset[str]:
    """The long flags that a help text names. `--[no-]x` (argparse, click) stands for both forms."""
    plain = re.sub(r"--\[no-?\]([A-Za-z][\w-]*)", r"--\1 --no-\1", text)
    return frozenset(_FLAG.findall(plain))


def _metadata_version(engine: Engine, executable: str) -> str | None:
    python = _python_of(executable)
    if python is None or not engine.distributions:
        return None
    try:
        answer = subprocess.run(
            [python, "-c", _ASK_METADATA, *engine.distributions],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _python_of(executable: str) -> str | None:
    """The interpreter that runs a console script; the executable itself when it is one; None: not a Python program."""
    if Path(executable).name.startswith("python"):
        return executable
    try:
        with Path(executable).open("rb") as file:
            match = _SHEBANG.match(file.read(512))
    except OSError:
        return None
    if match is None:
        return None
    program, argument = (os.fsdecode(word) if word else "" for word in match.groups())
    if Path(program).name == "env" and argument.startswith("python"):
        return shutil.which(argument)
    return program if Path(program).name.startswith("python") else None


def _cached(executable: str, what: str, argv: tuple[str, ...], timeout_s: float, cache_dir: Path) -> str | None:
    """The output of the executable with `argv`, from the cache when the same file was asked before."""
    if not argv:
        return None
    path = Path(executable).resolve()
    try:
        stat = path.stat()
    except OSError:
        return None
    identity = json.dumps([str(path), stat.st_size, stat.st_mtime_ns, what, argv, sys.platform])
    place = cache_dir / "engines" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    kept = read_json(place)
    if kept is not None and isinstance(kept.get("output"), str):
        return str(kept["output"])
    try:
        answer = subprocess.run(
            [executable, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    output = answer.stdout or answer.stderr
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, {"executable": str(path), "argv": list(argv), "output": output})
    except OSError:  # a cache that cannot be written costs time, not truth
        return output
    return output
