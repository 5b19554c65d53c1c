"""Failures that several engines tell in the same words, because a library below them does; how patterns are read."""

import re

from hpcsweep.engines.base import FailurePattern
from hpcsweep.spec.phases import OutcomeKind


def rx(pattern: str) -> re.Pattern[str]:
    """A pattern for log lines: engines change capitals from version to version."""
    return re.compile(pattern, re.IGNORECASE)


NO_SUCH_MODEL = FailurePattern(
    rx(
        r"(?:HFValidation|RepositoryNotFound|RevisionNotFound|LocalEntryNotFound|GatedRepo)Error: "
        r"|is not a local folder and is not a valid model|does not appear to have a file named config\.json"
    ),
    OutcomeKind.MODEL_NOT_FOUND,
    "give a path that the compute nodes can read, or the name of a repository (and a token, if it is gated)",
)
"""In the words of transformers and huggingface_hub."""

PORT_TAKEN = FailurePattern(
    rx(r"\[Errno 98\]|address already in use"), OutcomeKind.PORT_IN_USE, "try again: a new port is chosen"
)
"""In the words of Linux and uvicorn."""
