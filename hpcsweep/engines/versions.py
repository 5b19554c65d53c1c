"""Compare versions of engines with the constraint of an experiment."""

from collections.abc import Iterable

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from hpcsweep.errors import EngineError


def parse_constraint(text: str) -> SpecifierSet:
    """Parse a constraint such as `>=0.11,<0.12`; a bare `0.11` means `==0.11.*`. Raises EngineError."""
    written = f"=={text.strip()}.*" if text.strip()[:1].isdigit() else text
    try:
        return SpecifierSet(written)
    except InvalidSpecifier as exc:
        raise EngineError(
            f"invalid engine version constraint: {text!r}",
            code="invalid_version_constraint",
            hint="write '>=0.11,<0.12', '==0.32.0' or '0.32'",
        ) from exc


def parse_version(text: str) -> Version | None:
    """Return a version that can be compared; None: `text` is not a version."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def same_version(first: str, second: str) -> bool:
    """Return whether two texts name one version; local builds (`0.32.0+cpu`) count as the same."""
    versions = [parse_version(text.partition("+")[0]) for text in (first, second)]
    return first == second if None in versions else versions[0] == versions[1]


def satisfies(version: str, constraint: str | None) -> bool:
    """Return whether an installed version satisfies the constraint; None admits every version. Raises EngineError.

    Release candidates and local builds (`0.32.0+cpu`) count; text that is not a version satisfies no constraint.
    """
    if constraint is None:
        return True
    installed = parse_version(version)
    return installed is not None and parse_constraint(constraint).contains(installed, prereleases=True)


def admitted(constraint: str | None, versions: Iterable[str]) -> list[str]:
    """Return those of `versions` that the constraint admits, in their order."""
    return [version for version in versions if satisfies(version, constraint)]


def mentioned(constraint: str | None) -> list[str]:
    """Return the versions that a constraint mentions: `0.34` of `>=0.34`."""
    return [spec.version.removesuffix(".*") for spec in parse_constraint(constraint)] if constraint else []
