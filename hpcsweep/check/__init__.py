"""Audit a report: recompute its figures and judge its claims. Pure.

`report` runs all checks on a document that `hpcsweep.imports` has read. `claims/` finds and judges claims in text and
tables; `recomputed/` recomputes the figures of result blocks and tables; `commands` checks serve commands. They share
`block_matching` (which result block a cell is about), `measured_figures`, `quantities` (numbers in text) and
`findings` (claim, kind and verdict).
"""
