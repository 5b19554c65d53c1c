"""The result of checking a claim: the claim, the value recomputed for it, and a verdict."""

from dataclasses import dataclass
from enum import Enum

from hpcsweep.imports.documents.model import Location
from hpcsweep.imports.documents.numbers import shown


class ClaimVerdict(str, Enum):
    """The verdict on one claim; the value is printed, and the `verdict` in the JSON output."""

    CONFIRMED = "confirmed"
    WRONG = "wrong"
    DOES_NOT_FOLLOW = "does not follow"
    NOISE = "inside the noise"
    NOTE = "worth knowing"
    NOT_CHECKED = "cannot be checked"


class ClaimKind(str, Enum):
    """What a claim is about; the value is the `kind` in the JSON output."""

    PERCENT = "percent"
    RATIO = "ratio"
    ORDERING = "ordering"
    CELL = "cell"
    SCALED_CELL = "scaled_cell"
    BEST = "best"
    DIFFERENCE = "difference"
    COLD_DIFFERENCE = "cold_difference"
    FIGURE = "figure"
    PLAUSIBILITY = "plausibility"
    FAILURES = "failures"
    TOKENS = "tokens"
    SAMPLE = "sample"
    AVERAGE = "average"
    COLD_IN_AVERAGE = "cold_in_average"
    LOG_WINDOW = "log_window"
    LOST_FLAGS = "lost_flags"
    RECOMMENDED_WAS_MEASURED = "recommended_was_measured"
    RECOMMENDED_NOT_MEASURED = "recommended_not_measured"
    RECOMMENDED_LACKS_FLAG = "recommended_lacks_flag"


BAD = (ClaimVerdict.WRONG, ClaimVerdict.DOES_NOT_FOLLOW)
"""Verdicts against the report, which make a check fail. Their reasons give the arithmetic and the source lines."""


@dataclass(frozen=True)
class ClaimFinding:
    """One claim and its verdict.

    `stated`, `recomputed`: in `unit`; None: the claim is not a number. `sources`: lines, other than the claim's own,
    of the numbers with which it was compared.
    """

    location: Location
    about: str
    claim: str
    verdict: ClaimVerdict
    reason: str
    kind: ClaimKind
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
        """Return the verdict, with the deviation for a wrong number."""
        if self.verdict is not ClaimVerdict.WRONG or self.difference is None:
            return self.verdict.value
        unit = f" {self.unit}" if self.unit else ""
        share = ""
        if self.recomputed and self.unit != "%":
            share = f" ({100 * self.difference / abs(self.recomputed):+.2g}%)"
        return f"wrong by {shown(self.difference)}{unit}{share}"
