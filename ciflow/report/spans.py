"""A run as spans, by OpenTelemetry's conventions for CI/CD, each given when it has ended. No I/O, no SDK.

https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/: the run is a SERVER span, all below it are INTERNAL. A
play, a task on one host and a step of a rollout are such; what happens at a moment (a turn of the dial, a gate's new
verdict) is an event of the span that it happened in. What the conventions have no name for begins with `ciflow.`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import ExitCode
from ciflow.model import Event
from ciflow.report import humane
from ciflow.report.board import BAD, title
from ciflow.report.dial import Dial, Stand
from ciflow.report.moments import Moment, Value, moment, name, text
from ciflow.report.trace import Origin, play_span, run_span, step_span, task_span

MOST = 100  # events of a span: the last ones

_RUN = {
    ExitCode.OK: "success", ExitCode.CHANGES_PENDING: "success", ExitCode.INVALID: "failure",
    ExitCode.TASK_FAILED: "failure", ExitCode.ROLLED_BACK: "failure", ExitCode.INTERRUPTED: "cancellation",
    ExitCode.TERMINATED: "cancellation", ExitCode.PAUSED: "paused",
}  # fmt: skip
_TASK = {"ok": "success", "changed": "success", "skipped": "skip", "failed": "failure", "ignored": "failure"}
_PLAY = {"ok": "success", "cached": "success", "skipped": "skip", "failed": "failure", "rolled_back": "failure"}
_TYPES = {"nextest": "test", "cargo": "build", "image": "build"}
_CARGO = {"test": "test", "bench": "test", "clippy": "test", "fmt": "test", "check": "test"}
_TRIAL = re.compile(r"~\d+$")  # behind a play's id in its second and later tries (`retry`)


@dataclass(frozen=True, slots=True)
class Span:
    """One that has ended. Times in Unix seconds; `above` 0: none. `kind` run, play, task or step; `result` is the
    conventions' word. `failed`: it is to be shown as an error, and why."""

    kind: str
    name: str
    id: int
    above: int
    began: float
    ended: float
    result: str
    attributes: Mapping[str, Value]
    moments: tuple[Moment, ...] = ()
    failed: bool = False
    why: str = ""


@dataclass(slots=True)
class _Play:
    """What is known of a play. `ends`: how often its span has ended."""

    id: str
    name: str
    began: float
    hosts: int = 0
    ends: int = 0
    going: bool = True
    dial: Dial | None = None
    moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=MOST))
    in_step: deque[Moment] = field(default_factory=lambda: deque(maxlen=MOST))  # while the dial stands
    verdicts: dict[str, str] = field(default_factory=dict)  # by gate, of the step


