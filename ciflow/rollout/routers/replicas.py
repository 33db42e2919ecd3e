"""Two Deployments behind one Service as a router, where there is no other: the share is the ratio of their replicas.

That is approximate: a share is as near as whole pods come, and the Service spreads connections, not requests. The slot
that has no traffic has no pods, so a way back takes as long as pods take to start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.rollout.routers.dial import WHOLE, Asked, Dial, RouterError, Slot, done
from ciflow.rollout.routers.kube import KubeRouter, as_text
from ciflow.rollout.routers.kube_lease import PAUSE, Held
from ciflow.rollout.routers.kube_objects import Patch, Ref, Thing, put
from ciflow.rollout.routers.kube_settings import SETTINGS, kube_settings
from ciflow.rollout.routers.settings import not_sticky, only

AUTOSCALER = {"api_version": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}


@dataclass(frozen=True, slots=True)
class ReplicasRouter(KubeRouter):
    """See `dial.Router`. `replicas` is how many pods both slots have together, `timeout` (seconds) how long new ones
    may take to be ready."""

    replicas: int
    timeout: float

    kind: ClassVar[str] = "replicas"

    @property
    def refs(self) -> tuple[Ref, ...]:
        """The Service, which nobody makes anew, holds the dial."""
        pods = [Ref("apps/v1", "Deployment", "deployments", self.slots[slot].address) for slot in ("a", "b")]
        return (Ref("v1", "Service", "services", self.settings.name), *pods)

    def example(self) -> str:
        name, a, b = self.settings.name, self.slots["a"].address, self.slots["b"].address
        return f"""apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: {self.slots["a"].port}}}]}}
# and Deployments {a} and {b} with `replicas: 0`, whose pods have the label app: {name}"""

    def own_paths(self, ref: Ref) -> tuple[str, ...]:
        return () if ref.kind == "Service" else (".spec.replicas",)

    def pods(self, share: int) -> tuple[int, int]:
        """Of slot a and slot b: as near as whole pods come, and at least one of each that is to have traffic."""
        b = round(share * self.replicas / WHOLE)
        b = max(1, b) if share else b
        b = min(self.replicas - 1, b) if share < WHOLE else b
        return self.replicas - b, b

    def share(self, things: Sequence[Thing], safe: int) -> int:
        """What was asked for, while the pods are as that asks; else what they come to."""
        a, b = (int(thing["spec"].get("replicas", 1)) for thing in things[1:])
        dial = self._noted_dial(things[0])
        if dial is not None and (a, b) == self.pods(dial.share):
            return dial.share
        return round(b * WHOLE / (a + b)) if a + b else safe

    def moves(self, things: Sequence[Thing], to: Dial) -> list[Patch]:  # noqa: ARG002 - whatever they have now
        return [[], *([put(count, "spec", "replicas")] for count in self.pods(to.share))]

    def prepare(self, first: Dial) -> Asked[Dial]:
        """No autoscaler may change what the share is made of."""
        reply = yield self._probe("read", AUTOSCALER)
        scalers = done(reply, "looking for autoscalers", self.where).data["objects"]
        targets = {one["spec"]["scaleTargetRef"]["name"]: one["metadata"]["name"] for one in scalers}
        for slot in self.slots.values():
            if slot.address in targets:
                raise RouterError(
                    f"HorizontalPodAutoscaler {targets[slot.address]} changes the replicas of {slot.address}, "
                    "which are the share of the router replicas",
                    help="Take gateway-api, ingress-nginx or istio, which leave replicas alone.",
                )
        return (yield from KubeRouter.prepare(self, first))

    def _reachable(self, to: Dial) -> Asked[None]:  # noqa: ARG002
        """Its pods come with the turn, which waits for them."""
        yield from ()

    def _write(self, things: Sequence[Thing], to: Dial, expect: int) -> Asked[None]:
        """More pods first, and fewer only when those are ready."""
        moves = dict(zip(self.refs, self.moves(things, to), strict=True))
        now = dict(zip(self.refs, things, strict=True))
        lead, a, b = self.refs
        wanted = dict(zip((a, b), self.pods(to.share), strict=True))
        grows = sorted((a, b), key=lambda ref: now[ref]["spec"].get("replicas", 1) - wanted[ref])
        for ref in (lead, *grows):
            yield from self._fenced(self.asks.set(ref, now[ref], self.note, as_text(to), moves[ref]), expect)
            if ref == grows[0]:
                ready = {**ref.words, "timeout": self.timeout, "pause": PAUSE}
                done((yield self._probe("wait", ready)), f"waiting for the pods of {ref}", self.where)

    def _ready(self, slot: str) -> list[Held]:  # noqa: ARG002
        """A pod that is not ready gets no traffic from the one Service."""
        return []

    def answers(self, slot: Slot) -> Asked[bool]:
        """It is there to be scaled up."""
        ref = next(ref for ref in self.refs[1:] if ref.name == slot.address)
        reply = yield self._probe("read", ref.words)
        return reply.ok and bool(reply.data.get("objects"))


def build(
    settings: Mapping[str, Any],
    service: str,
    slots: Mapping[str, Slot],
    host: str,
    edges: tuple[float, ...],  # noqa: ARG001
    by: str,
) -> ReplicasRouter:
    """From `router: {replicas: {name: .., replicas: 10}}`."""
    not_sticky("replicas", by)
    only("replicas", settings, (*SETTINGS, "replicas", "timeout"), ("replicas",))
    replicas = int(settings["replicas"])
    if replicas < 2:
        raise Refused(f"`replicas` of router replicas must be at least 2, one for each slot, not {replicas}")
    values = kube_settings("replicas", settings, service, slots)
    return ReplicasRouter(service, host, slots, values, replicas, float(settings.get("timeout", 45.0)))
