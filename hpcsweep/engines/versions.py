"""Versions of engines: does an installed one satisfy the experiment's constraint, and which known ones could."""

from collections.abc import Iterable

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from hpcsweep.errors import EngineError


def parse_constraint(text: str) -> SpecifierSet:
    """The constraint that `>=0.11,<0.12` writes; a bare `0.11` means `==0.11.*`. Raises EngineError."""
    written = f"=={text.strip()}.*" if text.strip()[:1].isdigit() else text
    try:
        return SpecifierSet(written)
    except InvalidSpecifier as exc:
        raise EngineError(
            f"engine version {text!r} is no constraint", hint="write '>=0.11,<0.12', '==0.32.0' or '0.32'"
        ) from exc


def parse_version(text: str) -> Version | None:
    """A version as it can be compared; None: `text` is none."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def satisfies(version: str, constraint: str | None) -> bool:
    """Whether an installed version is one that the constraint admits. None admits all. Raises EngineError.

    Release candidates and local builds (`0.32.0+cpu`) count; a text that is no version satisfies no constraint.
    """
    if constraint is None:
        return True
    installed = parse_version(version)
    return installed is not None and parse_constraint(constraint).contains(installed, prereleases=True)


def admitted(constraint: str | None, versions: Iterable[str]) -> list[str]:
    """Those of `versions` that the constraint admits, in their order."""
    return [version for version in versions if satisfies(version, constraint)]


def mentioned(constraint: str | None) -> list[str]:
    """The versions that a constraint itself names: `0.34` of `>=0.34`."""
    return [spec.version.removesuffix(".*") for spec in parse_constraint(constraint)] if constraint else []
