"""the commands of a shell script as text: logical lines, words, operators. Nothing is executed or expanded here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEREDOC = re.compile(r"<<-?\s*(?P<quote>['\"]?)\\?(?P<word>[A-Za-z_][A-Za-z0-9_]*)(?P=quote)")
_OPERATORS = ("&&", "||", ";;", "|&", "&", "|", ";")
_REDIRECTION = re.compile(r"(?:\d|&)?>>?(?:&\d?|\|)?|\d?<(?:<<)?(?!\()")
_CLOSING = {"(": ")", "{": "}"}


@dataclass(frozen=True)
class Line:
    """One logical line: continuations are joined, the comment is removed.

    `first`, `last`: numbers of its lines in the script, from 1. `body`: the text of its here-document, if it has one.
    """

    first: int
    last: int
    text: str
    body: str = ""


@dataclass(frozen=True)
class SimpleCommand:
    """One command of a line: its raw words (quotes kept), without redirections. `after`: the operator behind it."""

    line: Line
    words: tuple[str, ...]
    after: str = ""

    @property
    def text(self) -> str:
        """The words with single blanks between them."""
        return " ".join(self.words)


def logical_lines(text: str) -> Iterator[Line]:
    """Yield the lines of a script that are not empty or comments.

    A line continues after a backslash, inside quotes and inside parentheses (`ARGS=(` ... `)`). The body of a
    here-document is not read as commands.
    """
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        first, gathered = number, lines[number]
        number += 1
        while number < len(lines) and _continues(gathered):
            joined = gathered[:-1] if gathered.endswith("\\") else gathered + "\n"
            gathered = joined + lines[number]
            number += 1
        stripped = without_comments(gathered).strip()
        body: list[str] = []
        heredoc = _HEREDOC.search(stripped) if "<<<" not in stripped else None
        if heredoc is not None:
            while number < len(lines) and lines[number].strip() != heredoc["word"]:
                body.append(lines[number])
                number += 1
            number += 1
        if stripped:
            yield Line(first + 1, min(number, len(lines)), stripped, "\n".join(body))


def simple_commands(line: Line) -> list[SimpleCommand]:
    """Split a logical line at `;`, `&`, `|`, `&&` and `||` outside quotes."""
    found: list[SimpleCommand] = []
    words: list[str] = []
    skip = False
    for token in tokens(line.text):
        if token in _OPERATORS or token == "\n":
            if words:
                found.append(SimpleCommand(line, tuple(words), token.strip() or ";"))
            words, skip = [], False
        elif skip:
            skip = False  # the file of a redirection
        else:
            redirection = _REDIRECTION.match(token)
            if redirection is None:
                words.append(token)
            else:
                skip = redirection.end() == len(token) and not redirection[0][-1].isdigit()
    if words:
        found.append(SimpleCommand(line, tuple(words)))
    return found


def script_commands(text: str) -> Iterator[SimpleCommand]:
    """Yield every simple command of a script, in its order."""
    for line in logical_lines(text):
        yield from simple_commands(line)


def tokens(text: str) -> list[str]:
    """Split at blanks and operators outside quotes, `$( )`, `${ }` and array parentheses; quotes are kept."""
    found: list[str] = []
    word = ""
    place = 0
    while place < len(text):
        char = text[place]
        operator = next((op for op in _OPERATORS if text.startswith(op, place)), None)
        if operator == "&" and (word.endswith(">") or text[place + 1 : place + 2] == ">"):
            operator = None  # 2>&1, &>file
        if operator is not None or char in " \t\n":
            if word:
                found.append(word)
            word = ""
            if operator is not None or char == "\n":
                found.append(operator or char)
            place += len(operator or char)
            continue
        end = _end_of_group(text, place)
        word += text[place:end]
        place = end
    return [*found, word] if word else found


def without_comments(text: str) -> str:
    """Remove everything from a `#` that begins a word to the end of its line, outside quotes."""
    kept = ""
    place = 0
    while place < len(text):
        if text[place] == "#" and (not kept or kept[-1] in " \t\n;&|()"):
            end = text.find("\n", place)
            if end < 0:
                break
            place = end
            continue
        end = place + 1 if text[place] == "(" else _end_of_group(text, place)
        kept += text[place:end]
        place = end
    return kept


def unquoted(word: str) -> str:
    """Remove the quotes and backslashes of a raw word; variables stay as they are written."""
    kept, place, quote = "", 0, ""
    while place < len(word):
        char = word[place]
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and word[place + 1 : place + 2] in ('"', "\\", "`"):
                place += 1
                kept += word[place]
            else:
                kept += char
        elif char in "'\"":
            quote = char
        elif char == "\\" and place + 1 < len(word):
            place += 1
            kept += word[place]
        else:
            kept += char
        place += 1
    return kept


def _continues(text: str) -> bool:
    """Whether the text ends inside a quote or parentheses, or in a backslash."""
    code = without_comments(text)
    if text.lstrip().startswith("#"):
        return False
    if code.endswith("\\") and not code.endswith("\\\\"):
        return True
    place = 0
    while place < len(code):
        end = _end_of_group(code, place)
        if end > len(code):
            return True
        place = end
    return False


def _end_of_group(text: str, place: int) -> int:
    """The index after the character, quote or bracket group at `place`; above `len(text)` if the group is open."""
    char = text[place]
    if char == "\\":
        return min(place + 2, len(text))
    if char == "'":
        end = text.find("'", place + 1)
        return end + 1 if end >= 0 else len(text) + 1
    if char == '"':
        return _end_of_double(text, place + 1)
    opening = ""
    if char == "$" and text[place + 1 : place + 2] in ("(", "{"):
        opening, place = text[place + 1], place + 1
    elif char == "(" and place and text[place - 1] == "=":
        opening = "("
    return _end_of_bracket(text, place, opening) if opening else place + 1


def _end_of_double(text: str, place: int) -> int:
    while place < len(text):
        if text[place] == '"':
            return place + 1
        place = _end_of_group(text, place) if text[place] in "\\$" else place + 1
    return len(text) + 1


def _end_of_bracket(text: str, place: int, opening: str) -> int:
    closing = _CLOSING[opening]
    depth, place = 1, place + 1
    while place < len(text):
        if text[place] == closing:
            depth -= 1
            if depth == 0:
                return place + 1
            place += 1
        elif text[place] == opening:
            depth += 1
            place += 1
        else:
            place = _end_of_group(text, place)
    return len(text) + 1
