"""Why a component is in a bill of materials: the chains of dependencies that lead to it."""

from __future__ import annotations

from collections import defaultdict, deque

from ciflow.dataclass import dataclass
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom, Component, Dependency, Relation

MOST_CHAINS = 10


@dataclass(frozen=True)
class Chain:
    """From the subject down to the component; `kinds` say how each but the first is needed by the one before."""

    parts: tuple[Component, ...]
    kinds: tuple[Dependency, ...]


@dataclass(frozen=True)
class Reasons:
    """`chains`: for each direct dependent, the shortest chain through it; `more` are those not shown."""

    component: Component
    chains: tuple[Chain, ...]
    more: int


def explain(bom: Bom, name: str) -> list[Reasons]:
    """Each component of that name (or `name@version`, or purl, or ref), with what brings it in.

    Raises:
        SupplyError: there is none; says what it may have meant.
    """
    found = [part for part in bom.everything() if name in _names(part)]
    if not found:
        from difflib import get_close_matches

        near = get_close_matches(name, {part.name for part in bom.everything()}, n=3)
        raise SupplyError(f"{name} is not in it" + (f"; there is {', '.join(near)}" if near else ""))
    first = _first_reached(bom)
    incoming: defaultdict[str, list[Relation]] = defaultdict(list)
    for relation in bom.relations:
        incoming[relation.target].append(relation)
    parts = {part.ref: part for part in bom.everything()}
    return [_reasons(part, incoming[part.ref], first, parts) for part in found]


def _names(part: Component) -> set[str | None]:
    return {part.name, f"{part.name}@{part.version}", part.purl, part.ref}


def _first_reached(bom: Bom) -> dict[str, Relation | None]:
    """By ref, the relation through which it is reached first, breadth first: shortest chains; cycles end there."""
    outgoing: defaultdict[str, list[Relation]] = defaultdict(list)
    for relation in bom.relations:
        outgoing[relation.source].append(relation)
    reached: dict[str, Relation | None] = {bom.subject.ref: None}
    waiting = deque([bom.subject.ref])
    while waiting:
        for relation in outgoing[waiting.popleft()]:
            if relation.target not in reached:
                reached[relation.target] = relation
                waiting.append(relation.target)
    return reached


def _reasons(
    part: Component, incoming: list[Relation], first: dict[str, Relation | None], parts: dict[str, Component]
) -> Reasons:
    chains = [_chain(relation, first, parts) for relation in incoming if relation.source in first]
    chains.sort(key=lambda chain: (len(chain.parts), [p.ref for p in chain.parts]))
    return Reasons(part, tuple(chains[:MOST_CHAINS]), max(0, len(chains) - MOST_CHAINS))


def _chain(last: Relation, first: dict[str, Relation | None], parts: dict[str, Component]) -> Chain:
    steps = [last]
    while (before := first[steps[-1].source]) is not None:
        steps.append(before)
    steps.reverse()
    refs = [steps[0].source, *(step.target for step in steps)]
    return Chain(tuple(parts[ref] for ref in refs), tuple(step.kind for step in steps))
