"""`needs:` between plays: each names one that is there, and none waits for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ciflow.diagnostics import Findings
from ciflow.lang.near import did_you_mean
from ciflow.lang.place import Place
from ciflow.model import Play


def check_needs(plays: Sequence[Play], places: Mapping[str, Place], findings: Findings) -> None:
    """`places` has where each play says what it needs, by id; what is wrong goes to the findings."""
    ids = {play.id: play.id for play in plays} | {play.name: play.id for play in plays}
    waits: dict[str, list[str]] = {}
    for play in plays:
        for number, name in enumerate(play.needs or ()):
            if name in ids:
                waits.setdefault(play.id, []).append(ids[name])
                continue
            span = places[play.id].at(number).span
            findings.error("CF0301", f"`needs` names a play that is not there: `{name}`", span,
                           label=did_you_mean(name, ids))  # fmt: skip
    chain = _cycle(_waiting(plays, waits))
    if chain:
        names = {play.id: play.name for play in plays}
        words = " -> ".join(f"`{names[id]}`" for id in chain)
        at = next((places[id].span for id in chain if id in places), None)
        findings.error("CF0302", f"plays need each other: {words}", at)


def _waiting(plays: Sequence[Play], waits: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Plays are taken away as soon as all they need is; what is left waits for itself (Kahn 1962)."""
    left = {play.id: set(waits.get(play.id, ())) for play in plays}
    for before, play in pairwise(plays):
        if play.needs is None:
            left[play.id].add(before.id)
    while ready := [id for id, needed in left.items() if not needed & left.keys()]:
        for id in ready:
            del left[id]
    return left


def _cycle(left: Mapping[str, set[str]]) -> list[str]:
    """One cycle among plays that wait, first and last the same."""
    chain: list[str] = []
    at = next(iter(left), "")
    while at and at not in chain:
        chain.append(at)
        at = next((id for id in left[at] if id in left), "")
    return [*chain[chain.index(at) :], at] if at else []
