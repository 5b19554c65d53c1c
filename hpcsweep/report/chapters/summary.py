"""The first screen as blocks, for the formats that are documents."""

from hpcsweep.report import document, first_screen_cells, points, wording
from hpcsweep.report import first_screen_text as words
from hpcsweep.report.document import Block, Bullets, Code, Paragraph, Section, Table
from hpcsweep.report.first_screen import FirstScreen, NotSent, VariantRow


def summary(screen: FirstScreen) -> list[Section]:
    """Return the chapter with its parts."""
    banner = words.simulated_banner(screen)
    head: list[Block] = [Paragraph(banner, strong=True)] if banner else []
    head.append(Paragraph(f"{words.header_line(screen)}."))
    return [
        Section("Summary", tuple(head)),
        Section(words.answer_title(screen), tuple(_answer(screen)), 3),
        *overview_parts(screen),
    ]


def overview_parts(screen: FirstScreen) -> list[Section]:
    """Return what follows the answer: the variants, what failed, findings, remarks, what would settle the rest."""
    parts = []
    if screen.rows:
        parts.append(Section("Variants", (_table(screen),), 3))
    sentences = [" ".join(words.failure_sentences(group, screen)) for group in screen.failures]
    remarks = [remark.text for remark in screen.findings.remarks]
    for title, items in (
        ("What failed", sentences),
        ("Findings", words.axis_sentences(screen)),
        ("Before quoting these numbers", remarks),
        ("What would settle it", words.next_steps(screen)),
    ):
        if items:
            parts.append(Section(title, (Bullets(tuple(items)),), 3))
    return parts


def _answer(screen: FirstScreen) -> list[Block]:
    advice = screen.findings.recommendation
    blocks: list[Block] = [Bullets(tuple(words.answer_sentences(screen)))]
    if advice.command:
        blocks.append(Code(advice.command, "bash"))
    for name, text in advice.files.items():
        blocks += [Paragraph(f"The command needs this file, {name}:"), Code(text.rstrip("\n"))]
    note = words.command_note(screen)
    return [*blocks, Paragraph(note)] if note else blocks


def _table(screen: FirstScreen) -> Table:
    speeds = tuple(f"{workload} ({first_screen_cells.speed_unit(screen)})" for workload in screen.workloads)
    compared = any(row.against for row in screen.rows)
    columns = (
        "Variant",
        *screen.axes,
        *speeds,
        *(("vs baseline",) if compared else ()),
        "TTFT (s)",
        "Startup",
        "Outcome",
    )
    note = " ".join(first_screen_cells.legend(screen, {"against"} if compared else set()))
    if screen.hidden:
        note = f"{screen.hidden:,} more variants are in the chapters below. {note}"
    return Table(
        columns, tuple(_row(row, screen, compared) for row in screen.rows), note, points.results(screen.findings)
    )


def _ttft(row: VariantRow) -> document.Quantity:
    value_s = None if row.ttft is None else row.ttft.value
    return wording.plain_number(
        value_s, wording.NOTHING if value_s is None else wording.latency(value_s), "s", "ttft_s"
    )


def _against(row: VariantRow, screen: FirstScreen) -> document.Cell:
    """Return the change against the baseline, with its number where there is exactly one."""
    text = first_screen_cells.against(row, screen)
    return wording.change(row.against[0].percent, text) if len(row.against) == 1 and not row.baseline else text


def _row(row: VariantRow, screen: FirstScreen, compared: bool) -> tuple[document.Cell, ...]:
    started_s = row.ready_s or row.ended_s
    return (
        first_screen_cells.row_name(row, screen),
        *(level or "all" for level in row.levels),
        *(
            "n/a" if isinstance(value, NotSent) else wording.quantity(value, metric=screen.metric, caveats=row.caveats)
            for value in row.speeds
        ),
        *((_against(row, screen),) if compared else ()),
        _ttft(row),
        wording.plain_number(started_s, first_screen_cells.startup(row), "s", "startup_s"),
        first_screen_cells.result(row, screen),
    )
