"""Why a workload is not sent to a variant."""

from enum import Enum
from typing import Any

from pydantic import model_validator

from hpcsweep.spec.base import Record


class LeftOutKind(str, Enum):
    """Kind of a reason; the value is its short text in reports."""

    DOES_NOT_FIT = "does not fit"
    OTHER = "not sent"


class LeftOut(Record):
    """Why a workload is not sent. `kind`: short. `detail`: the arithmetic or the sentence behind it; may be empty.

    `str()` gives the one-line form that event logs, the store and reports carry, and `parse` reads it.
    """

    kind: LeftOutKind
    detail: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Accept the one-line form, which job files written by earlier versions contain."""
        return _split(value) if isinstance(value, str) else value

    @classmethod
    def parse(cls, text: str) -> "LeftOut":
        """Read the one-line form. Another text becomes the detail of a reason of kind OTHER."""
        return cls.model_validate(text)

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}" if self.detail else self.kind.value


def _split(text: str) -> dict[str, Any]:
    for kind in LeftOutKind:
        if text == kind.value or text.startswith(f"{kind.value}: "):
            return {"kind": kind, "detail": text[len(kind.value) + 2 :]}
    return {"kind": LeftOutKind.OTHER, "detail": text}
