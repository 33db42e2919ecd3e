"""A run whole, as reports have it that are written when it is over: what each task came to on each host.

Beside it stands what fits on one screen (`Summary`). Nothing is laid out here: JUnit, HTML, Markdown and JSON are made
of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Event
from ciflow.report.board import BAD, GRAVITY, Board
from ciflow.report.dial import Counts, Dial
from ciflow.report.lines import last_lines
from ciflow.report.summary import Summary

# All that a report tells of: not what a run says to its hosts, of which there is far more.
KINDS = (
    "annotation", "artifact", "cache", "canary_started", "canary_state", "dial", "error", "gate", "interval", "output",
    "play_ended", "play_started", "rollback", "run_ended", "run_resumed", "run_started", "sbom", "signature", "stats",
    "task_ended", "task_started", "tests", "users",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """What a task came to on one host. `text` is what a failure printed last, or the place in the playbook's files that
    is at fault, `cause` its likely cause."""

    status: str
    seconds: float
    message: str = ""
    text: str = ""
    cause: str = ""

    @property
    def bad(self) -> bool:
        return self.status in BAD


@dataclass(slots=True)
class TaskRecord:
    """One task of a play. Of a host that ran it again, or whose failure was rescued, the last word holds."""

    name: str
    module: str
    hosts: dict[str, Ended] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Hosts by status, the gravest first."""
        counted = Counter(ended.status for ended in self.hosts.values())
        return {status: counted[status] for status in GRAVITY if counted[status]}

    @property
    def seconds(self) -> float:
        """Of its slowest host."""
        return max((ended.seconds for ended in self.hosts.values()), default=0.0)

    @property
    def failures(self) -> dict[str, Ended]:
        return {host: ended for host, ended in self.hosts.items() if ended.bad}


@dataclass(slots=True)
class PlayRecord:
    """One play, or one cell of its matrix. `began` in Unix seconds."""

    name: str
    began: float
    tasks: dict[str, TaskRecord] = field(default_factory=dict)


class Record:
    """A fold. Feed it the events of one run in order."""

    def __init__(self) -> None:
        self.summary = Summary()
        self.playbook = ""
        self.who = ""
        self.version = ""  # of ciflow
        self.plays: dict[str, PlayRecord] = {}
        self._board = Board()

    def event(self, event: Event) -> None:
        self._board.event(event)
        self.summary.event(event)
        if event.kind == "run_started":
            self.playbook, self.who = str(event.data.get("playbook") or ""), str(event.data.get("who") or "")
            self.version = str(event.data.get("version") or "")
        elif event.kind == "play_started":
            self._play(event)
        elif event.kind == "task_ended":
            self._task_ended(event)
        elif event.kind == "play_ended":
            self._board.plays.pop(event.play, None)  # a run may have many plays of 10,000 hosts

    def _play(self, event: Event) -> PlayRecord:
        """The event's play; a resumed run says again that it has begun."""
        if event.play not in self.plays:
            self.plays[event.play] = PlayRecord(self._board.play(event).name, event.at)
        return self.plays[event.play]

    def _task_ended(self, event: Event) -> None:
        known, data = self._board.task(event), event.data
        task = self._play(event).tasks.setdefault(event.task, TaskRecord(known.name, known.module))
        status = str(data["status"])
        shown = [str(data["diagnostic"])] if data.get("diagnostic") else last_lines(event, known)
        text = "\n".join(shown) if status in BAD else ""
        task.hosts[event.host] = Ended(
            status, float(data.get("duration", 0.0)), str(data.get("msg") or ""), text,
            str(data.get("explanation") or ""),
        )  # fmt: skip

    # --- as data -------------------------------------------------------------------------------------------

    def data(self) -> dict[str, Any]:
        """All of it, in values that JSON knows. Times in Unix seconds, `weight` in hundredths of a percent."""
        summary = self.summary
        served, failed, met_fault = summary.served
        return {
            "run": summary.run, "playbook": self.playbook, "who": self.who, "version": self.version,
            "check": summary.check, "started": summary.began, "ended": summary.ended, "exit": summary.exit,
            "result": summary.sentence, "next": summary.following, "plays": [*self._plays()],
            "rollouts": [{"play": play, **rollout_data(dial)} for play, dial in summary.dials.items()],
            "users": {"served": served, "failed": failed, "met_fault": met_fault},
            "artifacts": [*map(dict, summary.artifacts.values())], "sboms": [*map(dict, summary.sboms.values())],
            "signatures": [*map(dict, summary.signatures)], "stats": summary.stats,
            "annotations": [*map(dict, summary.annotations)],
        }  # fmt: skip

    def _plays(self) -> Iterator[dict[str, Any]]:
        for id, end in self.summary.plays.items():
            tasks = self.plays[id].tasks if id in self.plays else {}
            told = [{"task": path, **_task(task)} for path, task in tasks.items()]
            yield {"id": id, "name": end.name, "result": end.result, "duration": end.duration, "did": end.words,
                   "tasks": told}  # fmt: skip


def _task(task: TaskRecord) -> dict[str, Any]:
    failures = [
        {"host": host, "status": ended.status, "duration": ended.seconds, "msg": ended.message, "output": ended.text,
         "explanation": ended.cause}
        for host, ended in task.failures.items()
    ]  # fmt: skip
    return {"name": task.name, "module": task.module, "duration": task.seconds, "hosts": task.counts,
            "failures": failures}  # fmt: skip


def rollout_data(dial: Dial) -> dict[str, Any]:
    stands = [
        {"weight": stand.weight, "verdict": stand.verdict, "began": stand.began, "ended": stand.ended,
         "candidate": _counts(stand.candidate), "stable": _counts(stand.stable),
         "gates": [{name: _finite(gate.get(name)) for name in ("name", "verdict", "evidence", "threshold", "sentence")}
                   for gate in stand.gates.values()]}
        for stand in dial.stands
    ]  # fmt: skip
    return {"service": dial.service, "version": dial.version, "slot": dial.slot, "from": dial.before,
            "state": dial.state, "reason": dial.reason, "steps": stands}  # fmt: skip


def _counts(counts: Counts) -> dict[str, int]:
    return {"requests": counts.requests, "bad": counts.bad}


def _finite(value: Any) -> Any:
    """JSON knows no infinity, which an e-value may be: as in `--json`, it is the text `inf`."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
