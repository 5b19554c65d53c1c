"""What a recomputation finds: a stated value, the recomputed one, and a verdict."""

from dataclasses import dataclass
from enum import Enum

from hpcsweep.imports.blocks import Place
from hpcsweep.imports.numbers import shown


class Verdict(str, Enum):
    """What became of a claim."""

    CONFIRMED = "confirmed"
    WRONG = "wrong"
    DOES_NOT_FOLLOW = "does not follow"
    NOISE = "inside the noise"
    NOT_CHECKED = "cannot be checked"


BAD = (Verdict.WRONG, Verdict.DOES_NOT_FOLLOW, Verdict.NOISE)
"""Verdicts that make a check fail."""


@dataclass(frozen=True)
class Finding:
    """One claim and what its own numbers give. `stated`, `recomputed`: in `unit`; None: the claim is no number."""

    place: Place
    about: str
    claim: str
    verdict: Verdict
    reason: str
    kind: str
    stated: float | None = None
    recomputed: float | None = None
    unit: str = ""

    @property
    def difference(self) -> float | None:
        """Stated minus recomputed, in `unit`; None without both."""
        if self.stated is None or self.recomputed is None:
            return None
        return self.stated - self.recomputed

    @property
    def verdict_text(self) -> str:
        """The verdict; a wrong number with how far it is off."""
        if self.verdict is not Verdict.WRONG or self.difference is None:
            return self.verdict.value
        unit = f" {self.unit}" if self.unit else ""
        share = ""
        if self.recomputed and self.unit != "%":
            share = f" ({100 * self.difference / abs(self.recomputed):+.2g}%)"
        return f"wrong by {shown(self.difference)}{unit}{share}"
