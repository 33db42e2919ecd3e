"""Ingresses of ingress-nginx as a router: the weight of the one that is slot b's canary, out of 10,000.

Slot a has the Ingress NAME, slot b the Ingress NAME-canary. A promotion of b is its weight at the whole: nothing is
swapped, so one annotation of one object is all that ever moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.rollout.routers.dial import WHOLE, Asked, Dial, RouterError, Slot
from ciflow.rollout.routers.kube import KubeRouter
from ciflow.rollout.routers.kube_objects import Patch, Ref, Thing, noted, put, same
from ciflow.rollout.routers.kube_settings import SETTINGS, SIZED, kube_settings
from ciflow.rollout.routers.settings import not_sticky, only

CANARY = "nginx.ingress.kubernetes.io/canary"
WEIGHT, TOTAL = f"{CANARY}-weight", f"{CANARY}-weight-total"
OTHERS = (f"{CANARY}-by-header", f"{CANARY}-by-cookie")  # which would win over the weight
GROUP = "networking.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class IngressNginxRouter(KubeRouter):
    """See `dial.Router`."""

    kind: ClassVar[str] = "ingress-nginx"

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (Ref(GROUP, "Ingress", "ingresses", f"{self.settings.name}-canary"),)

    @property
    def _main(self) -> Ref:
        return Ref(GROUP, "Ingress", "ingresses", self.settings.name)

    def example(self) -> str:
        slot = self.slots["b"]
        backend = f"{{service: {{name: {slot.address}, port: {{number: {slot.port}}}}}}}"
        return f"""apiVersion: {GROUP}
kind: Ingress
metadata:
  name: {self.refs[0].name}
  annotations: {{{CANARY}: "true", {WEIGHT}: "0", {TOTAL}: "{WHOLE}"}}
spec:  # as in Ingress {self._main.name}, which is slot a's, but for the Service
  ingressClassName: nginx
  rules:
    - host: YOUR-HOST
      http:
        paths: [{{path: /, pathType: Prefix, backend: {backend}}}]"""

    def own_paths(self, ref: Ref) -> tuple[str, ...]:  # noqa: ARG002 - there is but one
        return (f'.metadata.annotations["{WEIGHT}"]',)

    def prepare(self, first: Dial) -> Asked[Dial]:
        """Slot a's Ingress is there as well, for the same paths: without it nobody obeys the other."""
        (main,) = yield from self._read((self._main,), f"{self.kind} needs one for slot a, and:\n{self.example()}")
        (canary,) = yield from self._things()
        self._leads_to(main, self._main, "a")
        if not {way for way, _ in _paths(canary)} <= {way for way, _ in _paths(main)}:
            raise RouterError(
                f"{self.refs[0]} has hosts or paths that {self._main} lacks",
                help="Both must have the same rules, but for the Service.",
            )
        return (yield from KubeRouter.prepare(self, first))

    def share(self, things: Sequence[Thing], safe: int) -> int:  # noqa: ARG002 - there is but one
        thing = things[0]
        self._leads_to(thing, self.refs[0], "b")
        if (
            noted(thing, CANARY) != "true"
            or noted(thing, TOTAL) != str(WHOLE)
            or any(noted(thing, one) for one in OTHERS)
        ):
            raise RouterError(
                f"{self.refs[0]} in {self.where} lacks annotations, or has others that win over the weight",
                help=f'It needs {CANARY}: "true" and {TOTAL}: "{WHOLE}", and none of {", ".join(OTHERS)}.',
            )
        weight = noted(thing, WEIGHT) or "0"
        if not weight.isdecimal():
            raise RouterError(f"{WEIGHT} of {self.refs[0]} is {weight!r}, which is no weight")
        return min(WHOLE, int(weight))

    def moves(self, things: Sequence[Thing], to: Dial) -> list[Patch]:  # noqa: ARG002
        notes = ("metadata", "annotations")
        return [[same(str(WHOLE), *notes, TOTAL), put(str(to.share), *notes, WEIGHT)]]

    def _leads_to(self, thing: Thing, ref: Ref, slot: str) -> None:
        wrong = [name for _, name in _paths(thing) if name != self.slots[slot].address]
        if wrong or not any(True for _ in _paths(thing)):
            raise RouterError(
                f"{ref} in {self.where} must lead to {self.slots[slot].address} and nowhere else, "
                f"not to {', '.join(wrong) or 'nothing'}",
                help=f"{self.kind} needs:\n{self.example()}",
            )


def _paths(ingress: Thing) -> Iterator[tuple[tuple[str, str], str]]:
    """((host, path), Service) of each."""
    for rule in ingress["spec"].get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            service = path["backend"].get("service") or {}
            yield (rule.get("host", ""), path.get("path", "/")), str(service.get("name", ""))


def build(
    settings: Mapping[str, Any],
    service: str,
    slots: Mapping[str, Slot],
    host: str,
    edges: tuple[float, ...],  # noqa: ARG001
    by: str,
) -> IngressNginxRouter:
    """From `router: {ingress-nginx: {name: .., namespace: ..}}`."""
    not_sticky("ingress-nginx", by)
    only("ingress-nginx", settings, (*SETTINGS, *SIZED), ())
    return IngressNginxRouter(service, host, slots, kube_settings("ingress-nginx", settings, service, slots))
