"""`blockinfile`: lines between two markers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Steps
from ciflow.modules.edit import edit, given

_OWN = (
    "state",
    "block",
    "marker",
    "marker_begin",
    "marker_end",
    "insertafter",
    "insertbefore",
    "append_newline",
    "prepend_newline",
)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """One Edit; an empty block takes the markers away."""
    return (yield from edit("block", given(args, _OWN), args, context))
