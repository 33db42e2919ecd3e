"""`pause`: let time pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Hold, Outcome, Steps
from ciflow.modules.replies import when

_ASK = "pause without a time waits for a key, which nobody may be there to press: put `approval:` on the play instead"


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """With `seconds` or `minutes` time passes. Without, it is refused: an approval can be given from anywhere."""
    minutes = args.get("minutes")
    seconds = float(args["seconds"]) if args.get("seconds") is not None else float(minutes or 0) * 60
    timed = args.get("seconds") is not None or minutes is not None
    if context.check:
        return Outcome(msg="check mode does not pause")
    if not timed:
        return Outcome(failed=True, msg=_ASK)
    reply = yield Hold(max(seconds, 0.0), prompt=args.get("prompt") or "", why="pause")
    said = f"{minutes:g} minutes" if minutes is not None and args.get("seconds") is None else f"{seconds:g} seconds"
    return Outcome(
        data={
            "start": when(context.now),
            "stop": when(context.now + reply.duration),
            "delta": int(reply.duration),
            "echo": args["echo"],
            "rc": 0,
            "stdout": f"Paused for {said}",
            "stderr": "",
            "user_input": str(reply.data.get("command", "")),
        }
    )
