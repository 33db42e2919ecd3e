"""Taking the old slot down, long after the rollout: compiled before it begins, done by the slots' hosts alone, or by
the guard of a cluster.

Each waits `keep_warm` and looks whether the router's token is still the promotion's. A rollback or another release has
raised it, and then the slot has traffic or is about to have some: nothing is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ciflow.diagnostics import TargetError
from ciflow.encoding import decode_operation
from ciflow.model import Compile, Note, Operation
from ciflow.rollout.routers.dial import Asked, Router, RouterError
from ciflow.rollout.spec import Spec


class Retirement:
    """The `retire` tasks of one release."""

    def __init__(self, spec: Spec, routers: Sequence[Router]) -> None:
        self.spec = spec
        self.routers = {router.host: router for router in routers}
        self.places: Mapping[str, tuple[Operation, ...]] = {}

    def compile(self, variables: Mapping[str, Any]) -> Asked[None]:
        """Before anything is touched: a task that can't be done alone is refused now."""
        if not self.spec.retire:
            return
        reply = yield Compile(self.spec.retire, variables)
        places = reply.data["places"]
        self.places = {place: tuple(decode_operation(one) for one in encoded) for place, encoded in places.items()}
        for place, operations in self.places.items():
            self._router(place).may_leave(place, operations)

    def call_off(self) -> Asked[None]:
        """What a release before has left waiting is not to touch a slot of this one."""
        for place in self.places:
            yield from self._router(place).call_off(place)

    def arm(self, slot: str, token: int) -> Asked[None]:
        """From here on the hosts are alone with it. One that can't be told keeps its slot, which is said."""
        for place, operations in self.places.items():
            try:
                yield from self._router(place).leave(place, operations, token, self.spec.keep_warm)
            except (RouterError, TargetError) as error:
                yield Note("warning", {"message": error.message, "help": f"slot {slot} stays there until you stop it"})
        if self.places:
            told = {"service": self.spec.service, "slot": slot, "after": self.spec.keep_warm}
            yield Note("retire", {**told, "places": sorted(self.places)})

    def _router(self, place: str) -> Router:
        """The one beside that place; else any, which says what is wrong with it, or that the place is no matter."""
        return self.routers.get(place.partition(" as ")[0]) or next(iter(self.routers.values()))
