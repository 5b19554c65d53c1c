"""Make text from outside safe for a terminal, a page or a table: without control sequences and disguises."""

import re

# Colours (CSI), titles and links (OSC), strings of DCS, SOS, PM and APC, other escapes, and control characters but
# newline and tab: ECMA-48. Each alternative is linear: none can be matched in two ways.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\n]*(?:\x07|\x9c|\x1b\\)?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|[\x9d\x90\x98\x9e\x9f][^\x07\x1b\x9c\n]*(?:\x07|\x9c|\x1b\\)?"
    r"|\x1b[^\n]?"
    r"|\r(?=\n)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
# Characters that change the order or look of the surrounding text: bidirectional and invisible format characters
# (UAX #9, UTS #39), line and paragraph separators, and surrogates, which cannot be encoded.
_DISGUISE = re.compile(
    "[\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return `text` without escape sequences and control characters; disguising characters are shown as `<U+202E>`.

    Newlines and tabs are kept.
    """
    return _DISGUISE.sub(lambda match: f"<U+{ord(match[0]):04X}>", _CONTROL.sub("", text))


def one_line(text: str) -> str:
    """Return `text` as `printable` does, on one line."""
    return " ".join(printable(text).split())


_IN_JSON = re.compile(f"{_DISGUISE.pattern}|[\x7f-\x9f]")


def printable_json(text: str) -> str:
    """Return the JSON document with the same values, with such characters escaped in JSON's way."""
    return _IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
