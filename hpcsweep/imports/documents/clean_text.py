"""Decode a file and clean its lines: encodings, mojibake, stray HTML. Line numbers do not change."""

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
"""Colours and titles for a terminal (ECMA-48), as recorded by `tee`."""

_GROUPS = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f'\u2019](?=\d{3}(?!\d))")
"""Separators between thousands in print, other than a plain space."""

_NO_NUMBER = re.compile(r"\d{60,}")
"""More digits than any figure has; patterns for numbers would try each digit as a start."""

_INVISIBLE = str.maketrans(dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""))
_SPELLINGS = str.maketrans({"\u00a0": " ", "\u2007": " ", "\u202f": " ", "\u2212": "-", "\uff1a": ":", "\uff0c": ","})
_BLANKS = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))
"""A progress bar overwrites its line with a carriage return; grep and editors treat that as one line."""

_MOST = 0.8
"""Latin text in UTF-16 has a zero byte in this share of its pairs; text in UTF-8 does not."""

_MOJIBAKE = re.compile("[\u00c2\u00c3\u00e2\u00f0][\u0080-\u00bf\u0152-\u0178\u2013-\u2122\u20ac]")


def decode(data: bytes) -> tuple[str, str]:
    """Return (text, note), read as UTF-8, UTF-16 or else Windows-1252; the note names an encoding other than UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace"), "read as UTF-16"
    for encoding, zeros in (("utf-16-le", data[1::2]), ("utf-16-be", data[::2])):
        if zeros and zeros.count(0) > _MOST * len(zeros):
            return data.decode(encoding, errors="replace"), f"read as {encoding.upper()}, without a byte order mark"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as exc:
        return data.decode("cp1252", errors="replace"), f"not UTF-8 (byte {exc.start}): read as Windows-1252"


def clean_lines(text: str) -> list[str]:
    """Return the lines of a text without tags, entities, invisible characters and mojibake; as many lines as before."""
    return [clean_line(line) for line in text.replace("\r\n", "\n").split("\n")]


def clean_line(line: str) -> str:
    """Clean a line; blanks at both ends remain, because a blank after a backslash ends a command."""
    line = repair_mojibake(line)
    if "\x1b" in line:
        line = _ESCAPES.sub("", line)
    if "<" in line:
        line = _TAG.sub(_without_tag, line)
    if "&" in line:
        line = html.unescape(line)
    line = _NO_NUMBER.sub(lambda match: f"<{len(match[0])} digits>", line)
    return _GROUPS.sub("", line.translate(_INVISIBLE)).translate(_SPELLINGS).translate(_BLANKS)


def repair_mojibake(line: str) -> str:
    """Return the intended text of UTF-8 that was decoded as Windows-1252; any other line unchanged."""
    if not _MOJIBAKE.search(line):
        return line
    try:
        return b"".join(_byte(character) for character in line).decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return line


def _byte(character: str) -> bytes:
    """Return the byte of a character; the five codes that Windows-1252 leaves undefined map to themselves."""
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1")


def _without_tag(match: re.Match[str]) -> str:
    name = match[2].lower()
    if name not in _KNOWN:
        return match[0]  # `<model>` in a command is not a tag
    if name in ("td", "th"):
        return " " if match[1] else " | "  # keep a name and its value apart
    return " " if name in _BREAKS else ""
