"""What a rollout is about, rendered and frozen, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import CanaryStep, Node
from ciflow.rollout.gates import Gate
from ciflow.rollout.routers.dial import WHOLE, Slot


class TurnBack(Exception):
    """Something decided against the candidate; the dial goes back to the live slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One release of one service. Durations in seconds, weights in hundredths of a percent.

    `token` is what the store gave; the controller takes a greater one where a router knows one. `now` is the
    recorded time of the start (Unix seconds): a generator reads no clock.
    """

    service: str
    version: str
    release: str
    who: str
    router: str
    settings: Mapping[str, Any]
    slots: Mapping[str, Slot]
    slot_vars: Mapping[str, Mapping[str, Any]]
    steps: tuple[CanaryStep, ...]
    deploy: tuple[Node, ...]
    verify: tuple[Node, ...]
    retire: tuple[Node, ...] = ()
    gates: tuple[Gate, ...]
    token: int
    now: float
    edges: tuple[float, ...] = ()
    by: str = ""
    interval: float = 5.0
    deadline: float = 7200.0
    dead_man: float = 60.0
    warm_up: float = 30.0
    bake: float = 600.0
    keep_warm: float = 1800.0
    drain: float = 0.0
    sick_for: float = 60.0
    early: bool = False
    on_failure: str = "rollback"
    on_inconclusive: str = "pause"
    replace_warm: bool = False
    check: bool = False
    again: bool = False  # a rollback that has to deploy: what is live now is left for good
    irreversible: tuple[str, ...] = ()  # names of what the release does that can't be undone
    together: bool = False  # other services or clusters are part of the same release: all dials move together

    @property
    def climb(self) -> tuple[CanaryStep, ...]:
        """The steps below 100 %: reaching 100 % is the promotion, not a step."""
        return tuple(step for step in self.steps if step.weight < WHOLE)


@dataclass(frozen=True, slots=True)
class Ended:
    """`result`: promoted, rolled_back, failed (nothing was turned, or a task failed), fenced, planned (check mode),
    lost (a router went away, and its dead-man has the rest to do)."""

    result: str
    reason: str