class Spans:
    """A fold. Feed it the events of one run in order; `event` gives the spans that ended with it.

    What it keeps of a task is nothing, unless that failed: a run may have a million of them.
    """

    def __init__(self) -> None:
        self.run = ""
        self.origin = Origin(0)
        self.pipeline = ""
        self.action = "RUN"
        self.url = ""
        self.check = False  # it changes nothing
        self._told: dict[str, Value] = {}
        self._began = 0.0
        self._since = 0.0  # when the process that works on it began
        self._ends = 0
        self._why = ""  # the first play that failed, and why
        self._moments: deque[Moment] = deque(maxlen=MOST)
        self._plays: dict[str, _Play] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._rescued: set[tuple[str, str, str]] = set()

    @property
    def busy(self) -> int:
        """Hosts of the plays under way."""
        return sum(play.hosts for play in self._plays.values() if play.going)

    def event(self, event: Event) -> list[Span]:
        handler = _HANDLERS.get(event.kind)
        return [*handler(self, event)] if handler else []

    # --- the run -------------------------------------------------------------------------------------------

    def _started(self, event: Event) -> Iterator[Span]:
        data = event.data
        trace = data.get("trace") or {}
        self.run, self._began, self._since = event.run, event.at, event.at
        self.origin = Origin.of(event.run, str(trace.get("parent") or ""), str(trace.get("state") or ""))
        self.url = text(data.get("url"))
        playbook = str(data.get("playbook") or "")
        if "request" in data:
            self.pipeline = name(data.get("name") or playbook)
        else:  # a rollback has no playbook: what it brings back is a service
            self.action = "ROLLBACK"
            self.pipeline = name(playbook.removeprefix("rollback ").removesuffix(" --rehearse"))
        self.check = bool(data.get("check")) or playbook.endswith(" --rehearse")
        self._told = {"ciflow.playbook": text(playbook), "ciflow.check": self.check}
        self._told |= {"user.name": name(data["who"])} if data.get("who") else {}
        yield from ()

    def _resumed(self, event: Event) -> Iterator[Span]:
        """After an end it gets a span of its own, for that end was told; after a kill the first one's goes on."""
        self._since = event.at
        self._began = event.at if self._ends else self._began
        for play in self._plays.values():
            play.began = event.at if play.ends else play.began
        yield from self._happened(event)

    def _ended(self, event: Event) -> Iterator[Span]:
        for play in filter(lambda one: one.going, self._plays.values()):
            yield from self._close(play, event.at, "cancellation", "interrupted", {})
        code = ExitCode(int(event.data.get("exit", ExitCode.INTERNAL)))
        result = _RUN.get(code, "error")
        error = code.name.lower() if result in ("failure", "error") else ""
        said = self._why or str(event.data.get("result") or "")
        attributes = {
            **self.pipeline_attributes, "cicd.pipeline.action.name": self.action, "cicd.pipeline.result": result,
            "ciflow.exit_code": int(code), **self._told, **({"error.type": error} if error else {}),
        }  # fmt: skip
        first = run_span(self.run, 0)
        yield Span(
            "run", name(f"{self.action} {self.pipeline}"), run_span(self.run, self._ends),
            first if self._ends else self.origin.above, min(self._began, event.at), event.at, result, attributes,
            (*self._moments,), bool(error), text(said) if error else "",
        )  # fmt: skip
        self._ends, self._why = self._ends + 1, ""
        self._moments.clear()

    @property
    def pipeline_attributes(self) -> dict[str, Value]:
        """What everything of this run has in common."""
        url = {"cicd.pipeline.run.url.full": self.url} if self.url else {}
        return {"cicd.pipeline.name": self.pipeline, "cicd.pipeline.run.id": name(self.run), **url}

    def _happened(self, event: Event) -> Iterator[Span]:
        """Something of the whole run."""
        self._moments.append(moment(event))
        yield from ()

    # --- plays ---------------------------------------------------------------------------------------------

    def _play(self, event: Event) -> _Play | None:
        """The event's play: one that had ended goes on, after a resume or in another try."""
        id = event.play if event.play in self._plays else _TRIAL.sub("", event.play)
        play = self._plays.get(id)
        if play is not None and not play.going:
            play.going, play.began = True, max(play.began, self._since)
        return play

    def _play_started(self, event: Event) -> Iterator[Span]:
        self._plays[event.play] = _Play(event.play, title(event), event.at, int(event.data.get("hosts") or 0))
        yield from ()

    def _play_ended(self, event: Event) -> Iterator[Span]:
        play, data = self._play(event), event.data
        if play is None:
            return
        word = str(data.get("result") or "")
        told = {"ciflow.play.did": text(data["did"])} if data.get("did") else {}
        yield from self._close(play, event.at, _PLAY.get(word, "failure"), word, told, str(data.get("reason") or ""))

    def _close(
        self, play: _Play, at: float, result: str, word: str, told: Mapping[str, Value], reason: str = ""
    ) -> Iterator[Span]:
        """Its span, and before it that of the step of its rollout that is not over."""
        if play.dial is not None and play.dial.now is not None:
            yield self._step(play, play.dial, play.dial.now, at)
        failed = result == "failure"
        if failed:
            self._why = self._why or f"{play.name}: {reason or word}"
        rollout = _rollout(play.dial) if play.dial else {}
        attributes = {
            "cicd.pipeline.task.name": name(play.name), "cicd.pipeline.task.run.id": text(f"{self.run}|{play.id}"),
            "cicd.pipeline.task.run.result": result, **self._place, "ciflow.play.result": word,
            **({"ciflow.play.reason": text(reason)} if reason else {}), **rollout, **told,
            **({"cicd.pipeline.task.type": "deploy"} if play.dial else {}), **({"error.type": word} if failed else {}),
        }  # fmt: skip
        yield Span(
            "play", name(play.name), play_span(self.run, play.id, play.ends), run_span(self.run, self._ends),
            min(play.began, at), at, result, attributes, (*play.moments,), failed, text(reason) if failed else "",
        )  # fmt: skip
        play.ends, play.going = play.ends + 1, False
        play.moments.clear()

    @property
    def _place(self) -> dict[str, Value]:
        """Where a person finds a task: on the page of its run."""
        return {"cicd.pipeline.task.run.url.full": self.url} if self.url else {}

    # --- tasks ---------------------------------------------------------------------------------------------

    def _task_ended(self, event: Event) -> Iterator[Span]:
        where = (event.play, event.host, event.task)
        status, play = str(event.data["status"]), self._play(event)
        if status == "rescued":
            self._failures[where] = 0
            self._rescued.add(where)
            if play is not None:
                play.moments.append(moment(event))
            return
        if status in BAD and where in self._rescued:
            return  # a resumed run comes by again
        failures = self._failures.get(where, 0)
        if status in BAD:
            self._failures[where] = failures + 1
        above = run_span(self.run, self._ends) if play is None else play_span(self.run, play.id, play.ends)
        took = max(0.0, float(event.data.get("duration") or 0.0))
        called = name(event.data.get("name") or event.task)
        result, error = _task_result(status, event.data)
        yield Span(
            "task", called, task_span(self.run, *where, failures), above, event.at - took, event.at, result,
            {**self._task(event, called, result, play), **({"error.type": error} if error else {})},
            failed=status in BAD, why=text(event.data.get("msg")) if status in BAD else "",
        )  # fmt: skip

    def _task(self, event: Event, called: str, result: str, play: _Play | None) -> dict[str, Value]:
        data, host = event.data, name(event.host)
        of = _type_of(data, play)
        return {
            "cicd.pipeline.task.name": called,
            "cicd.pipeline.task.run.id": text(f"{self.run}|{event.play}|{event.host}|{event.task}"),
            "cicd.pipeline.task.run.result": result, **self._place, "ciflow.task.status": str(data["status"]),
            "ciflow.task.module": name(data.get("module")),
            **({"cicd.pipeline.task.type": of} if of else {}),
            **({"cicd.worker.id": host, "cicd.worker.name": host} if host else {}),
            **({"ciflow.task.cause": text(data["explanation"])} if data.get("explanation") else {}),
        }  # fmt: skip

    # --- rollouts ------------------------------------------------------------------------------------------

    def _canary(self, event: Event) -> Iterator[Span]:
        play = self._play(event)
        if play is None:
            yield from self._happened(event)
            return
        if event.kind == "canary_started":
            play.dial = play.dial or Dial.of(event)
        elif play.dial is not None:
            yield from self._turned(play, play.dial, event)
        if event.kind != "interval" and (event.kind != "gate" or _is_news(play, event)):
            heard = play.in_step if event.kind == "gate" and play.dial and play.dial.now else play.moments
            heard.append(moment(event))

    def _turned(self, play: _Play, dial: Dial, event: Event) -> Iterator[Span]:
        stands = len(dial.stands)
        over = dial.event(event)
        if over is not None:
            yield self._step(play, dial, over, over.ended)
        if over is not None or len(dial.stands) > stands:
            play.verdicts.clear()

    def _step(self, play: _Play, dial: Dial, stand: Stand, at: float) -> Span:
        """The dial at one weight, from the turn there to the next."""
        number = dial.stands.index(stand)
        failed = stand.verdict in ("turned back", "failed")
        said = "; ".join(str(gate.get("sentence")) for gate in stand.gates.values() if gate.get("verdict") == "bad")
        result = "failure" if failed else "success" if stand.verdict == "good" else "cancellation"
        attributes: dict[str, Value] = {
            **_named(dial), "ciflow.canary.weight": stand.weight / 100, "ciflow.canary.verdict": stand.verdict,
            "ciflow.canary.candidate.requests": stand.candidate.requests,
            "ciflow.canary.candidate.bad": stand.candidate.bad,
            "ciflow.canary.stable.requests": stand.stable.requests, "ciflow.canary.stable.bad": stand.stable.bad,
            **({"error.type": stand.verdict.replace(" ", "_")} if failed else {}),
        }  # fmt: skip
        moments = (*play.in_step,)
        play.in_step.clear()
        return Span(
            "step", f"canary {humane.share(stand.weight)}", step_span(self.run, play.id, play.ends, number),
            play_span(self.run, play.id, play.ends), min(max(stand.began, play.began), at), at, result, attributes,
            moments, failed, text(said or dial.reason) if failed else "",
        )  # fmt: skip


