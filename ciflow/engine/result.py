"""What a task came to on one host, as the engine, the journal and `register` see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, Denied, Diagnostic, Invalid, TargetError
from ciflow.engine.keys import Key
from ciflow.model import EMPTY, Outcome, Steps, Task


@dataclass(frozen=True, slots=True)
class Result:
    """`status`: ok, changed, failed, skipped, ignored, unreachable, unknown. `values` is what `register` gets."""

    status: str
    values: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    diff: tuple[str, str] | None = None
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # facts of other hosts (`delegate_facts`)
    faults: tuple[Diagnostic, ...] = ()  # of the playbook's files, where it is these that failed it

    @property
    def bad(self) -> bool:
        return self.status in ("failed", "unreachable", "unknown")


class NotReached(Exception):
    """A task was sent ahead, and the one before it did not go well: it never happened."""


class HostFailed(Exception):
    """A task failed on this host; blocks may rescue it. `key` is where it stands in the run."""

    def __init__(self, task: Task, result: Result, key: Key) -> None:
        super().__init__(result.values.get("msg", ""))
        self.task = task
        self.result = result
        self.key = key


class FailedByOthers(HostFailed):
    """Another host's failure is this one's too: `any_errors_fatal`, or too many have failed."""


class HostEnded(Exception):
    """`meta: end_host`: nothing more on this host in this play, and no failure."""


class PlayEnded(Exception):
    """`meta: end_play` or, where `batch`, `end_batch`: nothing more on any host of the play, or of the batch."""

    def __init__(self, *, batch: bool = False) -> None:
        super().__init__()
        self.batch = batch


class PausedRun(Exception):
    """The rollout waits for somebody, and this process needs not stay for it: exit 8, `ciflow resume` goes on."""


def values_of(outcome: Outcome, *, started: float, ended: float, attempts: int) -> dict[str, Any]:
    """The keys every result has, and those of the module over them."""
    common = {
        "changed": outcome.changed,
        "failed": outcome.failed,
        "skipped": outcome.skipped,
        "unreachable": False,
        "msg": outcome.msg,
        "attempts": attempts,
        "started_at": started,
        "duration": round(ended - started, 3),
    }
    return with_exception({**common, **outcome.data, "changed": outcome.changed, "failed": outcome.failed})


def sensible(steps: Steps, verb: str) -> Steps:
    """The steps of a module, where what it can't make sense of fails its task on this host alone.

    Replies are a host's words: one that has gone mad, or lies, must not end the run on all the others. A module that
    is wrong itself fails in the same way, as in Ansible, with its traceback under `exception`.
    """
    try:
        return (yield from steps)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        import traceback

        what = f"{type(error).__name__}: {error}"
        msg = f"`{verb}` makes no sense of what the host answered, a fault of that host or of ciflow itself: {what}"
        return Outcome(failed=True, msg=msg, data={"exception": "".join(traceback.format_exception(error))})


def with_exception(values: Mapping[str, Any], places: list[str] | None = None) -> dict[str, Any]:
    """A failed result says where in the playbook's files it went wrong, under the key where Ansible has a traceback."""
    found = dict(values)
    if found.get("failed") and "exception" not in found:
        found["exception"] = "\n".join(places or ()) or "(traceback unavailable)"
    elif not found.get("failed") and "exception" in found:
        found["failed_when_suppressed_exception"] = found.pop("exception")
    return found


def status_of(values: Mapping[str, Any], *, unknown: bool = False) -> str:
    """The one word for the screen."""
    if values.get("unreachable"):
        return "unreachable"
    if values.get("failed"):
        return "unknown" if unknown else "failed"
    if values.get("skipped"):
        return "skipped"
    return "changed" if values.get("changed") else "ok"


def skipped(condition: Any = None) -> Result:
    """`when` said no, by this condition where one is known."""
    values: dict[str, Any] = {"changed": False, "failed": False, "skipped": True, "unreachable": False, "msg": ""}
    values["skip_reason"] = "Conditional result was False"
    return Result("skipped", values if condition is None else {**values, "false_condition": condition})


def broken(error: CiflowError | HostFailed) -> Result:
    """A task that could not be carried out: its host is out of reach, or what it says makes no sense there.

    A host that failed while its facts were read for the task hands its failure on.
    """
    if isinstance(error, HostFailed):
        return replace(error.result, values=dict(error.result.values), facts=EMPTY, diff=None, others=EMPTY)
    unreachable = isinstance(error, TargetError) and not isinstance(error, Denied)
    values = {"changed": False, "failed": not unreachable, "skipped": False, "unreachable": unreachable}
    faults = error.diagnostics if isinstance(error, Invalid) else ()
    places = [str(d.span) for d in faults if d.span]
    helps = [d.help or d.label for d in faults] if isinstance(error, Invalid) else [error.help]
    said = {"msg": error.message, "help": "\n".join(filter(None, helps)), "places": places}
    status = "unreachable" if unreachable else "failed"
    return Result(status, with_exception({**values, **said}, places), faults=faults)


def without_facts(result: Result) -> Result:
    """A failed task sets nothing but its register."""
    return replace(result, facts=EMPTY, others=EMPTY)


def looped(results: list[Result]) -> Result:
    """A loop's results as one: changed if any changed, failed if any failed, skipped if all were."""
    values: dict[str, Any] = {
        "results": [dict(result.values) for result in results],
        "changed": any(result.values.get("changed") for result in results),
        "failed": any(result.values.get("failed") for result in results),
        "skipped": bool(results) and all(result.values.get("skipped") for result in results),
        "unreachable": any(result.values.get("unreachable") for result in results),
        "msg": "One or more items failed" if any(map(_went_wrong, results)) else "All items completed",
    }
    if values["skipped"]:
        values["msg"] = "All items skipped"
    if not results:
        values |= {"skipped": True, "skipped_reason": "No items in the list"}
    facts = {name: value for result in results for name, value in result.facts.items()}
    others: dict[str, dict[str, Any]] = {}
    for host, known in (told for result in results for told in result.others.items()):
        others.setdefault(host, {}).update(known)
    faults = next((result.faults for result in results if result.bad), ())
    return Result(_status_of_all(results) or status_of(values), values, facts, others=others, faults=faults)


def _went_wrong(result: Result) -> bool:
    return result.bad or result.status == "ignored"


def _status_of_all(results: list[Result]) -> str:
    """Of items that went wrong: ignored where each of them is, else what the worst of the others came to."""
    wrong = {result.status for result in results if _went_wrong(result)}
    return next((status for status in ("unreachable", "unknown", "failed", "ignored") if status in wrong), "")
