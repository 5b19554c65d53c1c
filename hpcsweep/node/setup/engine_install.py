"""Find the engine on this node: executable, version and flags, which are cached."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hpcsweep.engines.base import Engine
from hpcsweep.engines.registry import get_engine
from hpcsweep.node.records import read_json, write_json

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


def find_executable(engine: str, named: Mapping[str, str], env: Mapping[str, str]) -> str | None:
    """Return the path from the cluster profile, else $HPCSWEEP_<ENGINE>, else the first on PATH. None: not found."""
    asked = named.get(engine) or env.get(f"HPCSWEEP_{engine.upper()}") or get_engine(engine).executable
    return shutil.which(asked, path=env.get("PATH"))


def installed_version(
    engine: Engine, executable: str, cache_dir: Path, env: Mapping[str, str] | None = None
) -> str | None:
    """Return the version of the engine behind `executable`; None: unknown. `env`: of the engine; None: of this process.

    It is read from the metadata of the executable's Python, which takes a fraction of a second because the engine is
    not imported; else from the output of its version command, which can take minutes and is cached.
    """
    version = _metadata_version(engine, executable, env)
    if version is not None:
        return version
    text = _cached(executable, "version", engine.version_argv(executable), _VERSION_TIMEOUT_S, cache_dir, env)
    return engine.parse_version(text) if text is not None else None


def known_flags(
    engine: Engine, executable: str, version: str | None, cache_dir: Path, env: Mapping[str, str] | None = None
) -> frozenset[str] | None:
    """Return all long flags in the engine's help, as written there; None: no help."""
    text = _cached(executable, f"help-{version}", engine.help_argv(executable), _HELP_TIMEOUT_S, cache_dir, env)
    return parse_flags(text) if text else None


def parse_flags(text: str) -> frozenset[str]:
    """Return the long flags in a help text. `--[no-]x` (argparse, click) yields both forms."""
    plain = re.sub(r"--\[no-?\]([A-Za-z][\w-]*)", r"--\1 --no-\1", text)
    return frozenset(_FLAG.findall(plain))


def _metadata_version(engine: Engine, executable: str, env: Mapping[str, str] | None) -> str | None:
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
            env=env,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _python_of(executable: str) -> str | None:
    """Return the interpreter of a console script, or the executable itself if it is one; None: not Python."""
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


def _cached(
    executable: str,
    what: str,
    argv: tuple[str, ...],
    timeout_s: float,
    cache_dir: Path,
    env: Mapping[str, str] | None = None,
) -> str | None:
    """Return the output of the executable with `argv`, from the cache if the same file was executed before."""
    if not argv:
        return None
    path = Path(executable).resolve()
    try:
        stat = path.stat()
    except OSError:
        return None
    identity = json.dumps([str(path), stat.st_size, stat.st_mtime_ns, what, argv, sys.platform])
    cached = cache_dir / "engines" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    record = read_json(cached)
    if record is not None and isinstance(record.get("output"), str):
        return str(record["output"])
    try:
        answer = subprocess.run(
            [executable, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env=env,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    output = answer.stdout or answer.stderr
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_json(cached, {"executable": str(path), "argv": list(argv), "output": output})
    except OSError:  # without a cache the next attempt asks again
        return output
    return output
