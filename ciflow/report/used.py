"""What runs used: the time of the machine that each was on, what its plays used of it, and what is kept since.

A fold over the events of all runs. Times are whole millionths of a second, so that shares of them add up.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from statistics import median
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Event
from ciflow.report.board import title

# All that it tells of.
KINDS = (
    "artifact", "artifact_removed", "play_ended", "play_started", "run_ended", "run_resumed", "run_started", "usage",
)  # fmt: skip
MILLIONTH = 1_000_000
MOST = 10  # runs back that what is usual is made of
GOOD_EXITS = (0, 2)
COUNTS = ("commands", "measured", "sent", "received")
Span = tuple[str, int, int]  # a play, and from when to when it ran, from the beginning of its process


@dataclass(frozen=True, slots=True)
class Usual:
    """What a play takes: the median of its last `runs` good ends, in seconds."""

    seconds: float
    runs: int


@dataclass(slots=True)
class PlayUse:
    """A play of a run, or a cell of its matrix. `cpu` in seconds, `peak_kb` of its largest command (0: not known)."""

    name: str
    result: str = "interrupted"
    cpu: float = 0.0
    peak_kb: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    usual: Usual | None = None  # of one that was not run

    def add(self, data: Mapping[str, Any]) -> None:
        self.cpu += float(data.get("cpu", 0.0))
        self.peak_kb = max(self.peak_kb, int(data.get("peak_kb", 0)))
        self.counts.update({name: int(data[name]) for name in COUNTS if name in data})

    def join(self, other: PlayUse) -> None:
        self.cpu += other.cpu
        self.peak_kb = max(self.peak_kb, other.peak_kb)
        self.counts.update(other.counts)


@dataclass(slots=True)
class Job:
    """One process that worked on a run: what a CI server has as a job. `on` says which machine, {}: not recorded."""

    began: float
    on: Mapping[str, Any]
    ended: float = 0.0
    spans: list[Span] = field(default_factory=list)

    @property
    def took(self) -> int:
        return max(0, round((self.ended - self.began) * MILLIONTH))

    def span(self, play: str, since: float, until: float) -> None:
        begin, end = (min(max(0, round((at - self.began) * MILLIONTH)), self.took) for at in (since, until))
        self.spans.append((play, begin, end))

    def shares(self) -> Counter[str]:
        """Of each play its part of the time: plays that ran at once share it. "" is when none ran."""
        found: Counter[str] = Counter()
        cuts = sorted({0, self.took, *(at for span in self.spans for at in span[1:])})
        for since, until in pairwise(cuts):
            running = list(dict.fromkeys(p for p, b, e in self.spans if b <= since and until <= e)) or [""]
            each, rest = divmod(until - since, len(running))
            for number, play in enumerate(running):
                found[play] += each + (number < rest)
        return found


@dataclass(slots=True)
class RunUse:
    """A run."""

    run: str
    playbook: str
    began: float
    who: str = ""
    check: bool = False
    exit: int | None = None
    jobs: list[Job] = field(default_factory=list)
    plays: dict[str, PlayUse] = field(default_factory=dict)
    ends: list[tuple[str, float, float]] = field(default_factory=list)  # of this process: play, begin, end
    open: dict[str, float] = field(default_factory=dict)  # plays that have begun, and when in this process

    @property
    def took(self) -> int:
        return sum(job.took for job in self.jobs)

    def begin(self, at: float, on: Mapping[str, Any]) -> None:
        self.jobs.append(Job(at, on, at))
        self.ends, self.open = [], dict.fromkeys(self.open, at)

    def heard(self, at: float) -> None:
        """Something was heard of it: so long its process has lived."""
        job = self.jobs[-1]
        job.ended = max(job.ended, at)

    def close(self) -> None:
        """The process has ended, or goes on: what it did until now."""
        job = self.jobs[-1]
        job.spans = []
        for play, since, until in (*self.ends, *((play, since, job.ended) for play, since in self.open.items())):
            job.span(play, max(since, job.began), until)


@dataclass(frozen=True, slots=True)
class Kept:
    """Content that a run left in the store of artifacts, once for all runs that have it: from when to when (0: it is
    there still), Unix seconds."""

    run: str
    size: int
    since: float
    until: float = 0.0


class Uses:
    """Feed it events of KINDS, of all runs and in order; then `settled`."""

    def __init__(self) -> None:
        self.runs: dict[str, RunUse] = {}
        self.kept: list[Kept] = []
        self._lying: dict[str, Kept] = {}  # by digest
        self._ends: dict[tuple[str, str], deque[float]] = {}  # by playbook and play: seconds of its last good ends

    def event(self, event: Event) -> None:
        if event.kind == "run_started":
            data = event.data
            run = RunUse(event.run, str(data.get("playbook") or ""), event.at, str(data.get("who") or ""))
            run.check = bool(data.get("check"))
            run.begin(event.at, data.get("on") or {})
            self.runs[event.run] = run
        elif event.kind in _HANDLERS and event.run in self.runs:
            run = self.runs[event.run]
            if event.at < run.jobs[-1].began and event.kind not in ("run_resumed", "run_ended"):
                return  # of a release that is deployed again: another run's work
            if event.kind not in ("run_resumed", "artifact_removed"):
                run.heard(event.at)
            _HANDLERS[event.kind](self, run, event)

    def settled(self, last: Callable[[str], float]) -> Uses:
        """To be called once, at the end. `last` says when anything was heard of a run that has not ended."""
        for run in self.runs.values():
            if run.exit is None:
                run.heard(last(run.run))
            run.close()
            if run.exit is not None and run.exit not in GOOD_EXITS:
                for play in run.plays.values():  # left out for what failed before it: nothing was saved
                    play.usual = play.usual if play.result == "cached" else None
        self.kept += self._lying.values()
        return self

    def usual(self, playbook: str, play: str) -> Usual | None:
        """None: it has not ended well yet."""
        ends = self._ends.get((playbook, play))
        return Usual(median(ends), len(ends)) if ends else None

    def _resumed(self, run: RunUse, event: Event) -> None:
        run.heard(float(event.data.get("last") or 0.0))
        run.close()
        run.exit = None
        run.begin(event.at, event.data.get("on") or {})

    def _run_ended(self, run: RunUse, event: Event) -> None:
        run.exit = int(event.data.get("exit", 1))

    def _play_started(self, run: RunUse, event: Event) -> None:
        run.open[event.play] = event.at
        run.plays.setdefault(event.play, PlayUse(title(event)))

    def _play_ended(self, run: RunUse, event: Event) -> None:
        result, took = str(event.data["result"]), float(event.data.get("duration", 0.0))
        run.open.pop(event.play, None)
        run.ends.append((event.play, event.at - took, event.at))
        play = run.plays.setdefault(event.play, PlayUse(title(event)))
        play.result = result
        ends = self._ends.setdefault((run.playbook, event.play), deque(maxlen=MOST))
        play.usual = self.usual(run.playbook, event.play) if result in ("cached", "skipped") else None
        if result == "ok" and not run.check:
            ends.append(took)

    def _used(self, run: RunUse, event: Event) -> None:
        if event.play in run.plays:
            run.plays[event.play].add(event.data)
        else:
            run.plays.setdefault("", PlayUse("", "")).add(event.data)

    def _artifact(self, run: RunUse, event: Event) -> None:
        """What was taken from the store has no path: it was there."""
        digest = str(event.data.get("sha256"))
        if event.data.get("path") and digest not in self._lying and not run.check:
            self._lying[digest] = Kept(run.run, int(event.data.get("size", 0)), event.at)

    def _removed(self, _: RunUse, event: Event) -> None:
        kept = self._lying.pop(str(event.data.get("sha256")), None)
        if kept is not None:
            self.kept.append(Kept(kept.run, kept.size, kept.since, event.at))


def folded(events: Iterable[Event], last: Callable[[str], float]) -> Uses:
    """What the events of a journal say."""
    uses = Uses()
    for event in events:
        uses.event(event)
    return uses.settled(last)


_HANDLERS: Mapping[str, Callable[[Uses, RunUse, Event], None]] = {
    "run_resumed": Uses._resumed,
    "run_ended": Uses._run_ended,
    "play_started": Uses._play_started,
    "play_ended": Uses._play_ended,
    "usage": Uses._used,
    "artifact": Uses._artifact,
    "artifact_removed": Uses._removed,
}
