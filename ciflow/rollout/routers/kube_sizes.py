"""How many pods the slots have while a release is under way.

The candidate has as many as its share of the traffic takes before it gets it, and the old slot keeps as many as it had
until there is no way back to it any more: a rollback must not meet too few. What an autoscaler governs is left to it,
and only the least that it may come to is raised; of a Deployment without one the replicas are.

What was raised says so in an annotation, with what it was before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Reply
from ciflow.rollout.routers.dial import WHOLE, Asked, done
from ciflow.rollout.routers.kube_asks import Asks
from ciflow.rollout.routers.kube_lease import PAUSE, Errand
from ciflow.rollout.routers.kube_objects import Ref, Thing, noted, pointer, put, right, same

SCALERS = {"api_version": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
SLICE = 2.0  # seconds between two signs of life while pods are waited for


@dataclass(frozen=True, slots=True)
class _Size:
    """Where the size of one slot stands: an autoscaler's least, or a Deployment's own replicas."""

    ref: Ref
    thing: Thing
    field: str  # of `spec`
    most: int

    @property
    def scaled(self) -> bool:
        """Whether an autoscaler governs it."""
        return self.field == "minReplicas"

    @property
    def now(self) -> int:
        return int(self.thing["spec"].get(self.field, 1))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one service: the Deployment of each slot. `surge` is how many more pods than its share the candidate has, as a
    part of them; `timeout` (seconds) how long new ones may take."""

    service: str
    asks: Asks
    deployments: Mapping[str, str]
    surge: float = 0.0
    timeout: float = 120.0

    @property
    def note(self) -> str:
        return f"size.ciflow-{self.service}"

    def ref(self, slot: str) -> Ref:
        return Ref("apps/v1", "Deployment", "deployments", self.deployments[slot])

    def raised(self, live: str, candidate: str, weight: int, *, first: bool) -> Asked[int]:
        """Before `candidate` gets `weight` (hundredths of a percent): the pods that it is to have. `first`: all traffic
        is still on `live`, so what that has now is what it is to keep."""
        scalers = yield from self._scalers()
        stable = yield from self._deployment(live)
        pods = int(stable["spec"].get("replicas", 1))
        old = self._size(live, stable, scalers)
        if old.scaled:
            told = _told(old.thing, self.note)
            pods = max(pods, told.get("set", 0))
            if first or not told:
                yield from self._raise(old, pods)
        wanted = max(1, ceil(pods * weight / WHOLE * (1 + self.surge)))
        new = self._size(candidate, (yield from self._deployment(candidate)), scalers)
        wanted = min(wanted, new.most)
        yield from self._raise(new, wanted)
        return wanted

    def wait(self, candidate: str, pods: int) -> Asked[Reply]:
        """Look for a moment whether the candidate has so many pods."""
        condition = {"path": ["status", "availableReplicas"], "least": pods}
        return (yield from self.asks.wait(self.ref(candidate), SLICE, PAUSE, condition))

    def lacking(self, candidate: str, pods: int, reply: Reply) -> None:
        """Raise RouterError: they did not come."""
        what = f"waiting for {pods} pods of {self.ref(candidate)}, which its share of the traffic takes,"
        help = "The dial was not turned. Is there room for them, and does the quota allow them?"
        done(reply, what, str(self.asks.place), help=help)

    def let_go(self, live: str) -> Asked[list[Errand]]:
        """What puts back what was raised. Of a Deployment that serves everybody by now nothing is taken away."""
        scalers = yield from self._scalers()
        found = []
        for slot in sorted(self.deployments):
            reply = yield self.asks.probe("read", self.ref(slot).words)
            for thing in reply.data.get("objects", ()) if reply.ok else ():
                size = self._size(slot, thing, scalers)
                text = noted(size.thing, self.note)
                namespace = str(thing["metadata"]["namespace"])
                if text is not None:
                    keeps = slot == live and not size.scaled
                    patch = list(self._back(size, text, keeps=keeps))
                    path = size.ref.path.replace("{namespace}", namespace)
                    found.append(Errand(path, right(size.ref, "patch"), patch))
        return found

    def replaced(self, slot: str, token: int) -> Asked[Errand]:
        """What ends all pods of a slot, one by one, each when another has come for it: a new template."""
        thing = yield from self._deployment(slot)
        notes = ("spec", "template", "metadata", "annotations")
        had = thing["spec"]["template"]["metadata"].get("annotations")
        patch = [*([] if had else [put({}, *notes)]), put(str(token), *notes, "drained.ciflow")]
        ref = self.ref(slot)
        return Errand(ref.path.replace("{namespace}", thing["metadata"]["namespace"]), right(ref, "patch"), patch)

    # --- private -----------------------------------------------------------------------------------------

    def _scalers(self) -> Asked[Mapping[str, Thing]]:
        """Autoscalers by the name of the Deployment that they govern."""
        things = yield from self.asks.all(SCALERS, "autoscalers")
        targets = ((thing["spec"]["scaleTargetRef"], thing) for thing in things)
        return {str(target["name"]): thing for target, thing in targets if target.get("kind") == "Deployment"}

    def _deployment(self, slot: str) -> Asked[Thing]:
        help = "`deployments` of the router names the Deployment of each slot."
        (thing,) = yield from self.asks.read((self.ref(slot),), help)
        return thing

    def _size(self, slot: str, deployment: Thing, scalers: Mapping[str, Thing]) -> _Size:
        scaler = scalers.get(self.deployments[slot])
        if scaler is None:
            return _Size(self.ref(slot), deployment, "replicas", 1 << 30)
        name = str(scaler["metadata"]["name"])
        ref = Ref(SCALERS["api_version"], SCALERS["kind"], "horizontalpodautoscalers", name)
        return _Size(ref, scaler, "minReplicas", int(scaler["spec"]["maxReplicas"]))

    def _raise(self, size: _Size, pods: int) -> Asked[None]:
        """To at least `pods`. Nothing is ever made less."""
        told = _told(size.thing, self.note)
        pods = min(pods, size.most)
        if size.now >= pods and told.get("set") in (None, size.now):
            return
        was = told["was"] if told.get("set") == size.now else size.now
        text = json.dumps({"was": was, "set": max(pods, size.now)})
        yield from self.asks.set(size.ref, size.thing, self.note, text, [put(max(pods, size.now), "spec", size.field)])

    def _back(self, size: _Size, text: str, *, keeps: bool) -> Iterator[dict[str, Any]]:
        """A patch that does nothing where somebody else has set another size."""
        told = json.loads(text)
        yield same(text, "metadata", "annotations", self.note)
        yield same(told["set"], "spec", size.field)
        if not keeps:
            yield put(told["was"], "spec", size.field)
        yield {"op": "remove", "path": pointer("metadata", "annotations", self.note)}


def _told(thing: Thing, note: str) -> dict[str, int]:
    """What the annotation says: `was` and `set`, or nothing."""
    told: dict[str, int] = json.loads(noted(thing, note) or "{}")
    return told
