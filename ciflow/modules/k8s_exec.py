"""`k8s_exec`: a command in a container of a pod, whatever host the play is about."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ciflow.model import Change, Context, Outcome, Steps
from ciflow.modules.cluster import ask
from ciflow.modules.replies import failure, predicted, process_data, process_message


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """It never runs twice: when its end is not known, nobody can say whether it went on. Unlike a play with
    `connection: kubernetes` it needs nothing in the container but the program."""
    argv = args["command"] if isinstance(args["command"], list) else shlex.split(args["command"])
    words = {name: args.get(name) for name in ("pod", "selector", "container", "namespace")}
    words |= {"argv": [str(word) for word in argv], "timeout": args["timeout"] or context.timeout}
    reply = yield Change(ask(args, "exec", words, repeat=False))
    if predicted(reply):
        return Outcome(skipped=True, msg="a command is not run in check mode")
    place = {name: reply.data[name] for name in ("pod", "container") if name in reply.data}
    data = {**process_data(reply, argv), "return_code": reply.rc, **place}
    if reply.status != "done" or reply.rc is None:
        return failure(reply, data)
    return Outcome(changed=True, failed=not reply.ok, msg=process_message(reply), data=data)
