"""Failures that concern more than one host: `any_errors_fatal`, `max_fail_percentage`, `meta: clear_host_errors`.

As in Ansible, a failure that is everybody's fails each host where it stands: blocks may rescue it there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ciflow.engine.result import FailedByOthers, HostFailed
from ciflow.lang.template import render

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
        self._forgotten: list[HostFailed] = []

    def seen(self, lane: Lane, failure: HostFailed) -> None:
        """A task failed on a host: with `any_errors_fatal` the others fail as well."""
        if self._fatal(lane, failure):
            self._fail_all(lane, failure)

    def unrescued(self, lane: Lane, failure: HostFailed) -> None:
        """A host has left the play for a failure that nothing rescued."""
        if self._fatal(lane, failure):
            self._stop("any_errors_fatal")
        stage = self._stage
        limit = stage.play.max_fail_percentage
        failed = sum(stage.lanes[host.name].state in ("failed", "unreachable") for host in stage.batch)
        if limit is not None and 100 * failed / max(1, len(stage.batch)) > limit:
            self._fail_all(lane, failure)
            self._stop(f"more than {limit:g} % of the hosts failed")

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
        return self._stage.play.any_errors_fatal or render(task.any_errors_fatal, lane.scope(task)) is True

    def _fail_all(self, lane: Lane, failure: HostFailed) -> None:
        if not isinstance(failure, FailedByOthers):
            self._of_all.append(failure)
            lane.fatal_seen = len(self._of_all)

    def _stop(self, why: str) -> None:
        if not self.stopped:
            self.stopped = why
            self._stage.run.wire.warn(f"{self._stage.play.name}: stopped on all hosts: {why}")
