"""Read the git revision of a folder, without running programs that the repository configures.

`git status` runs programs from the repository's configuration: a file-system monitor, hooks and clean filters, also of
its submodules. This module uses a temporary git folder without that configuration: it refers to the objects, and has a
copy of the index and the settings for comparing files.
"""

import shutil
import tempfile
from pathlib import Path

from hpcsweep.foreign_files import read_regular
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.base import CommandResult

_TIMEOUT_S = 10.0
_EXCLUDE_LIMIT_BYTES = 1 << 20
_INDEX_LIMIT_BYTES = 512 << 20
_HARMLESS = r"^core\.(filemode|ignorecase|symlinks|autocrlf|eol|precomposeunicode)$"
"""Settings of the repository for comparing files; none of them is a program."""

_NOTHING_RUN = (
    "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false",
    "-c", "core.pager=cat", "-c", "protocol.allow=never", "--no-optional-locks", "--no-pager",
)  # fmt: skip


def git_revision(folder: Path) -> dict[str, str]:
    """Return `git_revision` (commit) and `git_changes` (yes, no) of the repository of a folder, as far as known."""
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    if head.exit_code != 0:
        return {}
    revision = {"git_revision": head.stdout.strip()}
    with tempfile.TemporaryDirectory(prefix="hpcsweep-git-") as scratch:
        changed = _is_changed(folder, head.stdout.strip(), Path(scratch))
    if changed is not None:
        revision["git_changes"] = "yes" if changed else "no"
    return revision


def _is_changed(folder: Path, commit: str, scratch: Path) -> bool | None:
    """Return whether the work tree differs from the commit; None: not known."""
    paths = _git(
        folder, "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-path", "objects",
        "--git-path", "index", "--git-path", "info/exclude", "--show-object-format",
    )  # fmt: skip
    lines = paths.stdout.splitlines()
    if paths.exit_code != 0 or len(lines) != 5:
        return None
    top, objects, index, exclude, object_format = lines
    settings = {"core.repositoryformatversion": "1", "extensions.objectformat": object_format, "core.bare": "false"}
    harmless = _git(folder, "config", "--local", "--no-includes", "--get-regexp", _HARMLESS)
    settings |= dict(line.split(" ", 1) for line in harmless.stdout.splitlines() if " " in line)
    try:
        (scratch / "refs").mkdir()
        (scratch / "info").mkdir()
        (scratch / "HEAD").write_text(f"{commit}\n", encoding="ascii")
        _copy(Path(exclude), scratch / "info" / "exclude", _EXCLUDE_LIMIT_BYTES)
        _copy(Path(index), scratch / "index", _INDEX_LIMIT_BYTES)
        (scratch / "config").write_text(_config(settings), encoding="utf-8")
    except (OSError, ValueError):
        return None
    environment = {"GIT_DIR": str(scratch), "GIT_WORK_TREE": top, "GIT_OBJECT_DIRECTORY": objects}
    status = LocalHost().run(
        ["env", *(f"{name}={value}" for name, value in environment.items()),
         "git", *_NOTHING_RUN, "-C", top, "status", "--porcelain", "--ignore-submodules=all"],
        timeout_s=_TIMEOUT_S,
    )  # fmt: skip
    return bool(status.stdout.strip()) if status.exit_code == 0 else None


def _git(folder: Path, *words: str) -> CommandResult:
    """Run a git command that runs no hook, filter or monitor."""
    return LocalHost().run(["git", *_NOTHING_RUN, "-C", str(folder), *words], timeout_s=_TIMEOUT_S)


def _copy(source: Path, target: Path, limit_bytes: int) -> None:
    """Copy a file with its mtime, which git compares with the entries of an index."""
    try:
        target.write_bytes(read_regular(source, limit_bytes))
        shutil.copystat(source, target)
    except FileNotFoundError:
        return


def _config(settings: dict[str, str]) -> str:
    lines = []
    for name, value in settings.items():
        section, _, key = name.partition(".")
        if not value.isalnum():
            raise ValueError(f"{name}={value}")
        lines.append(f"[{section}]\n\t{key} = {value}\n")
    return "".join(lines)
