"""Read a job script: its server and flags, the parameters that it varies, its environment and its load.

Nothing is executed. What depends on values that only a running job has is reported with its line.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hpcsweep.adopt.conditions import ShellCondition, read_condition
from hpcsweep.adopt.flags import ServerFlag, read_flags
from hpcsweep.adopt.load import BenchmarkLoad, read_load
from hpcsweep.adopt.servers import ServerStart, server_start
from hpcsweep.adopt.variables import ASSIGNMENT, ShellVariables
from hpcsweep.shell import Line, SimpleCommand, logical_lines, simple_commands, tokens, unquoted
from hpcsweep.spec.secret_values import is_secret

_ENVIRONMENT = re.compile(r"(?:VLLM|SGLANG|SGL|TRTLLM|TLLM|NCCL|TORCH|PYTORCH|FLASHINFER|CUDA_DEVICE)_?\w*")
"""Variables that belong to the server's configuration rather than to the site."""

_KEPT = frozenset({
    "module", "ml", "source", ".", "conda", "mamba", "micromamba", "spack", "export", "unset", "ulimit", "umask",
    "eval", "cd", "mkdir", "soft",
})  # fmt: skip
"""Commands that prepare the environment, which are copied to the block `setup`."""

_SILENT = frozenset({
    "echo", "printf", "date", "hostname", "set", "nvidia-smi", "env", "printenv", "true", ":", "trap", "pwd",
    "uname", "free", "lscpu", "which", "exec", "wait", "sleep", "sync", "exit", "shift",
})  # fmt: skip
"""Commands that are left out without a message."""

_OPENING = ("if", "for", "while", "until", "case", "select")
_CLOSING = {"fi": "if", "done": "loop", "esac": "case"}
_OURS = frozenset({"CUDA_VISIBLE_DEVICES", "VLLM_API_KEY", "HPCSWEEP_JOB_DIR"})


@dataclass(frozen=True)
class ConditionalFlags:
    """Flags that the script adds only under a condition; `otherwise`: those of the other branch."""

    condition: ShellCondition
    flags: tuple[ServerFlag, ...]
    otherwise: tuple[ServerFlag, ...] = ()


@dataclass
class ScriptSummary:
    """The contents of a job script. `unclear`: (line, sentence) of what could not be adopted."""

    text: str
    start: ServerStart | None = None
    model: str | None = None
    flags: list[ServerFlag] = field(default_factory=list)
    toggles: list[ConditionalFlags] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    load: BenchmarkLoad | None = None
    variables: ShellVariables = field(default_factory=ShellVariables)
    unclear: list[tuple[int, str]] = field(default_factory=list)


def read_script(text: str, parameters: Mapping[str, str] | None = None) -> ScriptSummary:
    """Read a job script. `parameters`: variables that its directives set, with their values."""
    reader = _ScriptReader(text)
    for name, value in (parameters or {}).items():
        reader.found.variables.default(name, value)
    for line in logical_lines(text):
        for command in simple_commands(line):
            reader.read(command)
    reader.finish()
    return reader.found


