"""The commands of a script: continuations, quotes, comments, here-documents, operators."""

import pytest

from hpcsweep.shell import logical_lines, script_commands, tokens, unquoted


def commands(text):
    return [command.words for command in script_commands(text)]


def test_continuations_comments_and_arrays_make_one_line():
    text = 'a \\\n  b  # no\n# c\nARGS=(\n  --x 1  # one\n  --y "2 3"\n)\nd\n'
    assert [(line.first, line.last) for line in logical_lines(text)] == [(1, 2), (4, 7), (8, 8)]
    assert commands("a \\\n  b  # no\n") == [("a", "b")]


def test_a_here_document_is_no_command():
    lines = list(logical_lines("cat > x <<'EOF'\nvllm serve m\nEOF\nnext\n"))
    assert [(line.text, line.body) for line in lines] == [("cat > x <<'EOF'", "vllm serve m"), ("next", "")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a && b; c | d & e", [("a",), ("b",), ("c",), ("d",), ("e",)]),
        ("a 'b; c' \"d && e\"", [("a", "'b; c'", '"d && e"')]),
        ("a > log 2>&1 &", [("a",)]),
        ("a &> log; b >> x", [("a",), ("b",)]),
        ("a $(b; c) ${d:-e f}", [("a", "$(b; c)", "${d:-e f}")]),
        ("a#b #c", [("a#b",)]),
        ("a <<< 'x y' b", [("a", "b")]),
    ],
)
def test_operators_and_quotes(text, expected):
    assert commands(text) == expected


def test_an_open_quote_ends_with_the_script():
    assert commands("echo 'open\nmore") == [("echo", "'open\nmore")]


@pytest.mark.parametrize(
    ("word", "text"), [("'a b'", "a b"), ('"a $B"', "a $B"), ("a\\ b", "a b"), ('"a\\"b"', 'a"b'), ("--x='1'", "--x=1")]
)
def test_quotes_are_removed(word, text):
    assert unquoted(word) == text


def test_blanks_separate():
    assert tokens("a\tb  c") == ["a", "b", "c"]
