"""Bytes of somebody's file to lines that can be read: encodings, mojibake, stray HTML. Line numbers stay."""

import html
import re

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)(?:\s[^<>]*)?/?>")
_BREAKS = {"br", "p", "div", "li", "ul", "ol", "tr", "td", "th", "table", "pre", "h1", "h2", "h3", "h4", "h5", "h6"}
_KNOWN = _BREAKS | {"span", "code", "b", "i", "em", "strong", "a", "summary", "details", "font", "sup", "sub", "img"}
_KNOWN |= {
    "thead",
    "tbody",
    "hr",
    "u",
    "small",
    "center",
    "button",
    "svg",
    "path",
    "section",
    "article",
    "body",
    "html",
}
_ESCAPES = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""Colours and titles for a terminal (ECMA-48), as `tee` keeps them."""

_GROUPS = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f'\u2019](?=\d{3}(?!\d))")
"""Between thousands: what sets them apart in print and is no space between words."""

_NO_NUMBER = re.compile(r"\d{60,}")
"""More digits than any figure has: patterns that look for numbers would try each of them as a beginning."""

_INVISIBLE = str.maketrans(dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""))
_SPELLINGS = str.maketrans({"\u00a0": " ", "\u2007": " ", "\u202f": " ", "\u2212": "-", "\uff1a": ":", "\uff0c": ","})
_BLANKS = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))
"""A progress bar writes over its line with a carriage return: for grep and editors that is one line."""

_MOST = 0.8
"""Latin text in UTF-16 has a zero in this share of its pairs, and text in UTF-8 has none."""

_MOJIBAKE = re.compile("[\u00c2\u00c3\u00e2\u00f0][\u0080-\u00bf\u0152-\u0178\u2013-\u2122\u20ac]")


def decode(data: bytes) -> tuple[str, str]:
    """(text, note): UTF-8, UTF-16, else Windows-1252; the note says what was not plain UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace"), "read as UTF-16"
    for encoding, zeros in (("utf-16-le", data[1::2]), ("utf-16-be", data[::2])):
        if zeros and zeros.count(0) > _MOST * len(zeros):
            return data.decode(encoding, errors="replace"), f"read as {encoding.upper()}, of which it has no mark"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as exc:
        return data.decode("cp1252", errors="replace"), f"not UTF-8 (byte {exc.start}): read as Windows-1252"


def clean_lines(text: str) -> list[str]:
    """The lines of a text without tags, entities, invisible characters and mojibake; as many lines as before."""
    return [clean_line(line) for line in text.replace("\r\n", "\n").split("\n")]


def clean_line(line: str) -> str:
    """One line; the blanks at both ends are kept, because a blank after a backslash ends a command."""
    line = mend(line)
    if "\x1b" in line:
        line = _ESCAPES.sub("", line)
    if "<" in line:
        line = _TAG.sub(_without_tag, line)
    if "&" in line:
        line = html.unescape(line)
    line = _NO_NUMBER.sub(lambda match: f"<{len(match[0])} digits>", line)
    return _GROUPS.sub("", line.translate(_INVISIBLE)).translate(_SPELLINGS).translate(_BLANKS)


def mend(line: str) -> str:
    """A line of UTF-8 that was read as Windows-1252 once, as it was meant; any other line as it is."""
    if not _MOJIBAKE.search(line):
        return line
    try:
        return b"".join(_byte(character) for character in line).decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return line


def _byte(character: str) -> bytes:
    """The byte behind a character; the five that Windows-1252 leaves open stand for themselves."""
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1")


def _without_tag(match: re.Match[str]) -> str:
    name = match[2].lower()
    if name not in _KNOWN:
        return match[0]  # `<model>` in a command is no tag
    if name in ("td", "th"):
        return " " if match[1] else " | "  # a name and its value stay apart
    return " " if name in _BREAKS else ""
