"""Printed numbers and what their digits leave open; somebody's bytes to lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsweep.imports.documents.clean_text import clean_line, clean_lines, decode, repair_mojibake
from hpcsweep.imports.documents.numbers import Number, count, measured, percent_change


@pytest.mark.parametrize(
    ("text", "value", "tolerance"),
    [
        pytest.param("148.61", 148.61, 0.005, id="two decimals"),
        pytest.param(" 8 ", 8.0, 0.5, id="no decimals"),
        pytest.param("1,345.12", 1345.12, 0.005, id="thousands"),
        pytest.param("1.5e3", 1500.0, 50.0, id="exponent"),
        pytest.param("-0.2", -0.2, 0.05, id="negative"),
    ],
)
def test_measured(text, value, tolerance):
    number = measured(text)
    assert number.value == value
    assert number.tolerance == pytest.approx(tolerance)


@pytest.mark.parametrize("text", ["", "-", "inf", "nan", "1,2", "12 s", "0x10", "1.2.3", "9e999"])
def test_no_number(text):
    assert measured(text) is None


def test_a_count_is_exact():
    assert count("1000.00") == Number(1000.0, 0.0)


@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_a_ratio_of_printed_numbers_holds_the_true_one(a, b):
    new, old = measured(f"{a:.2f}"), measured(f"{b:.2f}")
    change = percent_change(new, old)
    assert change.agrees(100 * (a / b - 1))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param('| <span style="color:red;">+1.3%</span> |', "| +1.3% |", id="span"),
        pytest.param("Total TPS: 1<br>Mean: 2", "Total TPS: 1 Mean: 2", id="br"),
        pytest.param("a &gt; b &amp; c", "a > b & c", id="entities"),
        pytest.param("vllm serve <model> --x", "vllm serve <model> --x", id="a placeholder is no tag"),
        pytest.param("TTFT\u00a0(ms)\u200b:", "TTFT (ms):", id="invisible"),
        pytest.param("\u00e2\u0153\u2026 done", "\u2705 done", id="mojibake"),
        pytest.param("caf\u00e9 \u00c2", "caf\u00e9 \u00c2", id="no mojibake"),
        pytest.param("a \\ ", "a \\ ", id="a blank after a backslash stays"),
        pytest.param("10%\r100%", "10% 100%", id="progress bar"),
    ],
)
def test_clean_line(line, expected):
    assert clean_line(line) == expected


def test_lines_keep_their_numbers():
    assert clean_lines("a\r\nb\rc\u2028d\n<br>\n") == ["a", "b c d", " ", ""]


@given(st.text(st.characters(codec="utf-8", min_codepoint=0xA1), min_size=1, max_size=20))
def test_mending_never_damages_what_it_does_not_repair_mojibake(text):
    mended = repair_mojibake(text)
    assert mended == text or len(mended) < len(text)


@pytest.mark.parametrize(
    ("data", "text", "note"),
    [
        pytest.param("\ufeffx".encode(), "x", "", id="UTF-8 with mark"),
        pytest.param("\u2705".encode("utf-16"), "\u2705", "UTF-16", id="UTF-16"),
        pytest.param(b"caf\xe9", "caf\u00e9", "Windows-1252", id="Windows"),
    ],
)
def test_decode(data, text, note):
    got, told = decode(data)
    assert got == text
    assert note in told
    assert bool(note) == bool(told)
