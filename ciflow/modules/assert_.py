"""`assert`: fail unless conditions hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """`that` arrives evaluated: a list of (the condition's source text, whether it held)."""
    yield from ()
    broken = next((source for source, held in args["that"] if not held), None)
    if broken is None:
        return Outcome(msg=args.get("success_msg", "All assertions passed"))
    return Outcome(
        failed=True,
        msg=args.get("fail_msg", "Assertion failed"),
        data={"assertion": broken, "evaluated_to": False},
    )
