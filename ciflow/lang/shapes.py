"""What ciflow's own names have in them, as far as that is known before the run, and which members templates read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.lang.template_check import members
from ciflow.model import Canary, Play, Playbook, Template

Shape = Mapping[str, Any]  # each member with the shape of its own; None where nobody knows what is in it
OF_A_ROLLOUT = {"slot": "only the tasks of a play with `canary` have a slot",
                "release": "only the tasks of a play with `canary` know of a release"}  # fmt: skip
_SAID_TO_ALL: Shape = {
    "git": dict.fromkeys(("branch", "sha", "tag", "dirty", "author")),
    "run": dict.fromkeys(("id", "started", "who", "ci")),
}
_NO_AXES = ("include", "exclude", "max_parallel")


def of_plays(playbook: Playbook) -> Shape:
    """What every template of the playbook can read."""
    plays = {play.id: {"outputs": dict.fromkeys(map(str, play.outputs))} for play in playbook.plays}
    return {**_SAID_TO_ALL, "plays": plays}


def of_matrix(play: Play) -> Shape:
    """What the templates of a play can read besides."""
    included = [one for one in play.matrix.get("include") or () if isinstance(one, Mapping)]
    axes = [axis for axis in play.matrix if axis not in _NO_AXES]
    return {"matrix": dict.fromkeys((*axes, *(axis for one in included for axis in one)))}


def of_rollout(canary: Canary) -> Shape:
    """What its tasks can read: the slot that they are about, and what goes into it."""
    release = dict.fromkeys(("service", "version", "id", "slot", "live"))
    return {"slot": _slot(canary, ("name", "address", "port")), "release": release}


def of_questions(canary: Canary) -> Shape:
    """What the questions of its gates can read: both slots."""
    slot = _slot(canary, ("name",))
    return {"slot": slot, "stable": slot, "release": dict.fromkeys(("service", "version"))}


def _slot(canary: Canary, always: tuple[str, ...]) -> Shape | None:
    """A slot's variables: one that only slot a has may well be read in tasks that know which slot they are about."""
    given = [values for values in canary.slots.values() if values]
    if any(not isinstance(values, Mapping) or any(isinstance(name, Template) for name in values) for values in given):
        return None
    return dict.fromkeys((*always, *(name for values in given for name in values)))


@dataclass(frozen=True, slots=True)
class Lack:
    """A member that a name is known not to have: `path` leads to it, `known` are those that there are. `sure`: it is
    read in any case."""

    path: tuple[str, ...]
    known: tuple[str, ...]
    sure: bool


def lacks(template: Template, shapes: Mapping[str, Any]) -> Iterator[Lack]:
    """Members that a template reads of names in `shapes` and that are not there. Methods of mappings (`matrix.items()`)
    are no members."""
    for path, sure in members(template):
        known = _inside(shapes, path[:-1]) if path[0] in shapes else None
        if known is not None and path[-1] not in known and not hasattr(known, path[-1]):
            yield Lack(path, tuple(known), sure)


def _inside(shapes: Mapping[str, Any], path: tuple[str, ...]) -> Shape | None:
    inside: Any = shapes
    for name in path:
        inside = inside.get(name)
        if inside is None:
            return None
    return inside  # type: ignore[no-any-return]
