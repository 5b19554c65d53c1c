"""How figures and changes are said."""

import pytest

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.findings.measured import Figure
from hpcsweep.report import wording


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(8.694, "tokens/s", 3, low=8.38, high=9.02), "8.69 [8.38, 9.02] n=3"),
        (Figure(7.03, "s", 3, low=0.1116, high=442.9), "7.03, within a factor of 63, n=3"),
        (Figure(0.265, "s", 2, low=0.0442, high=1.59), "0.265, within a factor of 6.0, n=2"),
        (Figure(8.74, "tokens/s", 1), "8.74 n=1"),
        (Figure(0.0, "requests/s", 2, "repeats", low=0.0, high=0.0), "0 [0, 0] n=2 repeats"),
        (Figure(None, "s", note="not seen"), "- (not seen)"),
    ],
)
def test_figures(figure, text):
    assert wording.figure(figure) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (-8.7, -40.2, 39.5, "-8.7% [-40.2, +39.5]"),
        (0.1, -97.73, 4313.9, "+0.1%, within a factor of 44"),
        (75.9, 49.9, 106.4, "+75.9% [+49.9, +106.4]"),
        (900.0, 850.0, 952.6, "+900.0% [+850.0, +952.6]"),
        (-100.0, -100.0, -100.0, "-100.0% [-100.0, -100.0]"),
        (1.3, None, None, "+1.3%"),
    ],
)
def test_changes_in_percent(value, low, high, text):
    assert wording.percent(Figure(value, "%", low=low, high=high)) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(2, "E1, E2"), (13, "E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11, E12, E13"), (1000, "E11, E12 and 988 more")],
)
def test_names_in_a_sentence_are_few(count, text):
    assert join_names([f"E{n}" for n in range(1, count + 1)]).endswith(text)
