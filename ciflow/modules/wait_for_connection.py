"""`wait_for_connection`: until the host can be reached and used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Hold, Outcome, Probe, Stat, Steps
from ciflow.modules.patience import until
from ciflow.modules.replies import well


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The smallest operation there is, again and again."""
    if context.check:
        return Outcome(skipped=True, msg="nothing is waited for in check mode")
    if args["delay"]:
        yield Hold(float(args["delay"]), why="wait_for_connection: delay")
    limits = {"sleep": float(args["sleep"]), "timeout": float(args["timeout"]), "elapsed": float(args["delay"])}
    waited = yield from until(Probe(Stat(path="/")), well, context, **limits)
    data = {"elapsed": int(waited.elapsed)}
    if waited.reply is None:
        return Outcome(failed=True, msg=f"timed out waiting for ping module test: {waited.last}", data=data)
    return Outcome(data=data)