def _is_news(play: _Play, event: Event) -> bool:
    """Gates speak every few seconds; what counts is when one says something else than before."""
    gate, verdict = str(event.data.get("name")), str(event.data.get("verdict"))
    before, play.verdicts[gate] = play.verdicts.get(gate), verdict
    return before != verdict


def _task_result(status: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """The conventions' word, and the kind of error, "" for none."""
    result = _TASK.get(status, "error")
    outcome = data.get("outcome")
    if result == "failure" and isinstance(outcome, Mapping) and outcome.get("timedout"):
        return "timeout", "timeout"
    return result, {"failure": "failed", "error": status}.get(result, "")


def _type_of(data: Mapping[str, Any], play: _Play | None) -> str:
    """build, test or deploy, where that is known."""
    if play is not None and play.dial is not None:
        return "deploy"
    found = _TYPES.get(str(data.get("module")), "")
    outcome = data.get("outcome")
    cmd = outcome.get("cmd") if found == "build" and isinstance(outcome, Mapping) else None
    words = cmd if isinstance(cmd, list) else str(cmd or "").split()
    return next((_CARGO[word] for word in words[1:3] if word in _CARGO), found)


def _named(dial: Dial) -> dict[str, Value]:
    told = {"service": dial.service, "version": dial.version, "slot": dial.slot}
    return {f"ciflow.canary.{key}": name(value) for key, value in told.items()}


def _rollout(dial: Dial) -> dict[str, Value]:
    """How a rollout stands."""
    why = {"ciflow.canary.reason": text(dial.reason)} if dial.reason else {}
    return {**_named(dial), "ciflow.canary.state": dial.state, **why}


_HANDLERS: Mapping[str, Callable[[Spans, Event], Iterator[Span]]] = {
    "run_started": Spans._started,
    "run_resumed": Spans._resumed,
    "run_ended": Spans._ended,
    "play_started": Spans._play_started,
    "play_ended": Spans._play_ended,
    "task_ended": Spans._task_ended,
    "canary_started": Spans._canary,
    "canary_state": Spans._canary,
    "dial": Spans._canary,
    "interval": Spans._canary,
    "gate": Spans._canary,
    "stable": Spans._canary,
    "rollback": Spans._happened,
    "error": Spans._happened,
    "command": Spans._happened,
    "approval_wanted": Spans._happened,
    "approval_given": Spans._happened,
}
KINDS = tuple(_HANDLERS)  # all that it reads
