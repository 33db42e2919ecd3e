"""A Gateway API HTTPRoute as a router: weights of its backendRefs, in every rule that names both slots.

`rules` is one list to server-side apply, which would take filters and matches over from their owner; so weights are
moved by a JSON Patch, which first tests that at each place stands the Service that it means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.rollout.routers.dial import WHOLE, Asked, Dial, RouterError, Slot, done
from ciflow.rollout.routers.kube import PAUSE, SETTINGS, TAKE, KubeRouter, kube_settings, not_sticky
from ciflow.rollout.routers.kube_objects import Patch, Ref, Thing, put, same
from ciflow.rollout.routers.settings import only, tester

HEAVIEST = 1  # what a backendRef weighs that says nothing (Gateway API, HTTPBackendRef)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule that splits between the slots: where it is, where each slot is in it, and for whom it is."""

    at: int
    refs: Mapping[str, tuple[int, int]]  # slot -> (number of its backendRef, weight)
    testers: bool

    @property
    def share(self) -> int:
        """Of slot b, in hundredths of a percent."""
        a, b = self.refs["a"][1], self.refs["b"][1]
        return round(b * WHOLE / (a + b)) if a + b else 0


@dataclass(frozen=True, slots=True)
class GatewayApiRouter(KubeRouter):
    """See `dial.Router`."""

    kind: ClassVar[str] = "gateway-api"

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (Ref("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", self.settings.name),)

    def example(self) -> str:
        refs = ", ".join(
            f"{{name: {slot.address}, port: {slot.port}, weight: {weight}}}"
            for slot, weight in ((self.slots["a"], 1), (self.slots["b"], 0))
        )
        return f"""apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {self.settings.name}}}
spec:
  parentRefs: [{{name: YOUR-GATEWAY}}]
  rules:
    - backendRefs: [{refs}]"""

    def own_paths(self) -> tuple[str, ...]:
        return (".spec.rules[].backendRefs[]?.weight",)

    def share(self, things: Sequence[Thing], safe: int) -> int:
        shares = [rule.share for rule in self._rules(things[0]) if not rule.testers]
        return max(shares, key=lambda share: abs(share - safe))

    def moves(self, things: Sequence[Thing], to: Dial) -> list[Patch]:
        """Testers meet the slot that is not live, whatever the share."""
        patch: Patch = []
        for rule in self._rules(things[0]):
            share = (WHOLE if to.candidate == "b" else 0) if rule.testers else to.share
            for slot, weight in (("a", WHOLE - share), ("b", share)):
                place = ("spec", "rules", rule.at, "backendRefs", rule.refs[slot][0])
                patch += [same(self.slots[slot].address, *place, "name"), put(weight, *place, "weight")]
        return [patch]

    def taken(self) -> Asked[None]:
        """All Gateways that have the route say that they have this generation of it."""
        ref = self.refs[0]
        words = {**ref.words, "condition": {"type": "Accepted", "status": "True"}, "timeout": TAKE, "pause": PAUSE}
        reply = yield self._probe("wait", words)
        help = "The API server has the new weights; `kubectl describe httproute` says what became of them."
        done(reply, f"waiting for the Gateway of {ref}", self.where, help=help)

    def _rules(self, route: Thing) -> list[_Rule]:
        """The rules of the service. Raises RouterError where one names one slot alone, or others beside them."""
        found = []
        for at, rule in enumerate(route["spec"].get("rules") or ()):
            refs = dict(self._slots_in(rule))
            if not refs:
                continue
            if set(refs) != set(self.slots) or len(rule["backendRefs"]) != len(refs):
                names = ", ".join(one["name"] for one in rule["backendRefs"])
                raise RouterError(
                    f"rule {at + 1} of {self.refs[0]} splits between {names}",
                    help=f"A rule with a slot has both and nothing else:\n{self.example()}",
                )
            found.append(_Rule(at, refs, self._for_testers(rule)))
        if not any(not rule.testers for rule in found):
            raise RouterError(
                f"{self.refs[0]} in {self.where} has no rule that splits between "
                f"{self.slots['a'].address} and {self.slots['b'].address}",
                help=f"It needs both:\n{self.example()}",
            )
        if self.settings.tester and not any(rule.testers for rule in found):
            name, value = self.settings.tester
            raise RouterError(
                f"{self.refs[0]} in {self.where} has no rule for testers",
                help=f'Another rule like it, with: matches: [{{headers: [{{name: {name}, value: "{value}"}}]}}]',
            )
        return found

    def _slots_in(self, rule: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
        for number, ref in enumerate(rule.get("backendRefs") or ()):
            if (ref.get("kind") or "Service") != "Service" or ref.get("namespace"):
                continue
            for slot in self.slots.values():
                if ref["name"] == slot.address and ref.get("port") in (None, slot.port):
                    yield slot.name, (number, int(ref.get("weight", HEAVIEST)))

    def _for_testers(self, rule: Mapping[str, Any]) -> bool:
        """Whether each of its matches asks for the testers' header."""
        if self.settings.tester is None or not rule.get("matches"):
            return False
        name, value = self.settings.tester
        return all(
            any(
                one.get("type", "Exact") == "Exact" and one["name"].lower() == name.lower() and one["value"] == value
                for one in match.get("headers") or ()
            )
            for match in rule["matches"]
        )


def build(
    settings: Mapping[str, Any],
    service: str,
    slots: Mapping[str, Slot],
    host: str,
    edges: tuple[float, ...],  # noqa: ARG001
    by: str,
) -> GatewayApiRouter:
    """From `router: {gateway-api: {name: .., namespace: ..}}`."""
    not_sticky("gateway-api", by)
    only("gateway-api", settings, (*SETTINGS, "header"), ())
    values = replace(kube_settings("gateway-api", settings, service, slots), tester=tester("gateway-api", settings))
    return GatewayApiRouter(service, host, slots, values)
