"""Taking the old slot down, long after the rollout: compiled before it begins, done by the slots' hosts alone.

Each host's agent waits `keep_warm` and looks whether the router's token is still the promotion's. A rollback or another
release has raised it, and then the slot has traffic or is about to have some: nothing is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ciflow.diagnostics import TargetError
from ciflow.encoding import decode_operation
from ciflow.model import At, Change, Compile, Detached, Note, Operation
from ciflow.rollout.routers.dial import Asked, Router, RouterError, done
from ciflow.rollout.spec import Spec


class Retirement:
    """The `retire` tasks of one release."""

    def __init__(self, spec: Spec, routers: Sequence[Router]) -> None:
        self.spec = spec
        self.routers = {router.host: router for router in routers}
        self.places: Mapping[str, tuple[Operation, ...]] = {}

    @property
    def _key(self) -> str:
        return f"retire-{self.spec.service}"

    def compile(self, variables: Mapping[str, Any]) -> Asked[None]:
        """Before anything is touched: a task that can't be done alone is refused now."""
        if not self.spec.retire:
            return
        for router in self.routers.values():
            router.unclaimed(0)
        reply = yield Compile(self.spec.retire, variables)
        places = reply.data["places"]
        self.places = {place: tuple(decode_operation(one) for one in encoded) for place, encoded in places.items()}
        for place in self.places:
            if _host(place) not in self.routers:
                raise RouterError(
                    f"`retire` can't be done on {_host(place)}: it has no router of {self.spec.service}",
                    help="only beside its router can a host see for itself that the slot has no traffic",
                )

    def call_off(self) -> Asked[None]:
        """What a release before has left waiting is not to touch a slot of this one."""
        for place in self.places:
            step = Detached(key=self._key, verb="cancel")
            done((yield At(place, Change(step))), "calling off what would retire the slot", place)

    def arm(self, slot: str, token: int) -> Asked[None]:
        """From here on the hosts are alone with it. One that can't be told keeps its slot, which is said."""
        for place, operations in self.places.items():
            check = self.routers[_host(place)].unclaimed(token)
            after = max(1.0, self.spec.keep_warm)
            step = Detached(key=self._key, operations=(check, *operations), after=after)
            try:
                done((yield At(place, Change(step))), f"leaving it to {place} to retire slot {slot}", place)
            except (RouterError, TargetError) as error:
                yield Note("warning", {"message": error.message, "help": f"slot {slot} stays there until you stop it"})
        if self.places:
            told = {"service": self.spec.service, "slot": slot, "after": self.spec.keep_warm}
            yield Note("retire", {**told, "places": sorted(self.places)})


def _host(place: str) -> str:
    """`web1 as root` is on web1."""
    return place.partition(" as ")[0]
