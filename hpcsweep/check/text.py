"""Check the prose of a report, line by line."""

from hpcsweep.check.claims.block_changes import LabelledBlocks
from hpcsweep.check.claims.changes import line_changes
from hpcsweep.check.claims.orderings import orderings
from hpcsweep.check.findings import Finding, Verdict
from hpcsweep.check.recomputed.prompt_rates import prompt_lengths, prompt_rates
from hpcsweep.check.recomputed.traced import Tracer
from hpcsweep.imports.documents.blocks import Imported, Place
from hpcsweep.imports.results.printed import is_part


def check_text(found: Imported, tracer: Tracer, labelled: LabelledBlocks) -> list[Finding]:
    """Return the findings on every line that claims something; the lines of printed blocks claim nothing."""
    lengths = sorted(prompt_lengths(found).items())
    findings: list[Finding] = []
    for number, line in enumerate(found.lines, 1):
        if not line.strip() or is_part(line):
            continue
        place = Place(found.file, number)
        about = found.contexts[number - 1].label or "text"
        for claim, finding, subject in line_changes(found.lines, place, about):
            judged = finding
            if finding.verdict is Verdict.NOT_CHECKED and "|" not in line:
                judged = labelled.judge(claim, place, about, subject, subject, whole=False) or finding
            findings.append(judged)
        findings += orderings(line, place, about, tracer, labelled)
        findings += prompt_rates(line, place, about, lengths)
    return findings
