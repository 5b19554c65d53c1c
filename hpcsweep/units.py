"""quantities as text: sizes in tokens and bytes, durations. Seconds and bytes inside, always."""

import re

_SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TOKENS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmKM]?)\s*")
_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtKMGT]?)(?:i?[bB])?\s*")
_CLOCK = re.compile(r"\s*(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?\s*")
_WORDS = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_tokens(text: str | int) -> int:
    """Tokens of `8k`, `32K`, `8192` (k = 1024, as context lengths are counted). ValueError otherwise."""
    match = _TOKENS.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a number of tokens: write 8192 or 8k (k = 1024)")
    tokens = float(match[1]) * _SUFFIXES[match[2].lower()]
    if tokens != int(tokens):
        raise ValueError(f"{text!r} is not a whole number of tokens")
    return int(tokens)


def format_tokens(tokens: int) -> str:
    """Return tokens as text: `32768` as `32k`, other than multiples of 1024 in full."""
    return f"{tokens >> 10}k" if tokens and tokens % 1024 == 0 else str(tokens)


def parse_bytes(text: str | int) -> int:
    """Bytes of `512G`, `80GiB`, `4096` (binary multiples, as Slurm and PBS count). ValueError otherwise."""
    match = _BYTES.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a size: write 512G, 80GiB or a number of bytes")
    return int(float(match[1]) * _SUFFIXES[match[2].lower()])


def format_bytes(size_bytes: float) -> str:
    """`88691404800` as `82.6 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def parse_duration_s(text: str | int | float) -> float:
    """Seconds of `90`, `90s`, `20m`, `1h30m`, `2d`, `HH:MM:SS`, `HH:MM`, `D-HH:MM:SS`. ValueError otherwise."""
    if isinstance(text, (int, float)):
        return float(text)
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    compact = text.replace(" ", "")
    try:
        return float(compact)
    except ValueError:
        pass
    parts = _WORDS.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is not a duration: write 90s, 20m, 1h30m or 02:00:00")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def format_duration(duration_s: float) -> str:
    """`75.0` as `1m15s`, `4.2` as `4.2s`, `0.023` as `23ms`, `7300` as `2h01m`: for people, not for parsing."""
    if 0.0005 <= duration_s < 0.1:
        return f"{duration_s * 1e3:.0f}ms"
    if duration_s < 60:
        return f"{duration_s:.1f}s" if duration_s < 10 else f"{duration_s:.0f}s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def hms(duration_s: float) -> str:
    """`3661` as `01:01:01`, the form that both sbatch --time and qsub -l walltime read. Rounded up."""
    whole = int(-(-duration_s // 1))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def counted(number: int, noun: str) -> str:
    """`1 run`, `12 runs`, `1,000 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
