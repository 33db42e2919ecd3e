"""The templates in a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ciflow.model import Template

_SCALARS = frozenset({str, int, float, bool, type(None)})


def templates_in(value: Any) -> Sequence[Template]:
    """Every Template in a value, in order."""
    if value.__class__ in _SCALARS or not value:
        return ()
    if isinstance(value, Template):
        return (value,)
    found: list[Template] = []
    _gather(value, found)
    return found


def _gather(value: Any, found: list[Template]) -> None:
    if isinstance(value, list | tuple):
        for below in value:
            if below and below.__class__ not in _SCALARS:
                _gather(below, found)
    elif isinstance(value, Template):
        found.append(value)
    elif isinstance(value, Mapping):
        for key, below in value.items():
            if key.__class__ not in _SCALARS and isinstance(key, Template):
                found.append(key)
            if below and below.__class__ not in _SCALARS:
                _gather(below, found)
