"""What a rollout writes down for people: its states, the dial, the gates, and how it began."""

from __future__ import annotations

from typing import Any

from ciflow.model import Note
from ciflow.rollout.dials import Dials
from ciflow.rollout.judge import Verdict
from ciflow.rollout.routers.dial import Asked
from ciflow.rollout.spec import Spec
from ciflow.rollout.tally import gate_data


class Notes:
    """Notes of one release."""

    def __init__(self, spec: Spec, dials: Dials) -> None:
        self._spec = spec
        self._dials = dials
        self._names = {"service": spec.service, "version": spec.version}

    def state(self, state: str, step: int, reason: str, weight: int | None) -> Asked[None]:
        data = {"state": state, "step": step, "weight": weight, "reason": reason}
        yield Note("canary_state", {**self._names, **data})

    def wanted(self, weight: int, reason: str) -> Asked[None]:
        """Before each turn: what is meant."""
        yield Note("dial_wanted", self._dial(weight, reason))

    def turned(self, weight: int, reason: str, verified: bool | None = None) -> Asked[None]:
        data = {**self._dial(weight, reason), "share": self._dials.share, "verified": verified}
        yield Note("dial", {**self._names, **data})

    def gates(self, verdict: Verdict, step: int, weight: int) -> Asked[None]:
        for gate in verdict.gates:
            yield Note("gate", {**self._names, **gate_data(gate, step, weight)})

    def stable(self, sentence: str) -> Asked[None]:
        """That stable itself has begun to fail, or with no sentence that it does no more."""
        yield Note("stable", {**self._names, "sick": bool(sentence), "sentence": sentence})

    def start(self) -> Asked[None]:
        spec, dials = self._spec, self._dials
        data = {
            "slot": dials.candidate,
            "live": dials.live,
            "from": dials.before.version,
            "token": dials.token,
            "first": not dials.live,
            "router": spec.router,
            "settings": dict(spec.settings),
            "slots": {name: {"address": s.address, "port": s.port} for name, s in spec.slots.items()},
            "edges": list(spec.edges),
            "by": spec.by,
            "hosts": [router.host for router in dials.routers],
            "steps": [step.weight for step in spec.climb],
            "way": [[step.weight, step.hold, step.min_requests] for step in spec.climb],
            "times": {
                "warm_up": spec.warm_up, "bake": spec.bake, "deadline": spec.deadline, "dead_man": spec.dead_man,
            },
        }  # fmt: skip
        yield Note("canary_started", {**self._names, **data})

    def way(self) -> str:
        """`5 % -> 50 % -> 100 %`."""
        shares = [f"mirror {s.mirror / 100:g} %" if s.mirror else f"{s.weight / 100:g} %" for s in self._spec.climb]
        return " -> ".join((*shares, "100 %"))

    def _dial(self, weight: int, reason: str) -> dict[str, Any]:
        return {"weight": weight, "slot": self._dials.candidate, "reason": reason, "token": self._dials.token,
                "mirror": self._dials.mirror}  # fmt: skip
