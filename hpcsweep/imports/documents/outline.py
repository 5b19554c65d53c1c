"""Build the outline of a document: the heading, title, comment and command above each line."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hpcsweep.imports.documents.model import BlockContext
from hpcsweep.imports.documents.printed_blocks import is_part

_HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.+?)\s*#*\s*$")
_NUMBERED = re.compile(r"^\s*\d+(?:\.\d+)*\.?\s+[A-Z][^.:;|]{2,70}$")
_ADMONITION = re.compile(r"""^\s*(?:\?\?\?|!!!|:::)\+?\s*\w*\s*(?:"(?P<title>[^"]*)")?""")
_FENCE = re.compile(r"^[\s>]*(?:```|~~~)")
_COMMENT = re.compile(r"^\s*#+\s*(\S.*?)\s*$")
_SHORT = re.compile(r"^[\s*_]*([A-Za-z](?:[\w .+/&()=,-]{0,57}[\w)+])?)[\s*_]*:?[\s*_]*$")
_GENERIC = re.compile(
    r"\b(serving|serve|server|script|scripts|command|commands|benchmarks?|benchmarking|results?|output|expected|"
    r"example|bash|shell|text|console|tip|info|note|copy|the)\b",
    re.IGNORECASE,
)
SERVES = re.compile(
    r"\b(?:vllm\s+serve|sglang\.launch_server|vllm\.entrypoints\.openai\.api_server|trtllm-serve(?:\s+serve)?)(?=\s|$)"
)
"""Commands that start a server."""

_RECOMMENDED = re.compile(r"recommend|conclusion|optimal|production|best config|final config", re.IGNORECASE)
_ADVISED = re.compile(r"\brecommended (?:serving )?(?:configuration|command|settings)\b", re.IGNORECASE)
_NEAR_LINES = 4
_PROMPT = re.compile(r"^\s*(?:[$>#]\s+)(?=[a-z])")


@dataclass(frozen=True)
class OutlinedCommand:
    """A command in a document. `line`: 1-based; `text`: as written; `argv`: as intended, without comments."""

    line: int
    text: str
    argv: tuple[str, ...]
    recommended: bool
    context: BlockContext


@dataclass
class Outline:
    """The context of each line, the serve commands, and the fences with the title above each."""

    contexts: list[BlockContext] = field(default_factory=list)
    commands: list[OutlinedCommand] = field(default_factory=list)
    fences: list[tuple[int, int, str]] = field(default_factory=list)  # (first, last line inside, title above)


@dataclass
class _OutlineState:
    headings: list[tuple[int, str]] = field(default_factory=list)
    short: str = ""
    title: str = ""
    comment: str = ""
    command: str = ""
    fence: int | None = None

    def context(self) -> BlockContext:
        return BlockContext(tuple(text for _, text in self.headings), self.short, self.comment, self.command)


def outline(lines: Sequence[str]) -> Outline:
    """Build the outline from cleaned lines."""
    result, state = Outline(), _OutlineState()
    marked = _is_marked_up(lines)
    skip_to = 0
    for number, line in enumerate(lines, 1):
        if number > skip_to:
            if SERVES.search(line) and not _COMMENT.match(line) and "`" not in line:
                skip_to = _command(lines, number, state, result)
            elif not is_part(line):
                _step(line, number, lines, state, result, marked)
            elif state.comment and re.match(r"\s*={20,}\s*$", line):
                result.contexts.append(state.context())
                state.comment = ""  # it labelled the block that ends here
                continue
        result.contexts.append(state.context())
    return result


def _is_marked_up(lines: Sequence[str]) -> bool:
    """Return whether `#` marks headings; in text flattened from a page it only begins comments in code."""
    first = next((line for line in lines if line.strip()), "")
    return bool(_HEADING.match(first)) or any(match and len(match[1]) > 1 for match in map(_HEADING.match, lines))


def _command(lines: Sequence[str], number: int, state: _OutlineState, result: Outline) -> int:
    """Record the command that begins on this line, and return its last line."""
    taken = list(_command_lines(lines, number - 1))
    text = "\n".join(taken)
    argv = meant_argv(text)
    state.command = shlex.join(argv)
    above = " ".join([*(text for _, text in state.headings[-1:]), state.short, state.title, state.comment])
    near = [text for text in lines[max(0, number - 1 - _NEAR_LINES) : number - 1] if _ADVISED.search(text)]
    context = state.context()
    result.commands.append(OutlinedCommand(number, text, argv, bool(_RECOMMENDED.search(above) or near), context))
    return number + len(taken) - 1


def _command_lines(lines: Sequence[str], start: int) -> Iterator[str]:
    """Yield the lines of the command at index `start`, also past a comment after the backslash."""
    for index in range(start, len(lines)):
        line = lines[index]
        yield line
        code = line.partition(" #")[0].rstrip()
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if not code.endswith("\\") or not following.strip() or _FENCE.match(following):
            return


def meant_argv(text: str) -> tuple[str, ...]:
    """Return the words of a command as its author intended, without comments and line continuations.

    A command that a shell cannot split is split at blanks.
    """
    plain = " ".join(line.partition(" #")[0].rstrip().removesuffix("\\") for line in text.splitlines())
    plain = _PROMPT.sub("", plain)
    try:
        return tuple(shlex.split(plain))
    except ValueError:
        return tuple(plain.split())


def _step(line: str, number: int, lines: Sequence[str], state: _OutlineState, result: Outline, marked: bool) -> None:
    if _FENCE.match(line):
        if state.fence is None:
            state.fence = number
        else:
            result.fences.append((state.fence + 1, number - 1, state.title))
            state.fence = None
        state.comment = ""
        return
    following = next((other for other in lines[number : number + 2] if other.strip()), "")
    comment = _COMMENT.match(line)
    if comment and (state.fence is not None or not marked or is_part(following)):
        state.comment = comment[1]
        return
    heading = _HEADING.match(line) if state.fence is None and marked else None
    if heading or (not marked and state.fence is None and _NUMBERED.match(line)):
        level = len(heading[1]) if heading else 2
        text = _plain(heading[2] if heading else line)
        state.headings = [pair for pair in state.headings if pair[0] < level] + [(level, text)]
        state.short = state.title = state.comment = state.command = ""
        return
    if state.fence is not None:
        return
    admonition = _ADMONITION.match(line)
    text = (admonition["title"] or "") if admonition else line
    if admonition:
        state.title = text
    short = _SHORT.match(text)
    if short:
        left = " ".join(_GENERIC.sub(" ", short[1]).split())
        if left:
            if left != state.short:
                state.command = ""  # it belonged to the text above
            state.short = left
        elif not admonition:
            state.title = short[1]  # the title of a collapsed part, flattened from a page


def _plain(text: str) -> str:
    """Return a heading without emphasis and links."""
    return re.sub(r"[*_`]{1,3}([^*_`]+)[*_`]{1,3}", r"\1", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)).strip()
