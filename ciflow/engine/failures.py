"""Failures that concern more than one host: `any_errors_fatal`, `max_fail_percentage`, `meta: clear_host_errors`.

As in Ansible, a failure that is everybody's fails each host where it stands: blocks may rescue it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.engine.keys import Key
from ciflow.engine.result import FailedByOthers, HostFailed, Result
from ciflow.model import Task
from ciflow.plan.compile import tasks_of

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun


class Failures:
    """Those of one stage. `stopped` says why no batch begins any more; `cleared` that failures are forgotten."""

    def __init__(self, stage: StageRun) -> None:
        self.stopped = ""
        self.cleared = False
        self._stage = stage
        self._of_all: list[HostFailed] = []
        self._here: list[dict[str, Any]] = []  # those of them that happened in this process
        self._last: dict[str, Any] | None = None  # any host's that left the play in this process
        self._counted_out = False  # whether too many have failed
        self._heard: list[int] = []  # how many of each other shard's
        self._forgotten: list[HostFailed] = []

    def seen(self, lane: Lane, failure: HostFailed) -> None:
        """A task failed on a host: with `any_errors_fatal` the others fail as well."""
        if self._fatal(lane, failure):
            self._fail_all(lane, failure)

    def unrescued(self, lane: Lane, failure: HostFailed) -> None:
        """A host has left the play for a failure that nothing rescued."""
        if self._fatal(lane, failure):
            self._stop("any_errors_fatal")
        self._last = _told(lane, failure)
        if why := self._too_many():
            self._counted_out = True
            self._fail_all(lane, failure)
            self._stop(why)

    def _too_many(self) -> str:
        """Why the play stops, when more hosts of the batch have failed than `max_fail_percentage` lets."""
        stage = self._stage
        limit = stage.play.max_fail_percentage
        here = {lane.host.name for lane in stage.failed} | stage.elsewhere
        failed = sum(host.name in here for host in stage.batch)
        too_many = limit is not None and 100 * failed / max(1, len(stage.batch)) > limit
        return f"more than {limit:g} % of the hosts failed" if too_many else ""

    def begin(self) -> None:
        """A batch begins, in shards that have said nothing yet."""
        self._heard = []

    # --- of other shards ---------------------------------------------------------------------------------

    def said(self) -> dict[str, Any]:
        """What other shards are to know."""
        return {"fatal": self._here, "last": self._last, "stopped": self.stopped}

    def hear(self, others: Sequence[Mapping[str, Any]]) -> None:
        """What `said` gave in the other shards: failures that are everybody's are their hosts' too."""
        heard = self._heard or [0] * len(others)
        for said, known in zip(others, heard, strict=True):
            self._of_all += [self._there(told) for told in said["fatal"][known:]]
        self._heard = [len(said["fatal"]) for said in others]
        last = next((said["last"] for said in others if said["last"]), None)
        if last is not None and not self._counted_out and (why := self._too_many()):
            self._of_all.append(self._there(last))
            self._counted_out = True
            self._stop(why)
        self.stopped = next((said["stopped"] for said in others if said["stopped"]), self.stopped)

    def _there(self, told: Mapping[str, Any]) -> HostFailed:
        path = tuple(told["task"].split("/"))
        known = next((task for task in tasks_of(self._stage.play.tasks) if task.path == path), None)
        task = known or Task(told["name"], told["module"], {}, self._stage.play.span, path)
        key = Key(self._stage.run.id, self._stage.id, told["host"], path)
        return HostFailed(task, Result("failed", {"failed": True, "changed": False, "msg": told["msg"]}), key)

    # --- in one process ----------------------------------------------------------------------------------

    def of_others(self, lane: Lane) -> FailedByOthers | None:
        """A failure of another host that is this one's too, once."""
        if lane.fatal_seen == len(self._of_all):
            return None
        lane.fatal_seen = len(self._of_all)
        last = self._of_all[-1]
        return FailedByOthers(last.task, replace(last.result, status="failed"), last.key)

    def forgives(self, failure: HostFailed) -> bool:
        """Whether it was forgotten while the `always` of its block ran: then its host goes on behind the block."""
        return failure in self._forgotten

    def clear(self) -> None:
        """Hosts that failed take part again, from the next play on."""
        self.cleared = True
        self._forgotten = [lane.last_failure for lane in self._stage.lanes.values() if lane.last_failure is not None]
        for lane in self._stage.failed:
            lane.state = "ended"

    def _fatal(self, lane: Lane, failure: HostFailed) -> bool:
        task = failure.task
        return self._stage.play.any_errors_fatal or lane.at_once(task.any_errors_fatal, task) is True

    def _fail_all(self, lane: Lane, failure: HostFailed) -> None:
        if not isinstance(failure, FailedByOthers):
            self._of_all.append(failure)
            self._here.append(_told(lane, failure))
            lane.fatal_seen = len(self._of_all)

    def _stop(self, why: str) -> None:
        if self.stopped:
            return
        self.stopped = why
        if self._stage.says(f"stopped {why}"):
            self._stage.run.wire.warn(f"{self._stage.play.name}: stopped on all hosts: {why}")


def _told(lane: Lane, failure: HostFailed) -> dict[str, Any]:
    """A failure in plain values that everybody may see."""
    task = failure.task
    said = "" if task.no_log is not False else lane.run.mask.text(str(failure))
    names = {"name": lane.called(task), "module": task.module, "task": "/".join(task.path)}
    return {**names, "host": lane.host.name, "msg": said}
