"""What can't be shared between workers is refused before anything runs, at its place: never done differently.

Shards know their own hosts as they are, and of the others only who has failed. So a task that reads another host's
facts or registers, that makes hosts, or that counts hosts in another way than the barrier does, has no meaning there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from ciflow.diagnostics import Diagnostic, Invalid, Refused
from ciflow.engine.names import asked_by
from ciflow.engine.request import Request
from ciflow.lang.files import Files
from ciflow.model import Host, Node, Play, Task
from ciflow.plan import Plan
from ciflow.plan.compile import tasks_of
from ciflow.store.place import Team
from ciflow.store.store import Store

_MODULES = {
    "add_host": "hosts that it adds would be known to one worker only",
    "group_by": "groups that it makes would be known to one worker only",
}
_META = ("refresh_inventory", "clear_host_errors")
_WAY_OUT = "run the playbook without `--workers`, or do this in a play on one host, which stays whole"


def floor(request: Request) -> int:
    """The least token of a run with workers: they can't bargain with a host that has seen a greater one in another
    journal, where tokens count runs. So theirs begins with the time, which is greater than any count."""
    return int(time.time()) if request.options.workers else 0


def shares(play: Play, hosts: Sequence[Host]) -> bool:
    """Whether a play's hosts go to workers: not where it has one, makes hosts or artifacts, or rolls out."""
    return len(hosts) > 1 and play.canary is None and play.image is None and not play.artifacts


def check_sharing(request: Request, plan: Plan, files: Files, store: Store) -> None:
    """Refuse what workers can't do. Raises Invalid with all of it, or Refused where the journal is not for many."""
    if not request.options.workers:
        return
    if not isinstance(store.place, Team):
        raise Refused("`--workers` needs a journal that all of them reach", help="--state postgresql://HOST/DATABASE")
    plays = {id(stage.play): stage.play for stage in plan.stages if shares(stage.play, stage.hosts)}
    faults = [fault for play in plays.values() for fault in _faults(play, request.options.strategy)]
    if faults:
        raise Invalid(list(dict.fromkeys(faults)), files.sources())


def check_shared(nodes: Iterable[Node], play: Play) -> None:
    """The same for tasks that an include has brought. Raises Invalid."""
    faults = [fault for task in tasks_of(tuple(nodes)) if (fault := _refused(task, play)) is not None]
    if faults:
        raise Invalid(faults)


def _refused(task: Task, play: Play) -> Diagnostic | None:
    why = _why(task, play)
    if not why:
        return None
    return Diagnostic("error", "CF0530", f"workers can't share this task: {why}", task.span, help=_WAY_OUT)


def _faults(play: Play, strategy: str) -> Iterator[Diagnostic]:
    if (play.strategy or strategy) != "linear" and (play.any_errors_fatal or play.max_fail_percentage is not None):
        text = "workers count failures of all hosts at the barrier, and this play's strategy has none"
        yield Diagnostic("error", "CF0530", text, play.span, help="`strategy: linear`, or run it without `--workers`")
    tasks = (*tasks_of(play.tasks), *play.handlers)
    if not any(task.async_limit for task in tasks):
        for task in (task for task in tasks if task.module == "async_status"):
            text = "workers can't share this task: the job was left behind in another play, whose workers know it"
            yield Diagnostic("error", "CF0530", text, task.span, help="ask in the play that leaves it behind")
    for task in tasks:
        if (fault := _refused(task, play)) is not None:
            yield fault


def _why(task: Task, play: Play) -> str:
    if task.module in _MODULES:
        return _MODULES[task.module]
    if task.module == "meta" and _word(task) in _META:
        return f"`meta: {_word(task)}` changes what all of them know"
    if "hostvars" in asked_by(task):
        return "it reads `hostvars`, and facts and registers of hosts that other workers have are not known to it"
    if task.delegate_facts not in (None, False):
        return "`delegate_facts` tells facts of a host that another worker may have"
    if task.throttle:
        return "`throttle` counts the hosts of all of them"
    if task.debugger != "never" or (task.module == "pause" and not {"seconds", "minutes"} & set(task.args)):
        return "it asks somebody at the terminal, which workers don't have"
    once = task.run_once not in (None, False)
    if once and task.module.startswith("include_"):
        return "an include with `run_once` would be read once by each of them"
    if once and play.strategy not in ("", "linear"):
        return "`run_once` needs the barrier of `strategy: linear`"
    return ""


def _word(task: Task) -> str:
    return str(task.args.get("free_form") or task.args.get("action") or task.args.get("_raw") or "")
