"""Resolve the variables of a script without running it: assignments, defaults, lists of arguments.

A value is known if the script assigns it. Values from outside (`qsub -v`, the login environment, `$1`, command
substitutions) are unknown and remain as written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hpcsweep.shell import tokens, unquoted, without_comments

ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<append>\+?)=(?P<value>.*)", re.DOTALL)
_REFERENCE = re.compile(
    r"\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*|\d|@|\*)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*|\d+)"
    r"(?P<all>\[[@*]\])?(?::?(?P<op>[-=?+])(?P<default>[^{}]*))?\})"
)
_ONE_REFERENCE = re.compile(r'"?\$(?:\{)?([A-Za-z_][A-Za-z0-9_]*)(?::?[-=][^{}]*)?\}?"?')


@dataclass
class ShellVariables:
    """The variables of a script: name -> raw words of its value, one for a plain variable, several for an array.

    `parameters`: names whose value is a default (`${NAME:-32768}`) that the environment may override.
    """

    values: dict[str, list[str]] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)

    def assign(self, word: str) -> str | None:
        """Apply an assignment and return its name; None: the word is not an assignment."""
        match = ASSIGNMENT.fullmatch(word)
        if match is None:
            return None
        name, value = match["name"], match["value"]
        if value.startswith("("):
            words = [item for item in tokens(without_comments(value[1:].rpartition(")")[0])) if item != "\n"]
            self.values[name] = [*self.values.get(name, []), *words] if match["append"] else words
            return name
        own = _REFERENCE.fullmatch(unquoted(value))
        if own is not None and own["name"] == name and own["op"] in ("-", "="):
            self.default(name, own["default"])
            return name
        if match["append"]:
            before = self.values.get(name, [])
            self.values[name] = [f"{unquoted(' '.join(before))}{unquoted(value)}"]
        else:
            earlier = unquoted(" ".join(self.values.get(name, [])))
            own_name = re.compile(rf"\$(?:\{{{name}(?::?-)?\}}|{name}\b)")  # ARGS="$ARGS --x"
            self.values[name] = (
                [own_name.sub(lambda _: earlier, unquoted(value))] if own_name.search(value) else [value]
            )
            reference = _REFERENCE.fullmatch(unquoted(value))
            if reference is not None and reference["op"] in ("-", "="):  # LEN=${1:-32768}, TP=${TP_SIZE:-8}
                self.values[name] = [reference["default"]]
                self.parameters.add(name)
        return name

    def default(self, name: str, value: str) -> None:
        """Set a default: the value of a variable that the environment may override."""
        self.parameters.add(name)
        self.values.setdefault(name, [value])

    def text(self, word: str) -> str | None:
        """Return the text of a raw word with its variables filled in; None: a variable is not known."""
        single = word.startswith("'") and word.endswith("'") and len(word) > 1
        return unquoted(word) if single else self._fill(unquoted(word), 0)

    def words(self, raw: str) -> Iterator[tuple[str, str | None, str | None]]:
        """Yield (raw word, text, the variable that it consists of) for each word that a raw word expands to.

        An unquoted variable, and an array, may expand to several words. Text None: not known.
        """
        match = _REFERENCE.fullmatch(raw if not raw.startswith('"') else raw.strip('"'))
        if match is not None:
            name = match["plain"] or match["name"]
            known = self.values.get(name)
            if known is not None and (match["all"] or len(known) > 1):
                for item in known:
                    yield from self.words(item)
                return
            if known is not None and not raw.startswith('"'):
                inner = known[0]
                parts = [part for part in tokens(unquoted(inner)) if part.strip()]
                if len(parts) > 1 or unquoted(inner).startswith("-"):
                    for part in parts:
                        yield from self.words(part)
                    return
                if not parts:
                    return
        reference = _ONE_REFERENCE.fullmatch(raw)
        yield raw, self.text(raw), reference[1] if reference else None

    def _fill(self, text: str, depth: int) -> str | None:
        if "$(" in text or "`" in text or depth > 8:
            return None
        filled, end = "", 0
        for match in _REFERENCE.finditer(text):
            name = match["plain"] or match["name"]
            value = self.values.get(name)
            if value is not None and len(value) == 1:
                part = unquoted(value[0]) if value[0].startswith("'") else self._fill(unquoted(value[0]), depth + 1)
            elif match["op"] in ("-", "="):
                part = self._fill(match["default"], depth + 1)
            elif match["op"] == "+":
                part = ""
            else:
                part = None
            if part is None:
                return None
            filled += text[end : match.start()] + part
            end = match.end()
        rest = text[end:]
        return None if "$" in rest.replace("\\$", "") else filled + rest
