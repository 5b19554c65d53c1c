"""The map of a sweep as the page shows it: the text, shade and description of each cell, and the heads around them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.map_layout import Layout, MapAxis
from hpcsweep.report.sweep_map import Layer, MapCell, SweepMap
from hpcsweep.units import format_duration

SHADES = ((0.99, "to 1 %"), (0.97, "3 %"), (0.9, "10 %"), (0.75, "25 %"), (0.5, "50 %"), (0.0, "more"))
"""The least figure of each shade, relative to the best, and how far from the best that is."""

_CLASSES = {"failed": "failed", "not sent": "unsent", "waiting": "pending", "no value": "unsent"}


@dataclass(frozen=True)
class CellView:
    """A cell. `text`: what is printed in it; `detail`: everything about it in a sentence; `run`: the run to open."""

    text: str
    detail: str
    run: str
    classes: str
    mark: str


@dataclass(frozen=True)
class Head:
    """A head over `span` rows or columns. `inner`: it belongs to a single one."""

    text: str
    span: int
    inner: bool


@dataclass(frozen=True)
class LayerView:
    """A tab of the map. `caption`: the metric with its definition."""

    id: str
    name: str
    caption: str
    rows: tuple[tuple[tuple[Head, ...], tuple[CellView | None, ...]], ...]
    ranked: tuple[tuple[str, CellView], ...]


@dataclass(frozen=True)
class MapView:
    """The map. `corner`: names of the row axes; `across`: those of the column axes, each with a row of `heads`.

    `marked`: whether some cells, but not all, are simulated.
    """

    layers: tuple[LayerView, ...]
    corner: tuple[str, ...]
    across: tuple[str, ...]
    heads: tuple[tuple[Head, ...], ...]
    columns: int
    note: str
    dense: bool
    marked: bool


def map_view(findings: Findings, given: SweepMap) -> MapView:
    """Return the map in words."""
    layout = given.layout
    layers = tuple(_layer(findings, layout, layer, i) for i, layer in enumerate(given.layers, 1))
    if layout is None:
        return MapView(
            layers, (), (), (), 1, "The variants have no axes in common; best first.", False, _is_marked(layers)
        )
    columns = math.prod(len(axis.levels) for axis in layout.columns)
    return MapView(
        layers=layers,
        corner=tuple(axis.name for axis in layout.rows),
        across=tuple(axis.name for axis in layout.columns),
        heads=tuple(zip(*_heads(layout.columns), strict=True)) if layout.columns else (),
        columns=columns,
        note=_note(layout),
        dense=columns > 8,
        marked=_is_marked(layers),
    )


def _is_marked(layers: Sequence[LayerView]) -> bool:
    cells = [cell for layer in layers for _, row in layer.rows for cell in row]
    cells += [cell for layer in layers for _, cell in layer.ranked]
    return any(cell is not None and cell.mark for cell in cells)


def _note(layout: Layout) -> str:
    if not layout.is_folded:
        return ""
    merged = [axis for axis in (*layout.rows, *layout.columns) if axis.merged > 1]
    parts = [f"Each cell shows its best variant: {len(layout.folded)} more axes are folded"] if layout.folded else []
    parts += [
        f"up to {axis.merged} neighbouring levels of {axis.name} share a cell, which shows the best" for axis in merged
    ]
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _heads(axes: Sequence[MapAxis]) -> list[list[Head | None]]:
    """Return the heads of each row or column, outermost first; None: the head before it spans this one too."""
    total = math.prod(len(axis.levels) for axis in axes)
    span = total
    columns: list[list[Head | None]] = []
    for number, axis in enumerate(axes, 1):
        span //= len(axis.levels)
        texts = axis.levels * (total // span // len(axis.levels))
        heads: list[Head | None] = []
        for text in texts:
            heads += [Head(text, span, number == len(axes)), *([None] * (span - 1))]
        columns.append(heads)
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[]]


def _layer(findings: Findings, layout: Layout | None, layer: Layer, number: int) -> LayerView:
    metric = METRICS[layer.metric]
    warm = ", warm samples" if layer.condition == "warm" and metric.of_samples else ""
    caption = f"{metric.title}{warm} ({wording.unit(metric.unit)}): {metric.meaning}."
    rows = []
    if layout is not None:
        for heads, cells in zip(_heads(layout.rows), layer.cells, strict=True):
            views = tuple(None if cell is None else cell_view(findings, layer, cell) for cell in cells)
            rows.append((tuple(head for head in heads if head is not None), views))
    ranked = (
        ()
        if layout is not None
        else tuple((cell.variant.name, cell_view(findings, layer, cell)) for cell in layer.ranked)
    )
    return LayerView(f"map-{number}", layer.name, caption, tuple(rows), ranked)


def cell_view(findings: Findings, layer: Layer, cell: MapCell) -> CellView:
    """Return one cell in words."""
    names = ["best"] if cell.figure is not None and cell.figure.value is not None and cell.relative == 1.0 else []
    classes = _CLASSES.get(cell.kind) or f"shade-{shade(cell.relative or 0.0)}"
    marks = " ".join(name for name, given in (("chosen", cell.recommended), ("base", cell.baseline)) if given)
    return CellView(
        text=_text(layer, cell),
        detail=_detail(findings, layer, cell, names),
        run=cell.run,
        classes=f"{classes} {marks}".rstrip(),
        mark=wording.marked(findings, "", cell.figure is not None and cell.figure.simulated).strip(),
    )


def shade(relative: float) -> int:
    """Return the number of the shade of a figure relative to the best, 0 for the best."""
    return next(number for number, (least, _) in enumerate(SHADES) if relative >= least)


def _text(layer: Layer, cell: MapCell) -> str:
    if cell.figure is not None and cell.figure.value is not None:
        return format_duration(cell.figure.value) if layer.metric == "startup_s" else wording.number(cell.figure.value)
    return "n/a" if cell.kind == "not sent" else wording.NOTHING if cell.kind == "no value" else cell.text


def _detail(findings: Findings, layer: Layer, cell: MapCell, names: list[str]) -> str:
    variant = wording.marked(findings, cell.variant.short_name, cell.variant.simulated)
    if cell.figure is None:
        what = cell.text if cell.kind != "no value" else f"{METRICS[layer.metric].title} was not measured"
        what = f"n/a, {what}" if cell.kind == "not sent" else what
    else:
        value, spread = wording.figure_parts(cell.figure)
        what = f"{value} ({spread})" if spread else value
        if cell.relative is not None and not names:
            names.append(_compared(layer, cell.relative))
        if cell.text != "completed":
            names.append(cell.text)
    names += ["recommended"] if cell.recommended else []
    names += ["baseline"] if cell.baseline else []
    names += [f"best of {cell.variants} variants"] if cell.variants > 1 else []
    return f"{variant} ({cell.variant.name}): {', '.join([what, *names])}"


def _compared(layer: Layer, relative: float) -> str:
    if METRICS[layer.metric].higher_is_better:
        return f"{100 * relative:.3g} % of the best"
    return f"{1 / relative:.2f} times the shortest" if relative > 0 else ""
