"""`wait_for`: until a port or a file is as wished, seen from the host."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Context, Hold, Outcome, Probe, Reply, Stat, Step, Steps, Wait
from ciflow.modules.replies import failure, file_data, well


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """One Wait. With neither port nor path, `timeout` seconds pass, as in Ansible.

    Check mode waits for nothing: what is to come may be made by a task that was only predicted.
    """
    port, path = args.get("port", 0), args.get("path", "")
    if port and path:
        return Outcome(failed=True, msg="port and path parameter can not both be passed to wait_for")
    if args["state"] == "drained" and not port:
        return Outcome(failed=True, msg="state=drained should only be used for checking a port in the wait_for module")
    if context.check:
        return Outcome(skipped=True, msg="remote module (wait_for) does not support check mode")
    if not port and not path:
        seconds = float(args["delay"]) + float(args["timeout"])
        yield Hold(seconds, why="wait_for without a port or a path")
        return Outcome(data=_data(args, Reply(duration=seconds)))
    reply = yield Probe(_wait(args), last=not path)
    if well(reply):
        left = yield from _found(path)
        return Outcome(data={**_data(args, reply), **left})
    if reply.errno == "ETIMEDOUT":
        return Outcome(failed=True, msg=args.get("msg") or _timeout(args), data=_data(args, reply))
    return failure(reply, _data(args, reply))


def _found(path: str) -> Generator[Step, Reply, dict[str, Any]]:
    """What stands at the path now, as Ansible tells it: `state` is then what it is, not what was waited for."""
    if not path:
        return {}
    seen = yield Probe(Stat(path=path), last=True)
    if not well(seen) or not seen.data.get("exists"):
        return {}
    told = file_data(seen, path, str(seen.data.get("kind", "file")))
    del told["dest"]
    return told


def _wait(args: Mapping[str, Any]) -> Wait:
    return Wait(
        host=args["host"],
        port=args.get("port", 0),
        path=args.get("path", ""),
        pattern=args.get("search_regex", ""),
        state=args["state"],
        delay=args["delay"],
        sleep=args["sleep"],
        timeout=args["timeout"],
        connect_timeout=args["connect_timeout"],
    )


def _timeout(args: Mapping[str, Any]) -> str:
    where = args.get("path") or f"{args['host']}:{args.get('port')}"
    wish = {"absent": "to be absent", "stopped": "to stop", "drained": "to drain"}.get(args["state"], "")
    if args.get("search_regex"):
        return f"Timeout when waiting for search string {args['search_regex']} in {where}"
    return f"Timeout when waiting for {where}{' ' if wish else ''}{wish}"


def _data(args: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    return {
        "state": args["state"],
        "port": args.get("port"),
        "path": args.get("path"),
        "search_regex": args.get("search_regex"),
        "match_groups": list(reply.data.get("groups", ())),
        "match_groupdict": dict(reply.data.get("named", {})),
        "elapsed": int(reply.data.get("elapsed", reply.duration)),
    }
