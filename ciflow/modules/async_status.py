"""`async_status`: how a task stands that was left behind with `async` and `poll: 0`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import Change, Context, Detached, Operation, Outcome, Probe, Reply, Steps
from ciflow.modules.replies import failure, predicted, process_data, process_message, well


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """A job that this run knows nothing of: what its host still knows, as the result of a program."""
    return (yield from status(args, _plain))


def detached(jid: str, verb: str, operations: tuple[Operation, ...] = ()) -> Detached:
    """One word to the supervisor of a job."""
    return Detached(key=f"async/{jid}", verb=verb, operations=operations)


def status(args: Mapping[str, Any], end: Callable[[Reply], Steps], *, ended: Outcome | None = None) -> Steps:
    """`end` makes an outcome of the reply to the job's operation; `ended` is the outcome, where it is known already."""
    told = {"ansible_job_id": args["jid"], "started": True, "finished": True}
    if args["mode"] == "cleanup":
        return (yield from _cleaned(args["jid"], told, known=ended is not None))
    if ended is not None:
        return _of_job(ended, told)
    asked = yield Probe(detached(args["jid"], "ask"))
    if not well(asked):
        return failure(asked, told, "could not ask for the job")
    state = asked.data.get("state", "absent")
    if state == "absent":
        return Outcome(failed=True, msg="could not find job", data=told)
    if state == "running":
        return Outcome(data={**told, "finished": False})
    return _of_job((yield from end(_reply(asked))), told)


def _of_job(outcome: Outcome, told: Mapping[str, Any]) -> Outcome:
    return replace(outcome, data={**outcome.data, **told})


def _reply(asked: Reply) -> Reply:
    """The reply of the job's operation, out of its supervisor's report; none means that nobody saw it end."""
    replies = asked.data.get("replies") or ()
    if not replies:
        return Reply(status="unknown", ok=False, error=str(asked.data.get("error", "")))
    plain = {name: value for name, value in replies[-1].items() if name in Reply.__dataclass_fields__}
    return Reply(**{**plain, "stdout": asked.stdout, "stderr": asked.stderr})


def _cleaned(jid: str, told: Mapping[str, Any], *, known: bool) -> Steps:
    """The host forgets the job. One that still runs is left alone: to end it would be another thing than was asked."""
    asked = yield Probe(detached(jid, "ask"))
    state = asked.data.get("state", "absent")
    if not well(asked):
        return failure(asked, told, "could not ask for the job")
    if state == "running":
        return Outcome(failed=True, msg="the job still runs", data={**told, "finished": False})
    if state == "absent" and not known:
        return Outcome(failed=True, msg="could not find job", data=told)
    erased = yield Change(detached(jid, "cancel"), last=True)
    if not well(erased) and not predicted(erased):
        return failure(erased, told)
    return Outcome(data={**told, "erased": jid})


def _plain(reply: Reply) -> Steps:
    yield from ()
    if reply.status != "done":
        return failure(reply)
    data = process_data(reply, "")
    return Outcome(changed=reply.changed, failed=not reply.ok, msg=process_message(reply), data=data)
