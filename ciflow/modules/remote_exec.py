"""`remote_exec`: run a command on a farm that speaks the Remote Execution API, or take its result from there."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import Api, At, Change, Context, Exec, Outcome, Probe, Reply, Steps
from ciflow.modules.replies import failure, predicted, process_data, process_message, well

KIND = "remote_execution"
_GONE = "EHOSTUNREACH"
_WHERE = {"endpoint": "endpoint", "instance": "instance", "token": "token", "ca_path": "ca"}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Inputs lie on the controller, and outputs come back to it. Where the farm can't be had, before or in the middle,
    the same command runs here, unless that is not wanted: an action has no effects but its outputs."""
    where = {name: str(args[said]) for said, name in _WHERE.items() if args.get(said)}
    if not args.get("argv"):
        return (yield from _looked(where))
    folder = _rooted(args["chdir"], context)
    env = {str(name): str(value) for name, value in args["env"].items()}
    argv = tuple(str(word) for word in args["argv"])
    asked: dict[str, Any] = {
        **where, "argv": list(argv), "env": env, "folder": folder,
        "inputs": [str(one) for one in args["inputs"]], "outputs": [str(one) for one in args["outputs"]],
        "dest": _rooted(args["dest"], context) if args.get("dest") else folder, "fresh": not args["cached"],
        "platform": {str(name): str(value) for name, value in args["platform"].items()},
        "timeout": context.timeout,
    }  # fmt: skip
    reply = yield Change(Api(kind=KIND, request=asked))
    if predicted(reply):
        return Outcome(skipped=True, msg="nothing is executed in check mode", data={"cmd": list(argv)})
    if reply.errno == _GONE and args["fallback"]:
        here = yield At("controller", Change(Exec(argv=argv, cwd=folder, env=env, timeout=context.timeout)))
        return _here(here, list(argv), reply.error)
    return _there(reply, list(argv))


def _looked(where: Mapping[str, str]) -> Steps:
    reply = yield Probe(Api(kind=KIND, request={**where, "look": True}))
    if not well(reply):
        return failure(reply, {"where": where["endpoint"]})
    if not reply.data.get("executes"):
        return Outcome(failed=True, msg=f"{where['endpoint']} keeps content and executes nothing", data={"where": ""})
    return Outcome(msg=f"{where['endpoint']} executes", data={"where": where["endpoint"]})


def _rooted(path: str, context: Context) -> str:
    """A relative folder counts from the playbook's (the last of the search)."""
    return posixpath.join(context.search[-1] if context.search else ".", path)


def _there(reply: Reply, cmd: list[str]) -> Outcome:
    if reply.rc is None:
        return failure(reply, {"cmd": cmd})
    data = process_data(reply, cmd) | {"where": "farm", **reply.data}
    return Outcome(changed=reply.changed, failed=not reply.ok, msg=process_message(reply), data=data)


def _here(reply: Reply, cmd: list[str], why: str) -> Outcome:
    """What came of it without the farm, and why it went without."""
    data = process_data(reply, cmd) | {"where": "controller", "cached": False, "why": why}
    if reply.status == "unknown":
        return failure(reply, data)
    outcome = Outcome(changed=reply.changed, failed=not reply.ok, msg=process_message(reply), data=data)
    return outcome if outcome.failed else replace(outcome, msg=f"ran here: {why}")
