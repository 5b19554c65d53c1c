"""Markdown: what a parser reads back is what went in, whatever it was."""

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from study_rows import attempt, h200_study, run, samples, sweep, workload

from hpcsweep.analysis.summary import analyse
from hpcsweep.report.document import Bullets, Code, Document, Paragraph, Section, Table
from hpcsweep.report.formats import markdown
from hpcsweep.spec.phases import OutcomeKind

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

HOSTILE = [
    "a|b",
    "`code`",
    "``two``",
    "| --- |",
    "<script>alert(1)</script>",
    "*bold* _under_ __init__ snake_case",
    "[link](http://example.org) ![image](x.png)",
    "# heading",
    "- item",
    "+ item",
    "> quote",
    "1. first",
    "7) seventh",
    "&amp; &#65;",
    "~~gone~~",
    "back\\slash",
    "\\|",
    "new\nline | pipe",
    "tab\there",
    "$x$ and $$y$$",
    "===",
    "---",
    "[ ] to do",
    "é 中文 🙂",
    "",
]


def text_of(tokens):
    """The text of inline tokens as a reader sees it."""
    return "".join(
        child.content if child.type in ("text", "code_inline", "html_inline") else "\n" if "break" in child.type else ""
        for token in tokens
        for child in (token.children or ())
    )


def as_shown(value):
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in value).split())


def parsed(document):
    env = markdown._environment(())
    return PARSER.parse(env.get_template(markdown.TEMPLATE).render(document=document))


@pytest.mark.parametrize("value", HOSTILE)
def test_a_table_keeps_its_shape_and_its_text(value):
    table = Table(("One", value), ((value, "x"), ("y", value)), "note")
    tokens = parsed(Document("t", (Section("s", (table,)),)))
    cells = [
        text_of([t]) for t, before in zip(tokens[1:], tokens, strict=False) if before.type in ("td_open", "th_open")
    ]
    assert cells == ["One", as_shown(value), as_shown(value), "x", "y", as_shown(value)]
    assert {child.type for t in tokens for child in (t.children or ())} <= {"text", "text_special"}


@pytest.mark.parametrize("value", [value for value in HOSTILE if value])
def test_a_paragraph_and_a_list_are_text_only(value):
    tokens = parsed(Document(value, (Section(value, (Paragraph(value), Bullets((value, value)))),)))
    inline = [t for t in tokens if t.type == "inline"]
    assert [text_of([t]) for t in inline] == [as_shown(value)] * 5
    assert [t.type for t in tokens if t.type.endswith("_open")] == [
        "heading_open", "heading_open", "paragraph_open",
        "bullet_list_open", "list_item_open", "paragraph_open", "list_item_open", "paragraph_open",
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["plain", "```", "a\n````\nb", "`", "~~~", "  indented", "# x"])
def test_code_is_shown_letter_by_letter(value):
    tokens = parsed(Document("t", (Section("s", (Code(value, "bash"), Paragraph("after"))),)))
    (fence,) = [t for t in tokens if t.type == "fence"]
    assert (fence.content, fence.info) == (value + "\n", "bash")
    assert text_of([tokens[-2]]) == "after"


@given(st.text(max_size=40))
def test_any_text_survives_a_cell(value):
    tokens = parsed(Document("t", (Section("s", (Table(("a", "b"), ((value, "end"),)),)),)))
    cells = [text_of([t]) for t, before in zip(tokens[1:], tokens, strict=False) if before.type == "td_open"]
    assert cells == [as_shown(value), "end"]


def render(findings):
    stream = io.StringIO()
    markdown.write(findings, stream)
    return stream.getvalue()


def test_the_report_has_the_shape_of_the_study():
    text = render(analyse(h200_study()))
    for heading in (
        "## Summary",
        "### Recommended (provisional): E04 ep=on eager=yes len=64k",
        "### Results by variant and workload",
        "## Startup",
        "## Effects",
        "### len: 8k (8192), 32k (32768), 64k (65536)",
        "## Failures",
        "### Not run",
        "## Cost",
        "## Requests",
        "## Method",
        "### Commands and scripts",
    ):
        assert f"\n{heading}\n" in text
    assert "| E03 | ep=on, eager=yes, len=8k | 8k | 7.94 [5.30, 11.89] n=3 | 8.68 [8.51, 8.86] n=2 |" in text
    assert "| E03 | ep=on, eager=yes, len=8k | 64k | - | - | - | - | n/a: does not fit |" in text
    assert "first of server (cold)" in text
    assert "| Mean, warm | - | - | - | 58.98 | 8.68 | n = 2 |" in text
    assert "SIMULATED" not in text


def test_hostile_values_from_a_run_do_not_break_the_report():
    evil = "`|<b>\n# x"
    dead = attempt([], outcome=OutcomeKind.CRASHED, evidence=("```", evil), hint=evil, reason=evil)
    good = attempt([workload("w", tuple(replace(s, sample=evil) for s in samples([(10, 1.0)] * 4)))])
    rows = sweep(
        [run({"a": "1"}, [good], model=evil), run({"a": evil}, [dead], reason=evil)],
        {"a": ("1", evil)},
        {"a": "1"},
        title=evil,
        notes=(evil,),
        scripts={"jobs/0/job.sh": "echo '```'\n"},
    )
    tokens = PARSER.parse(render(analyse(rows)))
    assert not [t for t in tokens if t.type == "html_block"]
    assert not [child for t in tokens for child in (t.children or ()) if child.type == "html_inline"]
    headings = [text_of([t]) for t, before in zip(tokens[1:], tokens, strict=False) if before.type == "heading_open"]
    assert headings[0] == as_shown(evil)
    assert "x" not in headings


def test_a_simulated_sweep_says_so_once_at_the_top():
    rows = h200_study()
    rows = replace(
        rows,
        runs=tuple(
            replace(r, simulated=True, attempts=tuple(replace(a, simulated=True) for a in r.attempts))
            for r in rows.runs
        ),
    )
    tokens = PARSER.parse(render(analyse(rows)))
    texts = [text_of([t]) for t in tokens if t.type == "inline"]
    assert [text for text in texts if "SIMULATED" in text] == [texts[2]]


def test_a_users_template_takes_the_place_of_the_shipped_one(tmp_path):
    (tmp_path / "report.md.j2").write_text("mine: {{ document.title }}\n")
    stream = io.StringIO()
    markdown.write(analyse(h200_study()), stream, [tmp_path])
    assert stream.getvalue() == "mine: h200: results\n"


@pytest.mark.parametrize(
    ("changes", "of_run", "provenance", "lines"),
    [
        ({}, {"gpus": 8}, {}, ["Ran on 8 GPUs per run (NVIDIA H200): hopper-46"]),
        ({"gpu_name": None, "host": "laptop"}, {"gpus": 0}, {}, ["Ran on CPUs, without a GPU: laptop"]),
        ({"simulated": True}, {"gpus": 8}, {}, []),
        ({}, {"gpus": 0}, {"imported_from": "results.md"}, []),
    ],
    ids=["GPUs", "CPUs", "simulated", "imported"],
)
def test_the_head_says_on_what_the_runs_ran(changes, of_run, provenance, lines):
    row = run({"a": "1"}, [attempt([workload("w", samples([(10, 2.0)]))], **changes)], **of_run)
    written = io.StringIO()
    markdown.write(analyse(sweep([row], {"a": ("1",)}, {"a": "1"}, provenance=provenance)), written)
    assert [item[2:] for item in written.getvalue().splitlines() if item.startswith("- Ran on")] == lines
