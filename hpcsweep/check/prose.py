"""Check the prose of a report, line by line."""

from hpcsweep.check.claims.labelled_blocks import LabelledBlocks
from hpcsweep.check.claims.line_changes import line_changes
from hpcsweep.check.claims.orderings import orderings
from hpcsweep.check.findings import ClaimFinding, ClaimVerdict
from hpcsweep.check.recomputed.log_windows import prompt_lengths, prompt_rates
from hpcsweep.check.recomputed.tracing import Tracer
from hpcsweep.imports.documents.model import ImportedDocument, Location
from hpcsweep.imports.documents.printed_blocks import is_part


def check_text(document: ImportedDocument, tracer: Tracer, labelled: LabelledBlocks) -> list[ClaimFinding]:
    """Return the findings on every line with a claim; the lines of printed result blocks are not claims."""
    lengths = sorted(prompt_lengths(document).items())
    findings: list[ClaimFinding] = []
    for number, line in enumerate(document.lines, 1):
        if not line.strip() or is_part(line):
            continue
        location = Location(document.file, number)
        about = document.contexts[number - 1].label or "text"
        for claim, finding, subject in line_changes(document.lines, location, about):
            judged = finding
            if finding.verdict is ClaimVerdict.NOT_CHECKED and "|" not in line:
                judged = labelled.judge(claim, location, about, subject, subject, whole=False) or finding
            findings.append(judged)
        findings += orderings(line, location, about, tracer, labelled)
        findings += prompt_rates(line, location, about, lengths)
    return findings
