"""A remark about an attempt that becomes a `warning` event."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """`code`: stable snake_case name, for scripts and tests. `text`: a sentence for a person."""

    code: str
    text: str
