"""What keeps the results of a table from a rank: said once for all rows where it holds for all, else in its row."""

from collections.abc import Iterable

from hpcsweep.analysis.findings.measured import Validity


class HeldBack:
    """The reasons of all rows of a table, by kind."""

    def __init__(self, validities: Iterable[Validity]) -> None:
        every = list(validities)
        kinds = [_kinds(of) for of in every]
        self._common = [kind for kind in kinds[0] if all(kind in own for own in kinds)] if len(every) > 1 else []

    def of(self, validity: Validity) -> str:
        """Empty for a valid result; else `provisional (client limited)`, without what the note says of all."""
        if validity.status == "valid":
            return ""
        own = [kind for kind in _kinds(validity) if kind not in self._common]
        return f"{validity.status} ({', '.join(own)})" if own else validity.status

    @property
    def note(self) -> str:
        """A sentence for below the table; empty: nothing holds for all."""
        return f" Held back in every row: {', '.join(self._common)}." if self._common else ""


def _kinds(validity: Validity) -> list[str]:
    return list(dict.fromkeys(reason.code.replace("_", " ") for reason in validity.reasons))
