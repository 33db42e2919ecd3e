"""`load`: steady requests to a service, with a report of what came back."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from ciflow.model import Change, Context, Detached, Exec, Hold, Mkdir, Outcome, Probe, Read, Reply, Step, Steps, Write
from ciflow.modules.replies import failure, predicted, text, well
from ciflow.modules.sources import read

SCRIPT = str(Path(__file__).parent / "files" / "load.py")
_FIRST_REPORT = 10.0  # seconds that a fresh one may take to write its first report
_BETWEEN = 0.2
_TAIL_BYTES = 2048


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The load itself is a program of its own on the host, so it goes on when the controller ends."""
    match args["state"]:
        case "stopped":
            return (yield from _stop(args))
        case "report":
            return (yield from _report(args))
        case _:
            return (yield from _start(args, context))


def _folder(args: Mapping[str, Any]) -> str:
    return str(args.get("dir") or f"~/.local/state/ciflow-load/{args['name']}")


def _detached(args: Mapping[str, Any], verb: str, operations: tuple[Exec, ...] = ()) -> Detached:
    lasting = not args["duration"]
    return Detached(key=f"load/{args['name']}", verb=verb, operations=operations, restart=lasting)


def _start(args: Mapping[str, Any], context: Context) -> Steps:
    if not args.get("url"):
        return Outcome(failed=True, msg="url is needed to start a load", data={"name": args["name"]})
    script = yield from read(SCRIPT)
    if not well(script):
        return failure(script)
    made = yield Change(Mkdir(path=_folder(args), mode="0700"))
    if not well(made):
        return failure(made)
    folder = str(made.data.get("path", _folder(args)))
    program = posixpath.join(folder, "load.py")
    written = yield Change(Write(path=program, content=script.stdout, mode="0600"))
    if not well(written):
        return failure(written)
    report = posixpath.join(folder, "report.json")
    reply = yield Change(_detached(args, "start", (_program(args, context, program, report),)))
    data = {"name": args["name"], "report": report}
    if predicted(reply):
        return Outcome(changed=True, msg="would start it", data=data)
    if not well(reply):
        return failure(reply, data, f"could not start the load {args['name']}")
    sick = yield from _first_report(args, report, reply)
    asked = yield Probe(_detached(args, "ask"), last=True)
    data |= {key: asked.data[key] for key in ("pid", "log") if asked.data.get(key)}
    return Outcome(changed=reply.changed, failed=bool(sick), msg=sick, data=data)


def _program(args: Mapping[str, Any], context: Context, program: str, report: str) -> Exec:
    words = [args["python"], program, "--url", args["url"], "--rate", f"{args['rate']:g}", "--report", report]
    for name in ("name", "method", "connections", "duration", "timeout"):
        words += [f"--{name}", str(args[name])]
    for name in ("version_header", "version_body"):
        words += [f"--{name.replace('_', '-')}", args[name]] if args.get(name) else []
    for name, value in args["headers"].items():
        words += ["--header", f"{name}: {value}"]
    words += [] if args["validate_certs"] else ["--insecure"]
    return Exec(argv=tuple(words), env=context.environment)


def _first_report(args: Mapping[str, Any], path: str, started: Reply) -> Generator[Step, Reply, str]:
    """Empty once a report of this start is there (one that was running has written its own long ago)."""
    waited = 0.0
    while waited < _FIRST_REPORT:
        reply = yield Probe(Read(path=path))
        told = _told(reply)
        if told and (not started.changed or told.get("started", 0.0) >= started.started):
            return ""
        asked = yield Probe(_detached(args, "ask"))
        if asked.data.get("state") == "failed" or asked.data.get("restarts"):
            return (yield from _died(args, asked))
        waited += _BETWEEN
        yield Hold(_BETWEEN, why=f"the load {args['name']} has not reported yet")
    return f"the load {args['name']} wrote no report within {_FIRST_REPORT:g} s"


def _died(args: Mapping[str, Any], asked: Reply) -> Generator[Step, Reply, str]:
    log = str(asked.data.get("log", ""))
    reply = yield Probe(Read(path=log))
    tail = text(reply.stdout)[-_TAIL_BYTES:].strip() if well(reply) else reply.error
    return f"the load {args['name']} died (exit code {asked.data.get('rc')}): {tail}"


def _stop(args: Mapping[str, Any]) -> Steps:
    """Ending it lets it finish what is under way and write its last report."""
    reply = yield Change(_detached(args, "cancel"))
    if predicted(reply):
        return Outcome(changed=True, msg="would stop it", data={"name": args["name"]})
    if not well(reply):
        return failure(reply, {"name": args["name"]}, f"could not stop the load {args['name']}")
    return (yield from _report(args, stopped=True, changed=reply.changed))


def _report(args: Mapping[str, Any], *, stopped: bool = False, changed: bool = False) -> Steps:
    path = posixpath.join(_folder(args), "report.json")
    reply = yield Probe(Read(path=path), last=True)
    told = _told(reply)
    if told is None and stopped:
        return Outcome(changed=changed, msg=f"stopped; there is no report at {path}", data={"name": args["name"]})
    if told is None:
        return failure(reply, {"name": args["name"], "report": path}, f"the load {args['name']} has no report")
    msg = f"{told['served']} served, {told['failed']} failed, p99 {told['latency_ms']['p99']:g} ms"
    latency = {f"{name}_ms": value for name, value in told.pop("latency_ms").items()}
    failures = told.pop("failed")  # every register has its own `failed`
    return Outcome(changed=changed, msg=msg, data={**told, **latency, "failures": failures, "report": path})


def _told(reply: Reply) -> dict[str, Any] | None:
    """A report, written whole by its program; anything else is none."""
    if not well(reply):
        return None
    try:
        told = json.loads(reply.stdout)
    except ValueError:
        return None
    return told if isinstance(told, dict) and "served" in told else None
