"""What an ingest found."""

from dataclasses import dataclass, field


@dataclass
class IngestCount:
    """What was new. `troubles`: sweeps and files that could not be read, a sentence each.

    `unreadable`: folders and files that are there and could not be read: what they hold is not known.
    """

    sweeps: int = 0
    files: int = 0
    events: int = 0
    samples: int = 0
    size_bytes: int = 0
    troubles: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
