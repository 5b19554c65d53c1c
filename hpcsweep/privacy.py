"""Set the modes of files that hpcsweep writes: private to its user, or shared with one Unix group, never with others.

Every process of hpcsweep calls `enter` first. Everything that it creates afterwards (folders, logs, files of SQLite and
of engines) has the modes of the home folder. Outputs that a user names (a report, an export) are written within
`users_umask`. A home is shared with a group if its folder `sweeps` belongs to the group, is writable for it and has the
setgid bit, so that everything below inherits the group.
"""

import contextlib
import grp
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpcsweep.errors import SpecError

_PRIVATE_UMASK, _GROUP_UMASK = 0o077, 0o007
_SHARED_BITS = stat.S_ISGID | stat.S_IWGRP
_users_umask: int | None = None
_umask = _PRIVATE_UMASK


def enter(folder: Path) -> None:
    """Set the umask so that new files are as private as `folder`, which need not exist yet."""
    global _users_umask, _umask
    _umask = _GROUP_UMASK if is_shared(folder) else _PRIVATE_UMASK
    before = os.umask(_umask)
    if _users_umask is None:
        _users_umask = before


def follow(folder: Path) -> None:
    """Call `enter` again after the modes of a folder were set; do nothing in a process that never called it."""
    if _users_umask is not None:
        enter(folder)


@contextlib.contextmanager
def users_umask() -> Iterator[None]:
    """Use the user's own umask within the block."""
    if _users_umask is None:
        yield
        return
    os.umask(_users_umask)
    try:
        yield
    finally:
        os.umask(_umask)


def executable_mode() -> int:
    """Return the mode of a script below the home folder."""
    return 0o777 & ~_umask


def is_shared(folder: Path) -> bool:
    """Return whether a folder is deliberately shared with its group; False if it does not exist."""
    try:
        return folder.stat().st_mode & _SHARED_BITS == _SHARED_BITS
    except OSError:
        return False


def make_folder(folder: Path, group: str | None) -> None:
    """Create a folder, private or for a group (name), or correct the modes of an existing one. Raises OSError.

    A folder of another user is not changed, nor, with `group` None, one that is shared with a group. Raises SpecError
    for a group that does not exist or that this user is not a member of.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.geteuid():
            return
        if group is not None:
            share(folder, group)
        elif status.st_mode & 0o077 and status.st_mode & _SHARED_BITS != _SHARED_BITS:
            folder.chmod(0o700)
    except PermissionError as exc:
        if group is None:
            raise
        raise SpecError(
            f"{folder} cannot be given to group {group!r}: {exc.strerror}",
            code="group_not_permitted",
            hint="`id` lists the groups that you are a member of",
        ) from exc


def share(path: Path, group: str) -> None:
    """Give one of our files or folders to a group. Raises OSError, SpecError."""
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise SpecError(
            f"group {group!r} does not exist on this machine", code="unknown_group", hint="`id` lists your groups"
        ) from None
    os.chown(path, -1, gid)
    path.chmod(0o2770 if path.is_dir() else 0o660)


def restrict(files: Iterable[Path]) -> None:
    """Remove the permissions of others from those of these files that are ours; missing files are ignored."""
    for path in files:
        with contextlib.suppress(OSError):
            status = path.stat()
            allowed = 0o660 if _umask == _GROUP_UMASK else 0o600
            if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & ~allowed:
                path.chmod(stat.S_IMODE(status.st_mode) & allowed)
