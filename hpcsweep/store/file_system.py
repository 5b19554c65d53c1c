"""Decide whether SQLite's write-ahead log is safe for a file."""

from pathlib import Path

from hpcsweep.hosts.mounts import file_system_of, is_local


def locks_are_local(path: Path, mounts: str | None = None) -> bool:
    """Return True when `path` is on a file system that one kernel alone manages.

    The write-ahead log shares memory between the processes of one host, so on NFS, Lustre or GPFS two login nodes
    would corrupt the store (https://www.sqlite.org/wal.html). An unknown file system counts as shared.
    `mounts`: see `file_system_of`.
    """
    return is_local(file_system_of(path, mounts))
