"""Sizes and durations: what is read, what is refused, what is printed."""

import pytest

from hpcsweep.units import (
    counted,
    format_bytes,
    format_duration,
    format_tokens,
    hms,
    parse_bytes,
    parse_duration_s,
    parse_tokens,
)


@pytest.mark.parametrize(
    ("text", "tokens"), [("8k", 8192), ("32K", 32768), ("64k", 65536), ("8192", 8192), (512, 512), ("1.5k", 1536)]
)
def test_tokens(text, tokens):
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", "k", "8kk", "-1", "eight", "0.3", "8 k tokens", "1e3"])
def test_no_tokens(text):
    with pytest.raises(ValueError, match="token"):
        parse_tokens(text)


@pytest.mark.parametrize(("tokens", "text"), [(32768, "32k"), (8192, "8k"), (6101, "6101"), (0, "0"), (1024, "1k")])
def test_tokens_are_printed_so_that_they_read_back(tokens, text):
    assert format_tokens(tokens) == text
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("512G", 512 << 30), ("80GiB", 80 << 30), ("4096", 4096), ("1.5k", 1536), ("2TB", 2 << 40)]
)
def test_bytes(text, size_bytes):
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        (90, 90),
        ("90s", 90),
        ("20m", 1200),
        ("1h30m", 5400),
        ("2d", 172800),
        ("02:00:00", 7200),
        ("00:20", 1200),
        ("1-00:00:00", 86400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("1 h 30 m", 5400),
    ],
)
def test_durations(text, seconds):
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["soon", "", "5x", "1h-", "h", "10m20", "::"])
def test_no_duration(text):
    with pytest.raises(ValueError):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (59.2, "00:01:00"), (3661, "01:01:01"), (360000, "100:00:00")]
)
def test_walltime_is_rounded_up(seconds, text):
    assert hms(seconds) == text


def test_for_people():
    assert [format_duration(s) for s in (0.0, 0.023, 4.21, 42, 75, 7300)] == [
        "0.0s",
        "23ms",
        "4.2s",
        "42s",
        "1m15s",
        "2h01m",
    ]
    assert [format_bytes(b) for b in (12, 2048, 88691404800)] == ["12 B", "2.0 KiB", "82.6 GiB"]


@pytest.mark.parametrize(("number", "told"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1000, "1,000 runs")])
def test_what_is_counted_agrees_with_its_number(number, told):
    assert counted(number, "run") == told
