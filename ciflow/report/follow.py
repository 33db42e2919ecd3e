"""A rollout as somebody watches it: where the dial is, what each gate has against the candidate, and what is left.

A fold over the events of one run, drawn as lines: whole for a terminal (`frame`), or one at a time for a pipe (`news`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Event
from ciflow.report import humane
from ciflow.report.dial import STYLES, WHOLE, Counts, Dial
from ciflow.report.lines import stable, wrapped
from ciflow.report.said import users
from ciflow.report.text import Line, Piece, fit, left, line, right, safe

KINDS = (
    "canary_started",
    "canary_state",
    "dial",
    "interval",
    "gate",
    "stable",
    "users",
    "retire",
    "warning",
    "error",
    "run_ended",
)
BAR = 24  # columns
OVER = ("good", "rolled_back", "failed", "fenced")
VERDICTS = {"good": "ok", "hold": "changed", "inconclusive": "changed", "bad": "failed"}


@dataclass(slots=True)
class FollowedRollout:
    """One rollout of the run."""

    dial: Dial
    began: float
    way: tuple[tuple[int, float], ...] = ()  # weight, and seconds that it is held at least
    bake: float = 0.0
    users: Mapping[str, Any] = field(default_factory=dict)
    after: str = ""  # what will happen without anybody

    @classmethod
    def of(cls, event: Event) -> FollowedRollout:
        times = event.data.get("times", {})
        warm_up = float(times.get("warm_up", 0.0))
        way = tuple((int(weight), float(hold) + warm_up) for weight, hold, _ in event.data.get("way", ()))
        return cls(Dial.of(event), event.at, way, float(times.get("bake", 0.0)))

    def event(self, event: Event) -> None:
        self.dial.event(event)
        if event.kind == "users":
            self.users = event.data
        elif event.kind == "retire":
            self.after = f"slot {event.data['slot']} retires in {humane.duration(float(event.data['after']))}"

    @property
    def over(self) -> bool:
        return self.dial.state in OVER

    @property
    def state(self) -> str:
        return self.dial.state.replace("_", " ")

    def left(self, now: float) -> float:
        """Seconds until it is observed good, if every hold ends as soon as it may."""
        stand = self.dial.now
        if stand is None:
            return sum(hold for _, hold in self.way) + self.bake
        of_stand = self.bake if stand.weight == WHOLE else dict(self.way).get(stand.weight, 0.0)
        later = sum(hold for weight, hold in self.way if weight > stand.weight)
        return max(0.0, of_stand - (now - stand.began)) + later + (self.bake if stand.weight < WHOLE else 0.0)

    # --- drawn -------------------------------------------------------------------------------------------

    def frame(self, now: float, columns: int) -> Iterator[Line]:
        dial, stand = self.dial, self.dial.now
        from_ = f"{dial.before} -> " if dial.before else ""
        style = STYLES.get(dial.state, "failed" if dial.state in OVER[1:] else "ok" if self.over else "changed")
        title = f"{dial.service}  {from_}{dial.version} in slot {dial.slot}"
        yield line(Piece(left(title, columns - 26), "bold"), Piece(left(self.state, 14), style),
                   right(humane.duration(now - self.began), 10))  # fmt: skip
        weight = stand.weight if stand else WHOLE if dial.state == "good" else 0
        yield line(right(humane.share(weight), 8), "  ", _bar(weight / WHOLE), "  ", self._whereabouts(now))
        if stand:
            yield _counted("candidate", stand.candidate)
            yield _counted("stable", stand.stable)
            if dial.sick:
                yield line("            ", Piece(fit(dial.sick, columns - 14), "failed"))
            for name, gate in stand.gates.items():
                yield from _gate(name, gate, columns)
        if dial.reason:
            yield line("          ", Piece(fit(dial.reason, columns - 12), "dim"))
        for past in dial.stands:
            if past.ended:
                yield past.line(now, columns)
        if self.users:
            yield line("          ", fit(users(self.users), columns - 12))
        if self.after:
            yield line("          ", fit(self.after, columns - 12))

    def _whereabouts(self, now: float) -> str:
        stand = self.dial.now
        if self.over or stand is None:
            return ""
        steps = [weight for weight, _ in self.way]
        step = f"step {steps.index(stand.weight) + 1} of {len(steps)}   " if stand.weight in steps else ""
        seconds = self.left(now)
        return f"{step}{f'at least {humane.duration(seconds)} left' if seconds else 'waits for evidence'}"


class Followed:
    """All rollouts of one run, by their play."""

    def __init__(self) -> None:
        self.rollouts: dict[str, FollowedRollout] = {}
        self.exit: int | None = None
        self.said = ""  # the last warning or error
        self._verdicts: dict[tuple[str, str], str] = {}

    def event(self, event: Event) -> None:
        if event.kind == "canary_started" and event.play not in self.rollouts:
            self.rollouts[event.play] = FollowedRollout.of(event)
        elif event.kind in ("warning", "error"):
            self.said = str(event.data["message"])
        elif event.kind == "run_ended":
            self.exit = int(event.data.get("exit", 1))
        elif event.play in self.rollouts:
            self.rollouts[event.play].event(event)

    @property
    def services(self) -> list[str]:
        return list(dict.fromkeys(watched.dial.service for watched in self.rollouts.values()))

    @property
    def paused(self) -> bool:
        return any(watched.dial.state == "paused" for watched in self.rollouts.values())

    @property
    def between(self) -> bool:
        """Whether both versions of a service have traffic."""
        stands = [watched.dial.now for watched in self.rollouts.values()]
        return any(0 < stand.weight < WHOLE for stand in stands if stand)

    def frame(self, now: float, columns: int, foot: str, done: str = "") -> list[Line]:
        """The whole screen. `done` is what came of the watcher's last key: it stays, whatever the run says to it."""
        lines: list[Line] = []
        for watched in self.rollouts.values():
            lines += [*watched.frame(now, columns), ()]
        said = [line(Piece(part, "changed")) for text in (done, self.said) if text for part in wrapped(text, columns)]
        return [*lines, *said, line(Piece(fit(foot, columns), "bold"))]

    def news(self, event: Event) -> str:
        """For a pipe: one line where the event changes something, else "". To be asked after `event`."""
        return safe(self._news(event))

    def _news(self, event: Event) -> str:
        at = humane.clock(event.at, event.at)
        data = event.data
        if event.kind in ("warning", "error"):
            return f"{at}  {event.kind}: {data['message']}"
        watched = self.rollouts.get(event.play)
        if watched is None:
            return ""
        name = f"{at}  {watched.dial.service} {watched.dial.version}"
        if event.kind == "canary_started":
            return f"{name}  into slot {watched.dial.slot}, beside {watched.dial.before or 'nothing'}"
        if event.kind == "canary_state":
            share = f" at {humane.share(int(data['weight']))}" if data.get("weight") else ""
            return f"{name}  {watched.state}{share}{': ' + data['reason'] if data.get('reason') else ''}"
        if event.kind == "dial":
            return f"{name}  the candidate has {humane.share(int(data['weight']))}"
        if event.kind == "gate" and self._verdicts.get(where := (event.play, data["name"])) != data["verdict"]:
            self._verdicts[where] = data["verdict"]
            return f"{name}  {data['name']} {data['verdict']}: {data['sentence']}"
        if event.kind == "stable":
            return f"{name}  {stable(event)}"
        if event.kind == "users":
            return f"{name}  {users(data)}"
        return f"{name}  {watched.after}" if event.kind == "retire" else ""


