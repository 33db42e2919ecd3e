"""`tempfile`: a fresh file or folder that nobody else can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Change, Context, Mkdir, Outcome, Steps
from ciflow.modules.replies import failure, file_data, predicted, well


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Never the same twice, so check mode has no path to tell."""
    state = args["state"]
    operation = Mkdir(path=args.get("path", ""), temporary=state, prefix=args["prefix"], suffix=args["suffix"])
    reply = yield Change(operation, last=True)
    if context.check or predicted(reply):
        return Outcome(changed=True, msg=f"would make a temporary {state}", data={"state": state})
    if not well(reply):
        return failure(reply)
    path = str(reply.data["path"])
    return Outcome(changed=True, data=file_data(reply, path, state) | {"path": path})
