"""Split a shell script into logical lines, commands and words. Nothing is executed or expanded."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEREDOC = re.compile(r"<<-?\s*(?P<quote>['\"]?)\\?(?P<word>[A-Za-z_][A-Za-z0-9_]*)(?P=quote)")
_OPERATORS = ("&&", "||", ";;", "|&", "&", "|", ";")
_REDIRECTION = re.compile(r"(?:\d|&)?>>?(?:&\d?|\|)?|\d?<(?:<<)?(?!\()")
_CLOSING = {"(": ")", "{": "}"}


@dataclass(frozen=True)
class Line:
    """A logical line: continuations are joined, the comment is removed.

    `first`, `last`: numbers of its lines in the script, from 1. `body`: the text of its here-document, if it has one.
    """

    first: int
    last: int
    text: str
    body: str = ""


@dataclass(frozen=True)
class SimpleCommand:
    """A command of a line: its raw words (quotes kept), without redirections. `after`: the operator that follows."""

    line: Line
    words: tuple[str, ...]
    after: str = ""

    @property
    def text(self) -> str:
        """Return the words, separated by single blanks."""
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
    commands: list[SimpleCommand] = []
    words: list[str] = []
    skip = False
    for token in tokens(line.text):
        if token in _OPERATORS or token == "\n":
            if words:
                commands.append(SimpleCommand(line, tuple(words), token.strip() or ";"))
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
        commands.append(SimpleCommand(line, tuple(words)))
    return commands


def script_commands(text: str) -> Iterator[SimpleCommand]:
    """Yield every simple command of a script, in its order."""
    for line in logical_lines(text):
        yield from simple_commands(line)


def tokens(text: str) -> list[str]:
    """Split at blanks and operators outside quotes, `$( )`, `${ }` and array parentheses; quotes are kept."""
    split: list[str] = []
    word = ""
    index = 0
    while index < len(text):
        char = text[index]
        operator = next((op for op in _OPERATORS if text.startswith(op, index)), None)
        if operator == "&" and (word.endswith(">") or text[index + 1 : index + 2] == ">"):
            operator = None  # 2>&1, &>file
        if operator is not None or char in " \t\n":
            if word:
                split.append(word)
            word = ""
            if operator is not None or char == "\n":
                split.append(operator or char)
            index += len(operator or char)
            continue
        end = _end_of_group(text, index)
        word += text[index:end]
        index = end
    return [*split, word] if word else split


def without_comments(text: str) -> str:
    """Remove everything from a `#` that begins a word to the end of its line, outside quotes."""
    kept = ""
    index = 0
    while index < len(text):
        if text[index] == "#" and (not kept or kept[-1] in " \t\n;&|()"):
            end = text.find("\n", index)
            if end < 0:
                break
            index = end
            continue
        end = index + 1 if text[index] == "(" else _end_of_group(text, index)
        kept += text[index:end]
        index = end
    return kept


def unquoted(word: str) -> str:
    """Remove the quotes and backslashes of a raw word; variables are kept as written."""
    kept, index, quote = "", 0, ""
    while index < len(word):
        char = word[index]
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and word[index + 1 : index + 2] in ('"', "\\", "`"):
                index += 1
                kept += word[index]
            else:
                kept += char
        elif char in "'\"":
            quote = char
        elif char == "\\" and index + 1 < len(word):
            index += 1
            kept += word[index]
        else:
            kept += char
        index += 1
    return kept


def _continues(text: str) -> bool:
    """Return whether the text ends inside quotes or parentheses, or in a backslash."""
    code = without_comments(text)
    if text.lstrip().startswith("#"):
        return False
    if code.endswith("\\") and not code.endswith("\\\\"):
        return True
    index = 0
    while index < len(code):
        end = _end_of_group(code, index)
        if end > len(code):
            return True
        index = end
    return False


def _end_of_group(text: str, index: int) -> int:
    """Return the index after the character, quotes or brackets at `index`; above `len(text)` if they are not closed."""
    char = text[index]
    if char == "\\":
        return min(index + 2, len(text))
    if char == "'":
        end = text.find("'", index + 1)
        return end + 1 if end >= 0 else len(text) + 1
    if char == '"':
        return _end_of_double(text, index + 1)
    opening = ""
    if char == "$" and text[index + 1 : index + 2] in ("(", "{"):
        opening, index = text[index + 1], index + 1
    elif char == "(" and index and text[index - 1] == "=":
        opening = "("
    return _end_of_bracket(text, index, opening) if opening else index + 1


def _end_of_double(text: str, index: int) -> int:
    while index < len(text):
        if text[index] == '"':
            return index + 1
        index = _end_of_group(text, index) if text[index] in "\\$" else index + 1
    return len(text) + 1


def _end_of_bracket(text: str, index: int, opening: str) -> int:
    closing = _CLOSING[opening]
    depth, index = 1, index + 1
    while index < len(text):
        if text[index] == closing:
            depth -= 1
            if depth == 0:
                return index + 1
            index += 1
        elif text[index] == opening:
            depth += 1
            index += 1
        else:
            index = _end_of_group(text, index)
    return len(text) + 1
