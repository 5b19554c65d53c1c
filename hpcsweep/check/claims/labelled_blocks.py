"""Judge changes that name blocks and no numbers: `+1.3%` in the row of an option, `SGLang gives +50%`."""

import re
from collections.abc import Iterator, Sequence

from hpcsweep.check.block_matching import words
from hpcsweep.check.claims.claim import Claim
from hpcsweep.check.findings import ClaimFinding, ClaimVerdict
from hpcsweep.check.measured_figures import NOISE_PERCENT, NOISE_REASON, gpus_of, same_work
from hpcsweep.check.quantities import THROUGHPUTS, metrics_of
from hpcsweep.imports.documents.model import Benchmark, ImportedDocument, Location
from hpcsweep.imports.documents.numbers import Number, shown

_MOST_NEW = 20
_MOST_OLD = 60
_MOST_LABELS = 200
_OVER = re.compile(r"\b(?:over|than|against|versus|vs\.?|compared (?:to|with)|relative to)\b", re.IGNORECASE)


class LabelledBlocks:
    """The blocks of a document by the words of their labels."""

    def __init__(self, found: ImportedDocument) -> None:
        self._gpus = gpus_of(found)
        self._by_label: dict[frozenset[str], list[Benchmark]] = {}
        self._by_word: dict[str, list[frozenset[str]]] = {}
        self._by_work: dict[tuple[object, ...], list[Benchmark]] = {}
        for one in found.benchmarks:
            texts = {" ".join(one.context.headings[-1:]), one.context.short, one.context.comment}
            for label in {words(re.sub(r"^\d+[.)]\s", "", text)) for text in texts if text}:
                if label not in self._by_label:
                    for word in label:
                        self._by_word.setdefault(word, []).append(label)
                self._by_label.setdefault(label, []).append(one)
            work = same_work(one)
            if work is not None:
                self._by_work.setdefault(work, []).append(one)

    def named(self, text: str, *, whole: bool) -> list[Benchmark]:
        """Return the blocks that a text names. `whole`: the text is the name (a row), and may leave out words."""
        wanted = words(text)
        if not wanted:
            return []
        if whole:
            if len(wanted) < 2 or not all(word in self._by_word for word in wanted):
                return []
            rarest = min((self._by_word[word] for word in wanted), key=len)
            return [one for label in rarest if wanted <= label for one in self._by_label[label]]
        near = {label for word in wanted for label in self._by_word.get(word, ())[:_MOST_LABELS] if label <= wanted}
        longest = max(map(len, near), default=0)
        return [one for label in near if len(label) == longest for one in self._by_label[label]]

    def judge(
        self, claim: Claim, place: Location, about: str, subject: str, metric: str, *, whole: bool
    ) -> ClaimFinding | None:
        """Return the finding on a claim about the blocks that a text names; None: it names none, or no metric."""
        new = self.named(subject, whole=whole)[:_MOST_NEW]
        names = [name for name in metrics_of(metric) or THROUGHPUTS if not name.endswith("_ms")]
        found = next(self._fitting(claim, new, names), None)
        if found is not None:
            return self._confirmed(claim, place, about, *found)
        after = _OVER.split(subject)
        if whole or len(after) != 2 or len(metrics_of(metric)) != 1:
            return None
        one, other = (self.named(part, whole=False) for part in after)
        if len(one) != 1 or len(other) != 1 or same_work(one[0]) != same_work(other[0]) or claim.hedged:
            return None
        return self._wrong(claim, place, about, one[0], other[0], metrics_of(metric)[0])

    def _fitting(
        self, claim: Claim, new: Sequence[Benchmark], names: Sequence[str]
    ) -> Iterator[tuple[Benchmark, Benchmark, str, float]]:
        for one in new:
            work = same_work(one)
            for other in self._by_work.get(work, [])[:_MOST_OLD] if work else ():
                if other is one:
                    continue
                for name in names:
                    if name not in one.figures or name not in other.figures:
                        continue
                    mine, theirs = self._gpus.get(one.place, 0), self._gpus.get(other.place, 0)
                    factors = {1.0, theirs / mine} if mine and theirs else {1.0}
                    for factor in sorted(factors):
                        if claim.fits(one.figures[name] * Number(factor), other.figures[name]):
                            yield one, other, name, factor

    def _confirmed(
        self, claim: Claim, place: Location, about: str, one: Benchmark, other: Benchmark, name: str, factor: float
    ) -> ClaimFinding:
        new, old = one.figures[name].value * factor, other.figures[name].value
        change = 100 * (new / old - 1)
        scaled = f" x {factor:g}, if replicas scale without loss," if factor != 1 else ""
        why = f"{name}: {one.label} (line {one.place.line}) {shown(one.figures[name].value)}{scaled} against "
        why += f"{other.label} (line {other.place.line}) {shown(old)} = {change:+.2f}%"
        noise = abs(change) < NOISE_PERCENT
        return ClaimFinding(
            place=place,
            about=about,
            claim=claim.text,
            verdict=ClaimVerdict.NOISE if noise else ClaimVerdict.CONFIRMED,
            reason=f"{why}; {NOISE_REASON}" if noise else why,
            kind=claim.kind,
            stated=claim.size.value if change >= 0 or claim.kind == "ratio" else -claim.size.value,
            recomputed=change if claim.kind == "percent" else max(new / old, old / new),
            unit=claim.unit,
            sources=(one.place.line, other.place.line),
        )

    def _wrong(
        self, claim: Claim, place: Location, about: str, one: Benchmark, other: Benchmark, name: str
    ) -> ClaimFinding | None:
        if name not in one.figures or name not in other.figures or not other.figures[name].value:
            return None
        new, old = one.figures[name], other.figures[name]
        change = 100 * (new.value / old.value - 1)
        why = f"{name}: {one.label} (line {one.place.line}) {shown(new.value)} against {other.label} "
        why += f"(line {other.place.line}) {shown(old.value)} = {change:+.2f}%"
        recomputed = change if claim.kind == "percent" else max(new.value / old.value, old.value / new.value)
        stated, lines = claim.size.value, (one.place.line, other.place.line)
        return ClaimFinding(
            place, about, claim.text, ClaimVerdict.WRONG, why, claim.kind, stated, recomputed, claim.unit, lines
        )
