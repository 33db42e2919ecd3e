"""`matrix:` of a play, as it must be for the plan to multiply by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ciflow.diagnostics import Findings
from ciflow.lang.place import Place
from ciflow.model import EMPTY

_MOST = 10_000  # cells of one play; six axes of a hundred values would be 10^12
_LISTED = ("include", "exclude")


def read_matrix(place: Place | None, findings: Findings) -> Mapping[str, Any]:
    """The matrix of a play; what is wrong with it goes to the findings."""
    if place is None or not place.value or not isinstance(place.value, dict):
        return EMPTY  # what is no mapping the schema tells
    before = len(findings.items)
    for name, part in place.fields.items():
        _check(str(name), part, findings)
    if len(findings.items) > before:
        return EMPTY
    axes = [values for name, values in place.value.items() if name not in (*_LISTED, "max_parallel")]
    if (many := math.prod(map(len, axes))) > _MOST:
        findings.error("CF0104", f"a matrix has at most {_MOST:,} cells; this one has {many:,}", place.span)
        return EMPTY
    return dict(place.value)


def _check(name: str, part: Place, findings: Findings) -> None:
    value = part.value
    if name == "max_parallel":
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            findings.error("CF0104", "`max_parallel` is a whole number, at least 1", part.span)
    elif not isinstance(value, list):
        what = "a list of cells" if name in _LISTED else "a list of its values"
        findings.error("CF0104", f"`{name}` of a matrix is {what}", part.span)
    elif name in _LISTED and not all(isinstance(cell, dict) for cell in value):
        findings.error("CF0104", f"each cell of `{name}` is a mapping of axes to values", part.span)
