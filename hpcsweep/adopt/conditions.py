"""Parse tests of a script on one variable, such as `[ "$ENFORCE_EAGER" = yes ]`, which become axes."""

import re
from dataclasses import dataclass

from hpcsweep.shell import unquoted

_TEST = re.compile(
    r"""(?:\[\[?|test)\s+(?P<not>!\s+)?["']?\$\{?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::?-[^}]*)?\}?["']?\s*"""
    r"""(?P<op>==?|!=|-eq|-ne)\s*["']?(?P<value>[\w.+-]+)["']?(?:\s*\]\]?)?"""
)
_SET = re.compile(
    r"""(?:\[\[?|test)\s+(?P<not>!\s+)?(?P<op>-n|-z)\s+["']?\$\{?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::?-[^}]*)?\}?["']?"""
    r"""(?:\s*\]\]?)?"""
)
_DEFAULT = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*):?-(?P<default>[^}]*)\}")
_OPPOSITE = {"yes": "no", "no": "yes", "true": "false", "false": "true", "on": "off", "off": "on", "1": "0", "0": "1"}


@dataclass(frozen=True)
class ShellCondition:
    """A test whether variable `name` has the value `value`, or with `holds` False does not. `default`: in the test."""

    name: str
    value: str
    holds: bool
    default: str | None = None

    @property
    def negated(self) -> "ShellCondition":
        """Return the condition of the else branch."""
        return ShellCondition(self.name, self.value, not self.holds, self.default)

    @property
    def other_value(self) -> str:
        """Return a value with which the test has the other result."""
        return _OPPOSITE.get(self.value.lower(), f"not-{self.value}")

    def true_with(self, value: str | None) -> bool | None:
        """Return whether the test is true when the variable has this value; None: the value is not known."""
        known = value if value is not None else self.default
        return None if known is None else (known == self.value) is self.holds


def read_condition(text: str) -> ShellCondition | None:
    """Parse the condition of a test; None: it is not about one variable and one value."""
    default_reference = _DEFAULT.search(text)
    default = unquoted(default_reference["default"]) if default_reference else None
    match = _TEST.fullmatch(text.strip())
    if match is not None:
        positive = (match["op"] in ("=", "==", "-eq")) is not bool(match["not"])
        return ShellCondition(match["name"], match["value"], positive, default)
    match = _SET.fullmatch(text.strip())
    if match is not None:
        # The variable is set to any value; use 1.
        return ShellCondition(match["name"], "1", (match["op"] == "-n") is not bool(match["not"]), default)
    return None