class _ScriptReader:
    """Process the commands of a script in order."""

    def __init__(self, text: str) -> None:
        self.found = ScriptSummary(text)
        self._blocks: list[tuple[str, ShellCondition | None]] = []
        self._assigned: list[tuple[str, Line]] = []  # plain assignments, copied when a copied line needs them
        self._kept: list[Line] = []
        self._skipped: set[int] = set()
        self._added: dict[str, list[tuple[ShellCondition, str, Line]]] = {}  # variable -> its conditional values
        self._guard: list[ShellCondition | None] = []  # tests before `&&` and `||`
        self._in_test = False
        self._after: list[int] = []

    def read(self, command: SimpleCommand) -> None:
        """Process a command: part of a block, a test, or a simple command."""
        words = list(command.words)
        while words and words[0] in ("then", "else", "elif", "do", "{", "!"):
            self._keyword(words.pop(0))
        if not words:
            return
        guard, self._guard = self._guard, []
        if words[0] in _OPENING:
            self._blocks.append((words[0], read_condition(" ".join(words[1:])) if words[0] == "if" else None))
            self._in_test = words[0] != "case"
        elif words[0] in _CLOSING or words[0] == "}":
            if self._blocks and (words[0] != "}" or self._blocks[-1][0] == "function"):
                self._blocks.pop()
            self._in_test = False
        elif words[0] == "function" or words[0].endswith("()"):
            self._blocks.append(("function", None))
        elif self._in_test:  # `if a && b`, `while read x`: more than one test
            self._blocks[-1] = (self._blocks[-1][0], None)
        elif words[0] in ("[", "[[", "test"):
            condition = read_condition(" ".join(words))
            if command.after in ("&&", "||"):
                self._guard = [*guard, condition.negated if condition and command.after == "||" else condition]
        else:
            conditions = [condition for kind, condition in self._blocks if kind != "function"] + guard
            self._simple(SimpleCommand(command.line, tuple(words), command.after), conditions)

    def _keyword(self, word: str) -> None:
        if word in ("then", "do"):
            self._in_test = False
        elif word in ("else", "elif") and self._blocks:
            kind, condition = self._blocks[-1]
            self._blocks[-1] = (kind, condition.negated if condition is not None and word == "else" else None)
            self._in_test = word == "elif"

    def _simple(self, command: SimpleCommand, conditions: Sequence[ShellCondition | None]) -> None:
        command = self._unfolded(command)
        line, words = command.line, command.words
        start = server_start(command)
        if start is not None:
            self._server(start, conditions)
            return
        load = read_load(command, self.found.variables)
        if load is not None:
            self.found.load = self.found.load or load
            return
        if self.found.start is not None:
            self._after.append(line.first)
            return
        if words[0] == ":" and len(words) > 1:
            self._default_by_colon(words[1:])
            return
        if words[0] in ("export", "declare", "local", "readonly", "typeset") or ASSIGNMENT.fullmatch(words[0]):
            self._assignments(command, conditions)
            return
        name = unquoted(words[0]).rpartition("/")[2]
        if name in _KEPT and not conditions:
            self._kept.append(line)
        elif name not in _SILENT:
            self._unclear(line.first, f"not adopted: {_short(line.text)!r}")

    def _unfolded(self, command: SimpleCommand) -> SimpleCommand:
        """Replace `$CMD`, `"${CMD[@]}"` and `eval "$CMD"` with the words in the variable."""
        words = command.words[1:] if command.words[0] in ("eval", "exec") and len(command.words) > 1 else command.words
        match = re.fullmatch(r'"?\$\{?([A-Za-z_]\w*)(?:\[[@*]\])?\}?"?', words[0])
        known = self.found.variables.values.get(match[1]) if match else None
        if known is None:
            return command
        inner = known if len(known) > 1 else tokens(unquoted(known[0]))
        unfolded = SimpleCommand(command.line, (*inner, *words[1:]), command.after)
        return unfolded if inner and server_start(unfolded) is not None else command

    def _default_by_colon(self, words: Sequence[str]) -> None:
        """Read the default in `: "${LEN:=32768}"`."""
        for word in words:
            match = re.fullmatch(r'"?\$\{([A-Za-z_]\w*):?=([^}]*)\}"?', word)
            if match is not None:
                self.found.variables.default(match[1], match[2])

    def _assignments(self, command: SimpleCommand, conditions: Sequence[ShellCondition | None]) -> None:
        exported = command.words[0] == "export"
        for word in command.words:
            match = ASSIGNMENT.fullmatch(word)
            if match is None:
                continue
            name = match["name"]
            if conditions:
                self._conditional(command, match, conditions)
                continue
            self.found.variables.assign(word)
            if exported:
                self._export(command.line, name, match["value"])
            else:
                self._assigned.append((name, command.line))

    def _conditional(
        self, command: SimpleCommand, match: re.Match[str], conditions: Sequence[ShellCondition | None]
    ) -> None:
        """Read `if [ "$EAGER" = yes ]; then ARGS+=(--enforce-eager); fi`, or `EAGER_FLAG=--enforce-eager`."""
        condition = conditions[-1] if len(conditions) == 1 else None
        if condition is None:
            self._unclear(command.line.first, f"depends on values that only the job has: {_short(command.text)!r}")
            return
        if condition.name == match["name"] and not condition.holds and condition.value == "1":
            self.found.variables.default(match["name"], match["value"])  # if [ -z "$LEN" ]; then LEN=32768; fi
            return
        own = re.sub(rf"\$\{{?{match['name']}\b(?::?-)?\}}?", "", match["value"])  # ARGS="$ARGS --enforce-eager"
        self._added.setdefault(match["name"], []).append((condition, own, command.line))
        if not match["append"]:  # without it, the variable is empty, or what it was
            self.found.variables.values.setdefault(match["name"], [""])

    def _export(self, line: Line, name: str, value: str) -> None:
        text = self.found.variables.text(value)
        if is_secret(name):
            self._unclear(line.first, f"{name} may be a secret; set it in your login files, not in an experiment")
        elif name in _OURS:
            self._unclear(line.first, f"{name} is not adopted: the scheduler and hpcsweep set it")
        elif _ENVIRONMENT.fullmatch(name) and text is not None and name not in self.found.variables.parameters:
            self.found.env[name] = text
        else:
            self._kept.append(line)

    def _server(self, start: ServerStart, conditions: Sequence[ShellCondition | None]) -> None:
        summary = self.found
        if summary.start is not None:
            self._unclear(start.line.first, "starts a second server; only the first is adopted")
            return
        if any(condition is None for condition in conditions):
            self._unclear(start.line.first, "the server is started inside a loop or under a condition")
        summary.start = start
        words = [word for raw in start.args for word in self._expanded(raw)]
        summary.model, summary.flags, unclear = read_flags(start.engine, words, start.line.first)
        summary.unclear += unclear
        for assignment in start.environment:
            name, _, value = assignment.partition("=")
            text = summary.variables.text(value)
            if text is None or is_secret(name):
                self._unclear(start.line.first, f"the value of {name} is unknown or secret")
            elif name not in _OURS:
                summary.env[name] = text
        self._find_toggles(start)

    def _expanded(self, raw: str) -> Iterator[tuple[str, str | None, str | None]]:
        return self.found.variables.words(raw)

    def _find_toggles(self, start: ServerStart) -> None:
        used = " ".join([*start.args, *(w for word in start.args for w in self._raw_values(word))])
        for name, additions in self._added.items():
            if not re.search(rf"\$\{{?{name}\b", used):
                for _, _, line in additions:
                    self._unclear(line.first, f"{name} is set under a condition and is not adopted")
                continue
            by_condition: dict[tuple[str, str], tuple[list[ServerFlag], list[ServerFlag], ShellCondition]] = {}
            for condition, value, _ in additions:
                inner = ShellVariables(dict(self.found.variables.values), set(self.found.variables.parameters))
                inner.assign(f"_={value}")
                words = [word for item in inner.values["_"] for word in self._words_of(inner, item)]
                _, flags, unclear = read_flags(start.engine, words, start.line.first)
                self.found.unclear += unclear
                key = (condition.name, condition.value)
                yes, no, _ = by_condition.setdefault(key, ([], [], condition))
                (yes if condition.holds else no).extend(flags)
            for yes, no, condition in by_condition.values():
                positive = condition if condition.holds else condition.negated
                self.found.toggles.append(ConditionalFlags(positive, tuple(yes), tuple(no)))

    def _words_of(self, variables: ShellVariables, item: str) -> Iterator[tuple[str, str | None, str | None]]:
        for part in tokens(unquoted(item)) if item[:1] in "\"'" else [item]:
            yield from variables.words(part)

    def _raw_values(self, word: str) -> list[str]:
        match = re.fullmatch(r'"?\$\{?([A-Za-z_]\w*)(?:\[[@*]\])?\}?"?', word)
        return self.found.variables.values.get(match[1], []) if match else []

    def _unclear(self, line: int, sentence: str) -> None:
        self.found.unclear.append((line, sentence))

    def finish(self) -> None:
        """Collect the lines that prepare the environment, with the assignments that they need."""
        summary = self.found
        numbers = {line.first for line in self._kept}
        texts = {line.first: line.text for line in self._kept}
        if summary.start is not None:  # the words of the container's command
            texts[summary.start.line.first] = " ".join(summary.start.container or ())
        changed = True
        while changed:
            changed = False
            for name, line in self._assigned:
                if line.first not in numbers and any(re.search(rf"\$\{{?{name}\b", text) for text in texts.values()):
                    numbers.add(line.first)
                    texts[line.first] = line.text
                    changed = True
        summary.setup = [texts[number] for number in sorted(numbers)]
        if self._after:
            first, last = self._after[0], self._after[-1]
            until = "" if first == last else f", up to line {last}"
            summary.unclear.append((first, f"not adopted{until}: commands after the server's start"))


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 70 else f"{plain[:67]}..."
