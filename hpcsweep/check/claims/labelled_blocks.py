"""Judge changes that name blocks and no numbers: `+1.3%` in the row of an option, `SGLang gives +50%`."""

import re
from collections.abc import Iterator, Sequence

from hpcsweep.check.block_matching import words
from hpcsweep.check.claim import Claim
from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.check.quantities import THROUGHPUTS, metrics_of
from hpcsweep.check.recomputed.measured_figures import NOISE_PERCENT, NOISE_REASON, gpus_of, same_work
from hpcsweep.imports.documents.model import Benchmark, ImportedDocument, Location
from hpcsweep.imports.documents.numbers import Number, shown

_MOST_NEW = 20
_MOST_OLD = 60
_MOST_LABELS = 200
_OVER = re.compile(r"\b(?:over|than|against|versus|vs\.?|compared (?:to|with)|relative to)\b", re.IGNORECASE)


class LabelledBlocks:
    """The blocks of a document by the words of their labels."""

    def __init__(self, document: ImportedDocument) -> None:
        self._gpus = gpus_of(document)
        self._by_label: dict[frozenset[str], list[Benchmark]] = {}
        self._by_word: dict[str, list[frozenset[str]]] = {}
        self._by_work: dict[tuple[object, ...], list[Benchmark]] = {}
        for block in document.benchmarks:
            texts = {" ".join(block.context.headings[-1:]), block.context.short, block.context.comment}
            for label in {words(re.sub(r"^\d+[.)]\s", "", text)) for text in texts if text}:
                if label not in self._by_label:
                    for word in label:
                        self._by_word.setdefault(word, []).append(label)
                self._by_label.setdefault(label, []).append(block)
            work = same_work(block)
            if work is not None:
                self._by_work.setdefault(work, []).append(block)

    def named(self, text: str, *, whole: bool) -> list[Benchmark]:
        """Return the blocks that a text names. `whole`: the text is a name (a row), which may omit words."""
        wanted = words(text)
        if not wanted:
            return []
        if whole:
            if len(wanted) < 2 or not all(word in self._by_word for word in wanted):
                return []
            rarest = min((self._by_word[word] for word in wanted), key=len)
            return [block for label in rarest if wanted <= label for block in self._by_label[label]]
        near = {label for word in wanted for label in self._by_word.get(word, ())[:_MOST_LABELS] if label <= wanted}
        longest = max(map(len, near), default=0)
        return [block for label in near if len(label) == longest for block in self._by_label[label]]

    def judge(
        self, claim: Claim, location: Location, about: str, subject: str, metric: str, *, whole: bool
    ) -> ClaimFinding | None:
        """Return the finding on a claim about the blocks that a text names; None: no blocks or no metric."""
        new = self.named(subject, whole=whole)[:_MOST_NEW]
        names = [name for name in metrics_of(metric) or THROUGHPUTS if not name.endswith("_ms")]
        comparison = next(self._fitting(claim, new, names), None)
        if comparison is not None:
            return self._confirmed(claim, location, about, *comparison)
        after = _OVER.split(subject)
        if whole or len(after) != 2 or len(metrics_of(metric)) != 1:
            return None
        newer, older = (self.named(part, whole=False) for part in after)
        if len(newer) != 1 or len(older) != 1 or same_work(newer[0]) != same_work(older[0]) or claim.hedged:
            return None
        return self._wrong(claim, location, about, newer[0], older[0], metrics_of(metric)[0])

    def _fitting(
        self, claim: Claim, new: Sequence[Benchmark], names: Sequence[str]
    ) -> Iterator[tuple[Benchmark, Benchmark, str, float]]:
        for block in new:
            work = same_work(block)
            for other in self._by_work.get(work, [])[:_MOST_OLD] if work else ():
                if other is block:
                    continue
                for name in names:
                    if name not in block.figures or name not in other.figures:
                        continue
                    mine, theirs = self._gpus.get(block.location, 0), self._gpus.get(other.location, 0)
                    factors = {1.0, theirs / mine} if mine and theirs else {1.0}
                    for factor in sorted(factors):
                        if claim.fits(block.figures[name] * Number(factor), other.figures[name]):
                            yield block, other, name, factor

    def _confirmed(
        self, claim: Claim, location: Location, about: str, block: Benchmark, other: Benchmark, name: str, factor: float
    ) -> ClaimFinding:
        new, old = block.figures[name].value * factor, other.figures[name].value
        change = 100 * (new / old - 1)
        scaled = f" x {factor:g}, if replicas scale without loss," if factor != 1 else ""
        why = f"{name}: {block.label} (line {block.location.line}) {shown(block.figures[name].value)}{scaled} against "
        why += f"{other.label} (line {other.location.line}) {shown(old)} = {change:+.2f}%"
        noise = abs(change) < NOISE_PERCENT
        return ClaimFinding(
            location=location,
            about=about,
            claim=claim.text,
            verdict=ClaimVerdict.NOISE if noise else ClaimVerdict.CONFIRMED,
            reason=f"{why}; {NOISE_REASON}" if noise else why,
            kind=claim.kind,
            stated=claim.size.value if change >= 0 or claim.kind is ClaimKind.RATIO else -claim.size.value,
            recomputed=change if claim.kind is ClaimKind.PERCENT else max(new / old, old / new),
            unit=claim.unit,
            sources=(block.location.line, other.location.line),
        )

    def _wrong(
        self, claim: Claim, location: Location, about: str, block: Benchmark, other: Benchmark, name: str
    ) -> ClaimFinding | None:
        if name not in block.figures or name not in other.figures or not other.figures[name].value:
            return None
        new, old = block.figures[name], other.figures[name]
        change = 100 * (new.value / old.value - 1)
        why = f"{name}: {block.label} (line {block.location.line}) {shown(new.value)} against {other.label} "
        why += f"(line {other.location.line}) {shown(old.value)} = {change:+.2f}%"
        recomputed = change if claim.kind is ClaimKind.PERCENT else max(new.value / old.value, old.value / new.value)
        stated, lines = claim.size.value, (block.location.line, other.location.line)
        return ClaimFinding(
            location, about, claim.text, ClaimVerdict.WRONG, why, claim.kind, stated, recomputed, claim.unit, lines
        )
