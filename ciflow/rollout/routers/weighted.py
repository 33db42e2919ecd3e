"""What a Gateway API HTTPRoute and an Istio VirtualService have in common: rules with weighted destinations.

The list of rules is one value to server-side apply, which would take filters and matches over from their owner; so
weights are moved by a JSON Patch, in every rule that names both slots, which first tests that at each place stands the
Service that it means.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.rollout.routers.dial import WHOLE, Dial, RouterError, Slot
from ciflow.rollout.routers.kube import KubeRouter
from ciflow.rollout.routers.kube_objects import Patch, Ref, Thing, put, same
from ciflow.rollout.routers.kube_settings import SETTINGS, SIZED, KubeSettings, kube_settings
from ciflow.rollout.routers.settings import not_sticky, only, tester

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule that splits between the slots: where it is, where each slot is in it, and for whom it is."""

    at: int
    refs: Mapping[str, tuple[int, int]]  # slot -> (number of its destination, weight)
    testers: bool

    @property
    def share(self) -> int:
        """Of slot b, in hundredths of a percent."""
        a, b = self.refs["a"][1], self.refs["b"][1]
        return round(b * WHOLE / (a + b)) if a + b else 0


@dataclass(frozen=True, slots=True)
class WeightedRouter(KubeRouter):
    """See `dial.Router`. One of these says what its rules and their destinations are called."""

    rules: ClassVar[str] = ""  # of `spec`
    backends: ClassVar[str] = ""  # of a rule
    named: ClassVar[tuple[str, ...]] = ()  # where a destination says its Service
    unsaid: ClassVar[int] = 1  # the weight of one that says none

    @abstractmethod
    def means(self, destination: Values, slot: Slot) -> bool:
        """Whether it is the slot's Service."""

    @abstractmethod
    def asks_for(self, match: Values, name: str, value: str) -> bool:
        """Whether a match asks for that header."""

    @abstractmethod
    def testers_match(self, name: str, value: str) -> str:
        """YAML of such a match."""

    def own_paths(self, ref: Ref) -> tuple[str, ...]:  # noqa: ARG002 - there is but one
        return (f".spec.{self.rules}[].{self.backends}[]?.weight",)

    def share(self, things: Sequence[Thing], safe: int) -> int:
        shares = [rule.share for rule in self._rules(things[0]) if not rule.testers]
        return max(shares, key=lambda share: abs(share - safe))

    def moves(self, things: Sequence[Thing], to: Dial) -> list[Patch]:
        """Testers meet the slot that is not live, whatever the share."""
        patch: Patch = []
        for rule in self._rules(things[0]):
            share = (WHOLE if to.candidate == "b" else 0) if rule.testers else to.share
            destinations = things[0]["spec"][self.rules][rule.at][self.backends]
            for slot, weight in (("a", WHOLE - share), ("b", share)):
                number = rule.refs[slot][0]
                place = ("spec", self.rules, rule.at, self.backends, number)
                patch += [same(self._name(destinations[number]), *place, *self.named), put(weight, *place, "weight")]
        return [patch]

    def _name(self, destination: Values) -> str:
        found: Any = destination
        for name in self.named:
            found = found.get(name) or {}
        return str(found or "")

    def _rules(self, route: Thing) -> list[_Rule]:
        """The rules of the service. Raises RouterError where one names one slot alone, or others beside them."""
        found = []
        for at, rule in enumerate(route["spec"].get(self.rules) or ()):
            refs = dict(self._slots_in(rule))
            if not refs:
                continue
            if set(refs) != set(self.slots) or len(rule[self.backends]) != len(refs):
                names = ", ".join(self._name(one) for one in rule[self.backends])
                raise RouterError(
                    f"rule {at + 1} of {self.refs[0]} splits between {names}",
                    help=f"A rule with a slot has both and nothing else:\n{self.example()}",
                )
            found.append(_Rule(at, refs, self._for_testers(rule)))
        self._enough(found)
        return found

    def _enough(self, found: Sequence[_Rule]) -> None:
        if not any(not rule.testers for rule in found):
            raise RouterError(
                f"{self.refs[0]} in {self.where} has no rule that splits between "
                f"{self.slots['a'].address} and {self.slots['b'].address}",
                help=f"It needs both:\n{self.example()}",
            )
        if self.settings.tester and not any(rule.testers for rule in found):
            raise RouterError(
                f"{self.refs[0]} in {self.where} has no rule for testers",
                help=f"Another rule like the others, with: {self.testers_match(*self.settings.tester)}",
            )

    def _slots_in(self, rule: Values) -> Iterator[tuple[str, tuple[int, int]]]:
        for number, destination in enumerate(rule.get(self.backends) or ()):
            for slot in self.slots.values():
                if self.means(destination, slot):
                    yield slot.name, (number, int(destination.get("weight", self.unsaid)))

    def _for_testers(self, rule: Values) -> bool:
        """Whether each of its matches asks for the testers' header."""
        matches = rule.get("matches") or rule.get("match")
        tester = self.settings.tester
        return tester is not None and bool(matches) and all(self.asks_for(match, *tester) for match in matches or ())


def weighted_settings(
    kind: str, settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot], by: str
) -> KubeSettings:
    """What a router of weights in rules is told. Raises Refused for what it has no word for."""
    not_sticky(kind, by)
    only(kind, settings, (*SETTINGS, *SIZED, "header"), ())
    return replace(kube_settings(kind, settings, service, slots), tester=tester(kind, settings))
