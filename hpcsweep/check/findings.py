"""Represent what a check found: a claim, the value recomputed for it, and a verdict."""

from dataclasses import dataclass
from enum import Enum

from hpcsweep.imports.documents.model import Location
from hpcsweep.imports.documents.numbers import shown


class ClaimVerdict(str, Enum):
    """The result of checking one claim."""

    CONFIRMED = "confirmed"
    WRONG = "wrong"
    DOES_NOT_FOLLOW = "does not follow"
    NOISE = "inside the noise"
    NOTE = "worth knowing"
    NOT_CHECKED = "cannot be checked"


BAD = (ClaimVerdict.WRONG, ClaimVerdict.DOES_NOT_FOLLOW)
"""Verdicts that accuse the report, and make a check fail. Each needs its sources by line, and the arithmetic."""


@dataclass(frozen=True)
class ClaimFinding:
    """One claim and what its own numbers give.

    `stated`, `recomputed`: in `unit`; None: the claim is not a number. `sources`: lines, other than the claim's own,
    of the numbers that it was compared with.
    """

    location: Location
    about: str
    claim: str
    verdict: ClaimVerdict
    reason: str
    kind: str
    stated: float | None = None
    recomputed: float | None = None
    unit: str = ""
    sources: tuple[int, ...] = ()

    @property
    def difference(self) -> float | None:
        """Return stated minus recomputed, in `unit`; None without both."""
        if self.stated is None or self.recomputed is None:
            return None
        return self.stated - self.recomputed

    @property
    def verdict_text(self) -> str:
        """Return the verdict; for a wrong number with its deviation."""
        if self.verdict is not ClaimVerdict.WRONG or self.difference is None:
            return self.verdict.value
        unit = f" {self.unit}" if self.unit else ""
        share = ""
        if self.recomputed and self.unit != "%":
            share = f" ({100 * self.difference / abs(self.recomputed):+.2g}%)"
        return f"wrong by {shown(self.difference)}{unit}{share}"
