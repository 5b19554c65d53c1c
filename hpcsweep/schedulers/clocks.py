"""Parse durations as PBS and Slurm write them. Two parts are minutes and seconds for both, never hours."""

import re

_PBS = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+)(?:\.\d*)?")
_SLURM = re.compile(
    r"(?P<days>\d+)-(?P<h>\d+)(?::(?P<hm>\d+)(?::(?P<hms>\d+))?)?"
    r"|(?P<minutes>\d+)|(?P<m>\d+):(?P<ms>\d+)|(?P<hours>\d+):(?P<min>\d+):(?P<sec>\d+)"
)
_UNLIMITED = frozenset({"unlimited", "infinite", "n/a", "not_set", "partition_limit", "invalid", "-1"})


def pbs_seconds(text: str) -> float:
    """Return the seconds of `SS`, `MM:SS` or `HH:MM:SS[.fraction]` (pbs_resources). Raises ValueError otherwise."""
    match = _PBS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a PBS duration: expected seconds, MM:SS or HH:MM:SS")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float((hours * 60 + minutes) * 60 + seconds)


def slurm_seconds(text: str) -> float | None:
    """Return the seconds of `MIN`, `MIN:SEC`, `H:MIN:SEC`, `D-H`, `D-H:MIN` or `D-H:MIN:SEC` (man sbatch, --time).

    None: no limit, or that of the partition. Raises ValueError for anything else.
    """
    stripped = text.strip()
    if stripped.lower() in _UNLIMITED:
        return None
    match = _SLURM.fullmatch(stripped)
    if match is None:
        raise ValueError(f"{text!r} is not a Slurm duration: expected minutes, MIN:SEC, HH:MM:SS or D-HH:MM:SS")
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    hours = part["days"] * 24 + part["h"] + part["hours"]
    minutes = part["hm"] + part["minutes"] + part["m"] + part["min"]
    return float((hours * 60 + minutes) * 60 + part["hms"] + part["ms"] + part["sec"])
