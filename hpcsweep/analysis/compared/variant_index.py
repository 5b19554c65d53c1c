"""The variants of a sweep as points of a grid, with the pairs and squares that differ in one or two axes."""

from collections.abc import Iterator, Mapping, Sequence

from hpcsweep.analysis.findings import Variant

Pair = tuple[str, str]
"""Two variants that differ in one axis: (with the reference level, with the other level)."""


class VariantIndex:
    """The variants by their levels. `reference`: the baseline's level of each axis, else its first level."""

    def __init__(self, variants: Sequence[Variant], axes: Mapping[str, Sequence[str]], baseline: Mapping[str, str]):
        self._by_levels = {tuple(sorted(v.axes.items())): v.variant for v in variants if v.axes}
        self._with_level: dict[tuple[str, str], list[Variant]] = {}
        for variant in variants:
            for item in variant.axes.items():
                self._with_level.setdefault(item, []).append(variant)
        self.axes = axes
        self.reference = {
            axis: baseline[axis] if baseline.get(axis) in levels else levels[0] for axis, levels in axes.items()
        }

    def at(self, levels: Mapping[str, str]) -> str | None:
        """Return the variant with these levels; None: not in the sweep."""
        return self._by_levels.get(tuple(sorted(levels.items())))

    def having(self, axis: str, level: str) -> list[Variant]:
        """Return the variants with this level."""
        return self._with_level.get((axis, level), [])

    def pairs(self, axis: str, level: str) -> Iterator[Pair]:
        """Yield all pairs that differ in this axis alone: the reference level against `level`."""
        for variant in self.having(axis, level):
            partner = self.at({**variant.axes, axis: self.reference[axis]})
            if partner is not None:
                yield partner, variant.variant

    def squares(self, axes: tuple[str, str], levels: tuple[str, str]) -> Iterator[tuple[str, str, str, str]]:
        """Yield all (reference, first changed, second changed, both changed) with the other axes unchanged."""
        (first, second), (a, b) = axes, levels
        for variant in self.having(first, a):
            if variant.axes.get(second) == b:
                ref_first, ref_second = self.reference[first], self.reference[second]
                corners = (
                    self.at({**variant.axes, first: ref_first, second: ref_second}),
                    self.at({**variant.axes, second: ref_second}),
                    self.at({**variant.axes, first: ref_first}),
                )
                if corners[0] is not None and corners[1] is not None and corners[2] is not None:
                    yield corners[0], corners[1], corners[2], variant.variant
