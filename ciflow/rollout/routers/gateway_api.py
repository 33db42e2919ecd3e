"""A Gateway API HTTPRoute as a router: weights of its backendRefs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.rollout.routers.dial import Asked, Slot, done
from ciflow.rollout.routers.kube import TAKE
from ciflow.rollout.routers.kube_lease import PAUSE
from ciflow.rollout.routers.kube_objects import Ref
from ciflow.rollout.routers.weighted import Values, WeightedRouter, weighted_settings


@dataclass(frozen=True, slots=True)
class GatewayApiRouter(WeightedRouter):
    """See `dial.Router`."""

    kind: ClassVar[str] = "gateway-api"
    rules: ClassVar[str] = "rules"
    backends: ClassVar[str] = "backendRefs"
    named: ClassVar[tuple[str, ...]] = ("name",)

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (Ref("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", self.settings.name),)

    def example(self) -> str:
        weights = ((self.slots["a"], 1), (self.slots["b"], 0))
        refs = [f"{{name: {slot.address}, port: {slot.port}, weight: {weight}}}" for slot, weight in weights]
        return f"""apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {self.settings.name}}}
spec:
  parentRefs: [{{name: YOUR-GATEWAY}}]
  rules:
    - backendRefs: [{", ".join(refs)}]"""

    def taken(self) -> Asked[None]:
        """All Gateways that have the route say that they have this generation of it."""
        ref = self.refs[0]
        condition = {"type": "Accepted", "status": "True"}
        reply = yield self._probe("wait", {**ref.words, "condition": condition, "timeout": TAKE, "pause": PAUSE})
        help = "The API server has the new weights; `kubectl describe httproute` says what became of them."
        done(reply, f"waiting for the Gateway of {ref}", self.where, help=help)

    def means(self, destination: Values, slot: Slot) -> bool:
        if (destination.get("kind") or "Service") != "Service" or destination.get("namespace"):
            return False
        return bool(destination["name"] == slot.address) and destination.get("port") in (None, slot.port)

    def asks_for(self, match: Values, name: str, value: str) -> bool:
        return any(
            one.get("type", "Exact") == "Exact" and one["name"].lower() == name.lower() and one["value"] == value
            for one in match.get("headers") or ()
        )

    def testers_match(self, name: str, value: str) -> str:
        return f'matches: [{{headers: [{{name: {name}, value: "{value}"}}]}}]'


def build(
    settings: Mapping[str, Any],
    service: str,
    slots: Mapping[str, Slot],
    host: str,
    edges: tuple[float, ...],  # noqa: ARG001
    by: str,
) -> GatewayApiRouter:
    """From `router: {gateway-api: {name: .., namespace: ..}}`."""
    return GatewayApiRouter(service, host, slots, weighted_settings("gateway-api", settings, service, slots, by))
