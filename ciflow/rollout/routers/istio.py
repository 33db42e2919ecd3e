"""An Istio VirtualService as a router: weights of its HTTP routes' destinations.

Istio writes no status that says which proxies have a change: what the API server has is what is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.rollout.routers.dial import Slot
from ciflow.rollout.routers.kube_objects import Ref
from ciflow.rollout.routers.weighted import Values, WeightedRouter, weighted_settings


@dataclass(frozen=True, slots=True)
class IstioRouter(WeightedRouter):
    """See `dial.Router`."""

    kind: ClassVar[str] = "istio"
    rules: ClassVar[str] = "http"
    backends: ClassVar[str] = "route"
    named: ClassVar[tuple[str, ...]] = ("destination", "host")
    unsaid: ClassVar[int] = 0

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (Ref("networking.istio.io/v1", "VirtualService", "virtualservices", self.settings.name),)

    def example(self) -> str:
        weights = ((self.slots["a"], 100), (self.slots["b"], 0))
        routes = [
            f"{{destination: {{host: {slot.address}, port: {{number: {slot.port}}}}}, weight: {weight}}}"
            for slot, weight in weights
        ]
        return f"""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {self.settings.name}}}
spec:
  hosts: [{self.service}]
  http:
    - route: [{", ".join(routes)}]"""

    def means(self, destination: Values, slot: Slot) -> bool:
        """By its short name, or a longer one that begins with it, as DNS has it. A subset of a Service is no slot."""
        where = destination.get("destination") or {}
        host, port = str(where.get("host", "")), (where.get("port") or {}).get("number")
        named = host == slot.address or host.startswith(f"{slot.address}.")
        return named and not where.get("subset") and port in (None, slot.port)

    def asks_for(self, match: Values, name: str, value: str) -> bool:
        headers = {str(key).lower(): rule for key, rule in (match.get("headers") or {}).items()}
        return bool((headers.get(name.lower()) or {}).get("exact") == value)

    def testers_match(self, name: str, value: str) -> str:
        return f'match: [{{headers: {{{name.lower()}: {{exact: "{value}"}}}}}}], before the others'


def build(
    settings: Mapping[str, Any],
    service: str,
    slots: Mapping[str, Slot],
    host: str,
    edges: tuple[float, ...],  # noqa: ARG001
    by: str,
) -> IstioRouter:
    """From `router: {istio: {name: .., namespace: ..}}`."""
    return IstioRouter(service, host, slots, weighted_settings("istio", settings, service, slots, by))
