"""Read the exceptions in a log: Python tracebacks, C++ exceptions, and lines that name an exception.

The lines of several processes are interleaved, so each process has its own reader state. A message has one line or
more; the source lines in a traceback are not part of it. Pure, in bounded memory.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from hpcsweep.engines.logs.prefixes import LogLine

_MOST_STREAMS = 512
"""Processes whose tracebacks may be open at the same time; beyond that, the one that was silent longest is dropped."""
_MOST_MESSAGE_LINES = 40
_MOST_MESSAGE_LINE = 2_000
_MOST_FRAME_LINES = 2_000
_MOST_CHAINED = 12

_OPENER = re.compile(r"(?:Exception Group )?Traceback \(most recent call last\):\s*$")
_DIRECT = "The above exception was the direct cause of the following exception"
_DURING = "During handling of the above exception, another exception occurred"
_FRAME = re.compile(r'\s*File "(?P<file>[^"\n]{1,400})", line (?P<line>\d+)(?:, in (?P<function>[^\n]{1,200}))?')
_GROUP_EDGE = re.compile(r"^\s*(?:\|\s|\|$|\+[-+ \d]*)")
_CLASS = r"(?:[A-Za-z_]\w*(?:\.<locals>)?(?:\.|::)){0,12}[A-Za-z_]\w*(?:\([\w.]+\))?"
_FINAL = re.compile(rf"(?P<kind>{_CLASS})(?::(?: (?P<message>.*)|\s*)|\s*)$")
_LONE = re.compile(
    rf"(?P<kind>{_CLASS}): (?P<message>\S.*)|(?P<bare>(?:\w+\.){{0,12}}[A-Z]\w*(?:Error|Exception|Interrupt)):?\s*$"
)
_NAMED_SO = re.compile(
    r"(?:Error|Exception|Exit|Interrupt|Iteration|Timeout|Failed|Failure|OutOfResources|OutOfMemory)(?:\([\w.]+\))?$"
)
_NAMED_IN = re.compile(r"(?:^|[._])(?:errors?|exceptions?|exc)\.\w+$")
_RAY_TASK = re.compile(rf"(?:{_CLASS}): (?:\[\d+m)?ray::")
_CPP = re.compile(r"terminate called after throwing an instance of '(?P<kind>[^'\n]{1,200})'")
_CPP_SAYS = re.compile(r"^\s*what\(\):\s*(?P<message>.*)$")
_OF_ANOTHER = re.compile(
    r"[\w.-]{1,40}: (?:error|fatal|warning): |=>> PBS: |Fatal Python error: "
    r"|\*\*\* |(?:Aborted|Killed|Segmentation fault|Bus error)\b"
)
"""The beginning of a line that another program wrote, which ends a message."""
_WARNING = re.compile(r"Warning(?:\(\w+\))?$")
_TAGS = re.compile(r"^(?:\[[\w.-]+\]){1,3}\s*")
_QUIET = frozenset({"debug", "info", "warning"})


@dataclass
class RaisedException:
    """One exception. `message`: its lines, without those that only repeat the class. `raw`: its line as logged."""

    kind: str
    message: list[str]
    raw: str
    file: str = ""
    line: int = 0
    function: str = ""
    code: str = ""

    @property
    def name(self) -> str:
        """Return the class without its modules."""
        return re.split(r"\.|::", self.kind.partition("(")[0])[-1]

    @property
    def text(self) -> str:
        """Return class and whole message, the text that patterns search."""
        return f"{self.kind}: " + "\n".join(self.message)


@dataclass
class ExceptionChain:
    """Exceptions that caused each other, in the order in which they were raised.

    `intro`: the line logged right before. `logged`: its lines have a log level; otherwise an interpreter printed it as
    its process exited. `quiet`: logged below the level of errors. `order`: line number of its last exception.
    """

    process: str
    intro: str
    logged: bool
    quiet: bool
    raised: list[RaisedException] = field(default_factory=list)
    t_s: float = 0.0
    order: int = 0


@dataclass
class _ProcessState:
    """The reader's state for one process. `state`: idle, frames, message, between.

    `mute`: the last exception had no colon after its class, so no message follows.
    """

    state: str = "idle"
    chain: ExceptionChain | None = None
    linked: bool = False
    shape: tuple[bool, str] = (False, "")
    file: str = ""
    line: int = 0
    function: str = ""
    code: str = ""
    frame_lines: int = 0
    before: str = ""
    in_group: bool = False
    mute: bool = False


class TracebackReader:
    """Collect the exceptions of a log, line by line, and return each chain when it is complete.

    `inside`: the last line read is part of a traceback or of the message of an exception. `raised`: the exception that
    this line named; None: none.
    """

    def __init__(self) -> None:
        self._streams: OrderedDict[str, _ProcessState] = OrderedDict()
        self._bare = ""
        self._count = 0
        self.inside = False
        self.raised: RaisedException | None = None

    def open_chains(self) -> Iterator[ExceptionChain]:
        """Yield the chains that have an exception and may continue."""
        for stream in self._streams.values():
            if stream.chain is not None and stream.chain.raised:
                yield stream.chain

    def feed(self, line: LogLine, raw: str, t_s: float) -> ExceptionChain | None:
        """Read one line; return the chain that it completes. `raw`: the line with its prefixes, as evidence."""
        self._count += 1
        self.inside, self.raised = False, None
        # Later lines of a record without a prefix (SGLang) belong to the process that began the record.
        process = line.process or ("" if line.record else self._bare)
        stream = self._streams.get(process)
        if stream is None:
            stream = self._streams[process] = _ProcessState()
            if len(self._streams) > _MOST_STREAMS:
                _, old = self._streams.popitem(last=False)
                self._read(stream, process, line, raw, t_s)
                return old.chain if old.chain is not None and old.chain.raised else None
        else:
            self._streams.move_to_end(process)
        return self._read(stream, process, line, raw, t_s)

    def _read(self, stream: _ProcessState, process: str, line: LogLine, raw: str, t_s: float) -> ExceptionChain | None:
        text = line.text
        opener = _OPENER.search(text) if "Traceback (most" in text else None
        if opener is not None or _RAY_TASK.match(text):
            over = self._open(stream, process, line, text[: opener.start()] if opener else text)
            if line.record and not line.source:
                self._bare = process
            self.inside = True
            return over
        if line.record and not line.process:
            self._bare = ""
        if _DIRECT in text or _DURING in text:
            stream.linked = stream.chain is not None
            stream.state = "between"
            self.inside = True
            return None
        if stream.state == "message" and not self._continues(stream, line, text):
            stream.state = "between"
        if stream.state == "message":
            self._continue(stream, text)
            self.inside = True
            return None
        if stream.state == "frames":
            if line.record and stream.shape != (True, line.source):
                return self._outside(stream, process, line, raw, t_s, inside=True)
            self.inside = self._frame_or_end(stream, process, line, raw, text, t_s)
            stream.frame_lines += 1
            return self._close(stream) if stream.frame_lines > _MOST_FRAME_LINES else None
        over = self._outside(stream, process, line, raw, t_s)
        if text.strip():
            stream.before = text
            stream.in_group = stream.in_group and _GROUP_EDGE.match(text) is not None
        return over

    def _open(self, stream: _ProcessState, process: str, line: LogLine, intro: str) -> ExceptionChain | None:
        over = None
        if not (stream.linked or stream.in_group) or stream.chain is None or len(stream.chain.raised) >= _MOST_CHAINED:
            over = self._close(stream)
            before = intro.strip(" |+") or stream.before
            logged = line.level is not None
            stream.chain = ExceptionChain(process, before, logged or line.record, line.level in _QUIET)
            stream.in_group = "Exception Group" in line.text
        stream.linked = False
        stream.state, stream.shape, stream.frame_lines = "frames", (line.record, line.source), 0
        stream.file = stream.function = stream.code = ""
        return over

    def _frame_or_end(
        self, stream: _ProcessState, process: str, line: LogLine, raw: str, text: str, t_s: float
    ) -> bool:
        """Read a line inside a traceback: a frame, its source line, or the exception."""
        body = _GROUP_EDGE.sub("", text) if stream.in_group else text
        frame = _FRAME.match(body)
        if frame is not None:
            stream.file, stream.line = frame["file"], int(frame["line"][:9])
            stream.function, stream.code = (frame["function"] or "").strip(), ""
            return True
        if not body.strip():
            return True
        indented = body[0] in " \t" and (not stream.in_group or body.startswith("   "))
        if indented:
            if not stream.code and body.strip(" ^~"):
                stream.code = body.strip()[:200]
            return True
        final = _FINAL.match(body.strip()[:_MOST_MESSAGE_LINE])
        if final is None or not _is_class(final["kind"], has_message=final["message"] is not None, lone=False):
            return False
        self._raise(stream, process, line, raw, final["kind"], final["message"] or "", t_s)
        stream.mute = ":" not in body.replace("::", "")
        return True

    def _outside(
        self, stream: _ProcessState, process: str, line: LogLine, raw: str, t_s: float, *, inside: bool = False
    ) -> ExceptionChain | None:
        """Read a line outside an open traceback: it may begin one without a header, or name an exception."""
        text = line.text
        frame = _FRAME.match(text) if not inside and text.lstrip().startswith('File "') else None
        if frame is not None:
            over = self._open(stream, process, line, "")
            self.inside = self._frame_or_end(stream, process, line, raw, text, t_s)
            return over
        cpp = _CPP.search(text)
        if cpp is not None:
            over = self._close(stream)
            stream.chain = ExceptionChain(process, stream.before, False, False)
            self._raise(stream, process, line, raw, cpp["kind"], "", t_s)
            return over
        if line.level in _QUIET or not text or text[0] in " \t":
            return None
        lone = _LONE.match(text[:_MOST_MESSAGE_LINE])
        if lone is None or not _is_class(lone["kind"] or lone["bare"], has_message=bool(lone["kind"]), lone=True):
            return None
        linked = (stream.linked and stream.chain) or None
        over = None if linked or inside else self._close(stream)
        if inside:  # a line of another record in the middle of a traceback is a separate chain
            self.inside, self.raised = True, _raised(lone, raw)
            return ExceptionChain(process, "", True, False, [self.raised], t_s, self._count)
        stream.linked = False
        if linked is None:
            stream.chain = ExceptionChain(process, stream.before, line.level is not None, False)
        stream.file = stream.function = stream.code = ""
        stream.shape = (line.record, line.source)
        self._raise(stream, process, line, raw, lone["kind"] or lone["bare"], lone["message"] or "", t_s)
        stream.mute = ":" not in text.replace("::", "")
        return over

    def _raise(
        self, stream: _ProcessState, process: str, line: LogLine, raw: str, kind: str, message: str, t_s: float
    ) -> None:  # fmt: skip
        chain = stream.chain
        if chain is None:
            chain = stream.chain = ExceptionChain(process, stream.before, line.level is not None, line.level in _QUIET)
        message = _TAGS.sub("", message.strip())[:_MOST_MESSAGE_LINE]
        self.inside = True
        self.raised = RaisedException(
            kind, [message] if message else [], raw.strip(), stream.file, stream.line, stream.function, stream.code
        )
        chain.raised.append(self.raised)
        chain.t_s, chain.order = t_s, self._count
        stream.shape = (line.record, line.source)
        stream.state, stream.code, stream.mute = "message", "", False
        stream.before = ""

    def _continues(self, stream: _ProcessState, line: LogLine, text: str) -> bool:
        """Return whether a line continues the message before it."""
        if (line.record, line.source) != stream.shape and line.record:
            return False
        raised = stream.chain.raised[-1] if stream.chain and stream.chain.raised else None
        if raised is None or stream.mute or len(raised.message) >= _MOST_MESSAGE_LINES:
            return False
        if not text.strip():
            return not raised.message  # RuntimeError: and its text below
        if stream.shape[0] and not line.record and line.process:
            return False
        if text.lstrip().startswith('File "') or _OF_ANOTHER.match(text):
            return False
        lone = _LONE.match(text[:_MOST_MESSAGE_LINE]) if raised.message and text[0] not in " \t" else None
        follows = bool(raised.message) and raised.message[-1].rstrip().endswith((":", "raised:"))
        return lone is None or follows or not _is_class(lone["kind"] or lone["bare"], has_message=True, lone=True)

    def _continue(self, stream: _ProcessState, text: str) -> None:
        if stream.chain is None or not text.strip():
            return
        raised = stream.chain.raised[-1]
        what = _CPP_SAYS.match(text)
        body = what["message"] if what else _GROUP_EDGE.sub("", text) if stream.in_group else text
        if body.strip(" -+|"):
            raised.message.append(body.rstrip()[:_MOST_MESSAGE_LINE])
        elif stream.in_group:
            stream.state = "between"

    def _close(self, stream: _ProcessState) -> ExceptionChain | None:
        chain, stream.chain = stream.chain, None
        stream.state, stream.linked, stream.in_group = "idle", False, False
        return chain if chain is not None and chain.raised else None


def _raised(lone: re.Match[str], raw: str) -> RaisedException:
    message = _TAGS.sub("", (lone["message"] or "").strip())
    return RaisedException(lone["kind"] or lone["bare"], [message] if message else [], raw.strip())


def _is_class(kind: str, *, has_message: bool, lone: bool) -> bool:
    """Return whether a word is the class of an exception, rather than any word before a colon or alone on a line.

    Inside a traceback any dotted name is a class, and so is a capitalised name with a message. Elsewhere, and for a
    word without a message (`Killed`), the name must end like that of an exception.
    """
    bare = kind.partition("(")[0]
    last = re.split(r"\.|::", bare)[-1]
    if _WARNING.search(kind):
        return False
    named_so = _NAMED_SO.search(kind) is not None
    if not lone:
        return "." in bare or "::" in bare or (last[:1].isupper() and has_message) or named_so
    return bool(
        (named_so and (last[:1].isupper() or "." in bare) and bare not in ("Error", "Exit", "Failed", "Timeout"))
        or _NAMED_IN.search(bare)
    )
