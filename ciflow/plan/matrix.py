"""`matrix:` multiplies a play: one cell for each combination of its axes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

Cell = Mapping[str, Any]

_NOT_AXES = ("include", "exclude", "max_parallel")


def cells(matrix: Mapping[str, Any]) -> tuple[Cell, ...]:
    """All combinations in the order written, less `exclude`, with `include` merged in or added at the end.

    An `include` entry extends every cell that it agrees with on the axes it names; one that agrees with none
    becomes a cell of its own, and so does each of a matrix without axes. A play without a matrix has the one empty
    cell.
    """
    axes = {name: values for name, values in matrix.items() if name not in _NOT_AXES}
    products = product(*axes.values()) if axes or not matrix.get("include") else ()
    found: list[dict[str, Any]] = [dict(zip(axes, chosen, strict=True)) for chosen in products]
    found = [cell for cell in found if not any(_agrees(cell, out) for out in matrix.get("exclude") or ())]
    original = [dict(cell) for cell in found]
    for extra in matrix.get("include") or ():
        named = {axis: extra[axis] for axis in axes if axis in extra}
        matches = [cell for cell, was in zip(found, original, strict=False) if named and _agrees(was, named)]
        for cell in matches:
            cell.update(extra)
        if not matches:
            found.append(dict(extra))
    return tuple(found)


def cell_id(play: str, cell: Cell) -> str:
    """`build[bin=server]`: names one cell in keys, events and on the screen."""
    inside = ",".join(f"{axis}={value}" for axis, value in cell.items())
    return f"{play}[{inside}]" if inside else play


def _agrees(cell: Cell, part: Mapping[str, Any]) -> bool:
    return all(axis in cell and cell[axis] == value for axis, value in part.items())
