"""`set_stats`: values that the summary of the run shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """Gives them to the engine, which tells the journal."""
    yield from ()
    bad = [name for name in args["data"] if not str(name).isidentifier()]
    if bad:
        return Outcome(failed=True, msg=f"'{bad[0]}' is no name for a value: letters, digits and underscores")
    stats = {"data": dict(args["data"]), "per_host": args["per_host"], "aggregate": args["aggregate"]}
    return Outcome(data={"ansible_stats": stats})
