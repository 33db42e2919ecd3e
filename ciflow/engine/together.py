"""Rollouts that are one release: the cells of a canary play's matrix. Their dials move together, or all turn back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ciflow.rollout.controller import Controller

TURNED = ("rolling_back", "rolled_back", "failed", "fenced")  # states of a rollout that takes all others with it


class Together:
    """What each of them hears of the others while it holds. `members` are ids of stages."""

    def __init__(self, members: Iterable[str]) -> None:
        self._members = set(members)
        self._rollouts: dict[str, Controller] = {}
        self._gone: dict[str, str] = {}  # those that ended badly before they had a rollout, and why
        self._left: dict[str, str] = {}

    def join(self, id: str, controller: Controller) -> None:
        """From now on the others see how far it is."""
        self._rollouts[id] = controller

    def leave(self, id: str, why: str) -> None:
        """It waits for somebody to resume it, and its process is to end: so will the others."""
        self._left[id] = why

    def ended(self, id: str, why: str, *, well: bool) -> None:
        """One that ended well, or never was to run, is waited for no longer."""
        self._members.discard(id)
        if not well:
            self._gone[id] = why

    def news(self, id: str, meet: int) -> dict[str, Any]:
        """For one that holds: what an other has done, or that all have come as far as `meet`. See `model.Hold`."""
        own = self._rollouts.get(id)
        if own is not None and own.state in TURNED:
            return {}
        others = {name: rollout for name, rollout in self._rollouts.items() if name != id}
        turned = {name: rollout.why for name, rollout in others.items() if rollout.state in TURNED} or self._gone
        for name, why in turned.items():
            return {"turned_back": f"{name} of the same release did not go well: {why}"}
        for name, why in self._left.items():
            return {"left": f"{name} of the same release is paused: {why}"}
        waited = self._members - {id}
        met = meet and all(name in others and others[name].far >= meet for name in waited)
        return {"met": True} if met else {}
