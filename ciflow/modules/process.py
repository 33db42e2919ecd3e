"""`process`: a supervised long-running program that outlives the controller."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import (
    Change,
    Context,
    Detached,
    Exec,
    Hold,
    Http,
    Outcome,
    Probe,
    Read,
    Reply,
    Stat,
    Step,
    Steps,
    Wait,
)
from ciflow.modules.replies import failure, predicted, text, well

_TAIL_BYTES = 4096  # of the log, in the message of a program that died or never answered
_BETWEEN = 0.25  # seconds between two questions for its health
_MOMENT, _ASKS = 0.02, 50  # seconds between two questions for its number, and how many


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """`started` leaves a live one with the same argv alone and replaces any other; the supervisor restarts it."""
    match args["state"]:
        case "stopped":
            return (yield from _stop(args))
        case "status":
            return (yield from _status(args))
        case _:
            return (yield from _start(args, context))


def _key(args: Mapping[str, Any]) -> str:
    return f"process/{args['name']}"


def detached(args: Mapping[str, Any], verb: str, operations: tuple[Exec, ...] = ()) -> Detached:
    """One word to the supervisor on the host, about the process of that name."""
    grace, log = args["stop_timeout"], args.get("log", "")
    return Detached(key=_key(args), verb=verb, operations=operations, restart=True, log=log, grace=grace)


def _program(args: Mapping[str, Any], context: Context) -> Exec:
    argv = tuple(str(word) for word in args["argv"]) if args.get("argv") else tuple(shlex.split(args.get("cmd", "")))
    env = {**context.environment, **{str(k): str(v) for k, v in args.get("env", {}).items()}}
    return Exec(argv=argv, cwd=args.get("chdir", ""), env=env)


def _start(args: Mapping[str, Any], context: Context) -> Steps:
    program = _program(args, context)
    if not program.argv:
        return Outcome(failed=True, msg="argv or cmd is needed to start a process", data={"name": args["name"]})
    if args["state"] == "restarted":
        ended = yield Change(detached(args, "cancel"))
        if not well(ended) and not predicted(ended):
            return failure(ended, {"name": args["name"]}, "could not stop the old one")
    reply = yield Change(detached(args, "start", (program,)))
    data = _data(args, reply) | {"cmd": list(program.argv)}
    if predicted(reply):
        return Outcome(changed=True, msg="would start it", data=data)
    if not well(reply):
        return failure(reply, data, f"could not start {args['name']}")
    data |= _data(args, (yield from _settled(args, reply)))
    sick = yield from _until_healthy(args)
    if sick:
        return Outcome(changed=reply.changed, failed=True, msg=sick, data=data)
    return Outcome(changed=reply.changed or args["state"] == "restarted", data=data)


def _stop(args: Mapping[str, Any]) -> Steps:
    reply = yield Change(detached(args, "cancel"), last=True)
    if predicted(reply):
        return Outcome(changed=True, msg="would stop it", data={"name": args["name"]})
    data = {"name": args["name"], "state": "absent"}
    return Outcome(changed=reply.changed, data=data) if well(reply) else failure(reply, data)


def _status(args: Mapping[str, Any]) -> Steps:
    reply = yield Probe(detached(args, "ask"), last=True)
    return Outcome(data=_data(args, reply)) if well(reply) else failure(reply, {"name": args["name"]})


def _data(args: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    keys = ("state", "pid", "started", "restarts", "rc", "log")
    return {"name": args["name"], **{key: reply.data[key] for key in keys if key in reply.data}}


def _settled(args: Mapping[str, Any], reply: Reply) -> Generator[Step, Reply, Reply]:
    """What the supervisor says once it has a process: it answers as soon as it stands, a moment before."""
    for _ in range(_ASKS):
        if reply.data.get("pid") or reply.data.get("restarts") or reply.data.get("state") != "running":
            break
        yield Hold(_MOMENT, why=f"{args['name']} is starting")
        reply = yield Probe(detached(args, "ask"))
    return reply


def _until_healthy(args: Mapping[str, Any]) -> Generator[Step, Reply, str]:
    """Empty once it answers; otherwise why not, with the end of its log.

    Each round asks the supervisor first: one that keeps dying is told at once, not when the time is over.
    """
    health = args.get("health")
    if not health:
        return ""
    waited, timeout = 0.0, float(health.get("timeout", 30.0))
    complaint, asked = "no answer yet", Reply()
    while waited < timeout:
        asked = yield Probe(detached(args, "ask"))
        if asked.data.get("restarts") or asked.data.get("state") in ("failed", "done", "absent"):
            died = f"{args['name']} died while starting (exit code {asked.data.get('rc')})"
            return (yield from _with_log(asked, died))
        reply = yield Probe(_question(health))
        complaint = _unwell(reply, health)
        if not complaint:
            return ""
        waited += reply.duration + _BETWEEN
        yield Hold(_BETWEEN, why=f"{args['name']} is not healthy yet: {complaint}")
    return (yield from _with_log(asked, f"{args['name']} was not healthy within {timeout:g} s: {complaint}"))


def _question(health: Mapping[str, Any]) -> Http | Wait:
    if health.get("url"):
        return Http(url=health["url"], timeout=2.0)
    return Wait(host=health.get("host", "127.0.0.1"), port=int(health["port"]), timeout=1.0)


def _unwell(reply: Reply, health: Mapping[str, Any]) -> str:
    if not well(reply):
        return reply.error or "no answer"
    status = reply.data.get("status", 200)
    return "" if not health.get("url") or status == health.get("status", 200) else f"HTTP {status}"


def _with_log(asked: Reply, message: str) -> Generator[Step, Reply, str]:
    """The message, and the end of the log that the supervisor keeps."""
    path = str(asked.data.get("log", ""))
    if not path:
        return f"{message} (it has no log)"
    seen = yield Probe(Stat(path=path))
    offset = max(0, int(seen.data.get("size", 0)) - _TAIL_BYTES)
    reply = yield Probe(Read(path=path, offset=offset))
    tail = text(reply.stdout).strip() if well(reply) else f"(its log can't be read: {reply.error})"
    return f"{message}. The end of {path}:\n{tail or '(empty)'}"