def _bar(part: float) -> Piece:
    full = round(max(0.0, min(1.0, part)) * BAR)
    return Piece("[" + "#" * full + "." * (BAR - full) + "]")


def _counted(name: str, counts: Counts) -> Line:
    share = f"{counts.bad / counts.requests:.2%}" if counts.requests else "none yet"
    return line("          ", left(name, 12), right(humane.number(counts.requests), 9), " requests",
                right(humane.number(counts.bad), 8), " bad   ", share)  # fmt: skip


def _gate(name: str, gate: Mapping[str, Any], columns: int) -> Iterator[Line]:
    """Evidence on a scale of its logarithm: half of the bar is the square root of the threshold."""
    evidence, threshold = float(gate.get("evidence") or 0.0), float(gate.get("threshold") or 0.0)
    verdict = str(gate.get("verdict", ""))
    told = f"{humane.evidence(evidence)} of {humane.evidence(threshold)}" if threshold else ""
    near = math.log(max(1.0, evidence)) / math.log(threshold) if threshold > 1 else 0.0
    yield line("          ", left(name, 12), _bar(near), "  ", left(told, 22),
               Piece(left(verdict, 13), VERDICTS.get(verdict, "")))  # fmt: skip
    yield line("            ", Piece(fit(str(gate.get("sentence") or ""), columns - 14), "dim"))
