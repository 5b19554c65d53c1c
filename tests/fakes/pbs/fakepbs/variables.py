"""`qsub -v`, with its faults: quotes vanish, backslashes double, a comma begins a new name."""

from fakepbs.state import Refused

CANNOT = "qsub: cannot send environment with the job"


def variable_list(text: str, env: dict[str, str]) -> list[tuple[str, str]]:
    """Names and values that reach the job. Refused as the recorded server did."""
    pairs = []
    for part in _split(text):
        name, sep, value = part.partition("=")
        if not sep:
            if name not in env:
                raise Refused(CANNOT, 1)
            value = _from_environment(env[name])
        pairs.append((name, value))
    return pairs


def _split(text: str) -> list[str]:
    """Parts between commas; a comma in quotes or behind a backslash stays. Nested quotes are refused."""
    parts, current, quote, escaped = [], "", "", False
    for c in text:
        if escaped:
            escaped = False
            if c == ",":
                current += c
                continue
            current += "\\\\"
        if c == "\\":
            escaped = True
        elif c in "'\"":
            if quote and quote != c:
                raise Refused(CANNOT, 1)
            quote = "" if quote else c
        elif c == "," and not quote:
            parts.append(current)
            current = ""
        else:
            current += c
    if quote:
        raise Refused(CANNOT, 1)
    return [*parts, current + ("\\\\" if escaped else "")]


def _from_environment(value: str) -> str:
    if value.count('"') % 2 or value.count("'") % 2:
        raise Refused(CANNOT, 1)
    return "".join({"\\": "\\\\", '"': "\\", "'": "\\"}.get(c, c) for c in value)
