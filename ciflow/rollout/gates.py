"""The gates of a playbook as values, and alpha split over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, cast

from ciflow.dataclass import dataclass, field
from ciflow.rollout.thresholds import Threshold

Kind = Literal["errors", "latency", "slo", "query"]

DEFAULT_ALPHA = 0.01
"""Chance that a release which is not worse than tolerated is rolled back by any of its gates."""

THRESHOLD_KEYS = frozenset(f.name for f in fields(Threshold))
OWN_KEYS: Mapping[Kind, frozenset[str]] = {
    "errors": frozenset({"name", "tolerate", "detect", "floor", "of"}),
    "latency": frozenset({"name", "tolerate", "detect", "floor", "slower_than"}),
    "slo": frozenset({"name", "objective", "detect", "source"}),
    "query": frozenset({"name", "source"}) | THRESHOLD_KEYS,
}


@dataclass(frozen=True, slots=True)
class Gate:
    """What one gate asks.

    `tolerate` and `detect` are odds ratios of candidate to stable: up to the first nothing is wrong, a fault of
    the second must have had its chance to show before a hold is good. `floor` (share, 0 for none): below it the
    candidate is good whatever stable does. `edges` are latencies in seconds. `objective` is an slo's share of
    good events. `of` names counters of its own instead of the router's errors. `source` is what the gate asks of
    providers, by candidate slot: {slot: {provider: options}}, for an slo {slot: {bad and total: {provider: ..}}}.
    `by_user` counts users instead of requests, each once, so that events are independent; otherwise E^(1/phi).
    `private`: what it asks holds a secret, which stays on the controller."""

    name: str
    kind: Kind
    alpha: float = DEFAULT_ALPHA
    tolerate: float = 1.25
    detect: float = 5.0
    floor: float = 0.005
    edges: tuple[float, ...] = ()
    objective: float = 0.0
    of: str = ""
    by_user: bool = False
    threshold: Threshold | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    private: bool = False

    def __post_init__(self) -> None:
        if self.kind == "query":
            return
        if not 0 < self.alpha < 1:
            raise ValueError(f"gate {self.name}: alpha must lie between 0 and 1, not {self.alpha}")
        if not 0 < self.tolerate < self.detect:
            raise ValueError(f"gate {self.name}: detect {self.detect} must be greater than tolerate {self.tolerate}")
        if not 0 <= self.floor < 1:
            raise ValueError(f"gate {self.name}: floor is a share between 0 and 1, not {self.floor}")
        if self.kind == "latency" and (not self.edges or min(self.edges) <= 0):
            raise ValueError(f"gate {self.name}: slower_than needs latencies above 0, in seconds")
        if self.kind == "slo" and not 0 < self.objective < 1:
            raise ValueError(f"gate {self.name}: the objective is a share such as 99.9%, not {self.objective}")


def gates_from(
    config: Sequence[Mapping[str, Any]], alpha: float = DEFAULT_ALPHA, *, services: int = 1, by_user: bool = False
) -> tuple[Gate, ...]:
    """The gates of a canary's `gates:` list, in order.

    `alpha` is the whole release's; it is split evenly over the statistical gates of all its `services` (Bonferroni).
    `by_user`: the router counts users, which an objective is not about. ValueError names what can't be understood;
    the schema has said so with its place before."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha:g}")
    entries = [_entry(item) for item in config]
    judged = sum(kind != "query" for kind, _ in entries) * max(1, services)
    part = alpha / judged if judged else alpha
    gates: list[Gate] = []
    for kind, options in entries:
        name = _unused(str(options.get("name", kind)), [gate.name for gate in gates])
        gates.append(_gate(name, kind, options, part, by_user))
    return tuple(gates)


def share(value: object) -> float:
    """A share in [0, 1] from a number, or from text such as `99.9%`."""
    text = str(value).strip()
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def _entry(item: Mapping[str, Any]) -> tuple[Kind, Mapping[str, Any]]:
    if len(item) != 1:
        raise ValueError(f"a gate is one of {', '.join(OWN_KEYS)} with its options, not {sorted(item)}")
    ((name, options),) = item.items()
    kind = next((known for known in OWN_KEYS if known == name), None)
    if kind is None:
        raise ValueError(f"unknown gate {name}; there are {', '.join(OWN_KEYS)}")
    if kind == "slo" and not isinstance(options, Mapping):
        return kind, {"objective": options}
    given: Mapping[str, Any] = options or {}
    unknown = set(given) - OWN_KEYS[kind]
    if unknown:
        raise ValueError(f"gate {kind}: unknown option {', '.join(sorted(unknown))}")
    return kind, given


def _gate(name: str, kind: Kind, options: Mapping[str, Any], alpha: float, by_user: bool) -> Gate:
    detect = float(options.get("detect", 5.0))
    if kind == "query":
        rule = Threshold(**{key: options[key] for key in THRESHOLD_KEYS & set(options)})
        return Gate(name, kind, threshold=rule, source=options.get("source", {}))
    if kind == "slo":
        queries = options.get("source", {})
        return Gate(
            name,
            kind,
            alpha,
            tolerate=1.0,
            detect=detect,
            floor=0.0,
            objective=share(options["objective"]),
            of=name if queries else "",
            source=queries,
        )
    return Gate(
        name,
        kind,
        alpha,
        float(options.get("tolerate", 1.25)),
        detect,
        share(options.get("floor", 0.005)),
        edges=tuple(sorted(float(edge) for edge in cast("Sequence[Any]", options.get("slower_than", ())))),
        of=str(options.get("of", "")),
        by_user=by_user and not options.get("of"),
    )


def _unused(name: str, taken: Sequence[str]) -> str:
    """The name, or with the first number that makes it differ from those taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
