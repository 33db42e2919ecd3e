"""`pause`: let time pass, or wait for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Hold, Outcome, Reply, Steps
from ciflow.modules.replies import when

_NOBODY = "put `approval:` on the play instead, which can be given from anywhere, or give the pause a time"
_USUAL = "Press enter to continue, Ctrl+C to interrupt"


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """With `seconds` or `minutes` time passes. Without, a person at the terminal presses enter.

    Refused where nobody can: what a person was meant to look at is not passed over. (Ansible warns, and goes on.)
    """
    minutes, seconds = args.get("minutes"), args.get("seconds")
    if context.check:
        return Outcome(msg="check mode does not pause")
    if minutes is None and seconds is None:
        unseen = "" if args["echo"] else " (output is hidden)"
        question = f"{args.get('prompt') or _USUAL}{unseen}:"
        reply = yield Hold(0.0, prompt=question, why="pause", secret=not args["echo"])
        if not reply.ok:
            return Outcome(failed=True, msg=f"{reply.error}: {_NOBODY}")
        return _paused(args, context, reply, f"{round(reply.duration / 60, 2)} minutes")
    length = float(seconds) if seconds is not None else float(minutes or 0) * 60
    reply = yield Hold(max(length, 0.0), prompt=args.get("prompt") or "", why="pause")
    return _paused(args, context, reply, f"{minutes:g} minutes" if minutes is not None else f"{length:g} seconds")


def _paused(args: Mapping[str, Any], context: Context, reply: Reply, said: str) -> Outcome:
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
