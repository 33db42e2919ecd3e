"""The history of a dial, folded from events: at which share for how long, how many requests, what the gates said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Event
from ciflow.report import humane
from ciflow.report.text import Line, Piece, fit, left, line, right

WHOLE = 10_000  # hundredths of a percent
STYLES = {"good": "ok", "holding": "changed", "baking": "changed", "turned back": "failed", "failed": "failed"}


@dataclass(slots=True)
class Counts:
    """Requests and bad ones among them."""

    requests: int = 0
    bad: int = 0

    def add(self, more: Mapping[str, Any]) -> None:
        self.requests += int(more.get("requests", 0))
        self.bad += int(more.get("bad", 0))

    def __str__(self) -> str:
        return f"{humane.number(self.bad)} of {humane.number(self.requests)}"


@dataclass(slots=True)
class Stand:
    """The dial stood at `weight` from `began` to `ended` (0: still does). `gates` is each gate's last data."""

    weight: int
    began: float
    ended: float = 0.0
    verdict: str = "holding"
    candidate: Counts = field(default_factory=Counts)
    stable: Counts = field(default_factory=Counts)
    gates: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def close(self, verdict: str, at: float) -> None:
        self.verdict, self.ended = verdict, at

    @property
    def gate(self) -> Mapping[str, Any]:
        """The gate that matters: the one nearest to its threshold."""
        return max(self.gates.values(), key=_nearness, default={})

    def line(self, now: float, columns: int) -> Line:
        """`   1 %   good      1,204 requests   errors 0 of 12 | 4 of 1,192   latency good    2m 00s`."""
        took = right(humane.duration((self.ended or now) - self.began), 9)
        room = max(columns - 8 - 2 - 12 - 9, 10)
        return line(
            right(humane.share(self.weight), 8),
            "  ",
            Piece(left(self.verdict, 12), STYLES.get(self.verdict, "")),
            left(fit(self._words(), room), room),
            took,
        )

    def evidence(self) -> list[str]:
        """How near each gate came to turning the dial back, and in full what decided against the candidate."""
        near = ", ".join(filter(None, (_evidence(name, gate) for name, gate in self.gates.items())))
        decided = [str(gate.get("sentence") or "") for gate in self.gates.values() if gate.get("verdict") == "bad"]
        return [*([f"evidence against it: {near}"] if near else []), *filter(None, decided)]

    def _words(self) -> str:
        if self.verdict == "holding":
            near = self.gate
            return "   ".join(filter(None, (self._requests(), _evidence("evidence", near))))
        decided = {name: gate.get("verdict") for name, gate in self.gates.items() if gate.get("verdict") != "hold"}
        others = [f"{name} {verdict}" for name, verdict in decided.items() if name != "errors"]
        return "   ".join(filter(None, (self._requests(), self._errors(), *others)))

    def _requests(self) -> str:
        total = self.candidate.requests + self.stable.requests
        needed = int(self.gate.get("counts", {}).get("needed", 0))
        if self.verdict == "holding" and needed:
            return f"{right(humane.number(self.candidate.requests), 7)} of {humane.number(needed)}"
        return right(humane.number(total), 7) + " requests"

    def _errors(self) -> str:
        if not self.candidate.requests and not self.stable.requests:
            return ""
        return f"errors {self.candidate} | {self.stable}"


def _evidence(name: str, gate: Mapping[str, Any]) -> str:
    threshold = float(gate.get("threshold") or 0.0)
    if not threshold:
        return ""
    return f"{name} {humane.evidence(float(gate.get('evidence') or 0.0))} of {humane.evidence(threshold)}"


def _nearness(gate: Mapping[str, Any]) -> tuple[bool, float]:
    threshold = float(gate.get("threshold") or 0.0)
    return gate.get("verdict") == "bad", float(gate.get("evidence") or 0.0) / threshold if threshold else 0.0


@dataclass(slots=True)
class Dial:
    """One rollout. Feed it the events of its play; `event` gives the stand that just ended, or None."""

    service: str
    version: str
    slot: str
    hosts: tuple[str, ...] = ()
    before: str = ""  # the version that was live when the rollout began
    state: str = "deploying"
    sick: str = ""  # what shows that the version beside the candidate fails, too
    reason: str = ""
    stands: list[Stand] = field(default_factory=list)

    @classmethod
    def of(cls, event: Event) -> Dial:
        """From its `canary_started`."""
        data = event.data
        service, version, slot = (str(data[name]) for name in ("service", "version", "slot"))
        return cls(service, version, slot, tuple(data.get("hosts", ())), str(data.get("from") or ""))

    @property
    def now(self) -> Stand | None:
        return self.stands[-1] if self.stands and not self.stands[-1].ended else None

    def event(self, event: Event) -> Stand | None:
        if event.kind == "dial":
            return self._turn(int(event.data["weight"]), event.at, str(event.data.get("reason", "")).startswith("step"))
        if event.kind == "canary_state":
            return self._state(event)
        if event.kind == "stable":
            self.sick = str(event.data["sentence"])
        stand = self.now
        if stand and event.kind == "interval":
            stand.candidate.add(event.data.get("candidate", {}))
            stand.stable.add(event.data.get("stable", {}))
        elif stand and event.kind == "gate":
            stand.gates[str(event.data["name"])] = event.data
        return None

    def _turn(self, weight: int, at: float, step: bool) -> Stand | None:
        """A `step` at 0 % has testers, or copies of requests."""
        stand = self.now
        if stand and stand.weight == weight and not (step and not weight):
            return None  # a renewal
        if stand:
            stand.close("good" if weight > stand.weight or step else "turned back", at)
        if weight or step:
            self.stands.append(Stand(weight, at))
        return stand

    def _state(self, event: Event) -> Stand | None:
        self.state = str(event.data["state"])
        self.reason = str(event.data.get("reason") or self.reason)
        stand = self.now
        if stand and self.state == "baking":
            stand.verdict = "baking"
        if stand and self.state in ("good", "rolling_back", "rolled_back", "failed", "fenced"):
            stand.close(self.state if self.state in ("good", "failed", "fenced") else "turned back", event.at)
            return stand
        return None

    @property
    def came_to(self) -> str:
        """What it came to in a few words; "" while nobody can say."""
        if self.state == "rolled_back":
            return f"{self.before} has all traffic" if self.before else "turned back"
        return "all traffic, observed good" if self.state == "good" else ""

    @property
    def kept(self) -> bool:
        """It failed after it was promoted, and nothing took the traffic back: somebody has to decide."""
        return self.state == "failed" and bool(self.stands) and self.stands[-1].weight == WHOLE

    @property
    def why(self) -> str:
        """Why it didn't end well, unless a gate has said that already; "" of one that did, or hasn't ended."""
        said = any(self.reason in stand.evidence() for stand in self.stands)
        return self.reason if self.state in ("rolled_back", "failed", "rolling_back") and not said else ""

    @property
    def title(self) -> str:
        hosts = f", {humane.counted(len(self.hosts), 'host')}" if self.hosts else ""
        return f"{self.service} {self.version} -> slot {self.slot}{hosts}"
