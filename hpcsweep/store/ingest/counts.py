"""Counts and problems of an ingest."""

from dataclasses import dataclass, field


@dataclass
class IngestCount:
    """Counts of new data. `troubles`: a sentence for each sweep and line that could not be read.

    `unreadable`: a sentence for each existing folder or file that could not be read, so that its content is unknown.
    """

    sweeps: int = 0
    files: int = 0
    events: int = 0
    samples: int = 0
    size_bytes: int = 0
    troubles: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
