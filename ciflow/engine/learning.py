"""Facts of hosts: read when the play begins, or when a template asks for one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ciflow.engine.drive import Chain
from ciflow.engine.lane import FACTS_AT_START
from ciflow.engine.names import facts_asked
from ciflow.engine.result import HostFailed
from ciflow.engine.task import TaskRun
from ciflow.model import Become, Node, Play, Task, Value
from ciflow.plan.compile import tasks_of

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun

EVERYTHING = frozenset(["ansible_facts"])


async def gather_facts(stage: StageRun, nodes: tuple[Node, ...], lanes: list[Lane]) -> None:
    """Read the hosts' facts first: all where the play says so, else those that templates plainly ask for."""
    wanted = [lane for lane in lanes if not lane.values.facts_known and lane.state == "ok"]
    said = stage.play.gather_facts
    at_start = stage.run.options.gathering == "implicit" if said is None else said
    names = EVERYTHING if at_start else facts_asked(stage.play, nodes)
    if wanted and names:
        await asyncio.gather(*(_facts_first(stage, lane, names) for lane in wanted))


async def _facts_first(stage: StageRun, lane: Lane, names: frozenset[str]) -> None:
    try:
        async with stage.room(lane):
            if subsets := _lacking(lane, names):
                await _facts_of(stage, lane, subsets)
    except HostFailed as failure:
        stage.host_failed(lane, failure)


async def learn_facts(stage: StageRun, lane: Lane, names: frozenset[str]) -> bool:
    """Read the facts of a host that `names` are among, or when it has them, those of the other hosts of this batch,
    whose facts it asks for; or what is left of all facts, where they are not among these. False when nothing is left to
    read. Raises HostFailed."""
    others = [*map(stage.own_lane, stage.own(stage.batch))]
    for asked in (names, EVERYTHING):
        for lanes in ([lane], others):
            lacking = [(one, subsets) for one in lanes if (subsets := _lacking(one, asked))]
            if lacking:
                await asyncio.gather(*(_facts_of(stage, one, subsets) for one, subsets in lacking))
                return True
    return False


def _lacking(lane: Lane, names: frozenset[str]) -> frozenset[str]:
    """The subsets of facts that `names` are in and that have not been read; all of them where no name says so, where
    `ansible_facts` is read whole, and where the play says itself which are to be read."""
    from ciflow.modules.facts import SUBSETS, subset_of

    if lane.values.facts_known:
        return frozenset()
    every = frozenset(SUBSETS)
    if "gather_subset" in lane.stage.play.facts:
        return every
    named = frozenset() if names & EVERYTHING else frozenset(filter(None, map(subset_of, names)))
    return (named or every) - lane.values.subsets


async def _facts_of(stage: StageRun, lane: Lane, subsets: frozenset[str]) -> None:
    """Once for each host, however many of its tasks ask."""
    from ciflow.modules.facts import SUBSETS

    play = stage.play
    some = sorted(subsets) if subsets < frozenset(SUBSETS) else []
    args = {**play.facts, **({"gather_subset": some if "min" in some else [*some, "!min"]} if some else {})}
    task = Task("Gather facts", "setup", args, play.span, (FACTS_AT_START, *some), become=_reader(play),
                environment=tuple(_each_alone(play.environment)))  # fmt: skip
    if lane.learning is None:
        stage.announce(lane, task, task.path)
        run = TaskRun(lane, task, replace(lane.key, path=task.path), Chain(), None)
        lane.learning = asyncio.get_running_loop().create_task(run.run())
    result = await asyncio.shield(lane.learning)
    lane.learning = None
    if result.bad:
        raise HostFailed(task, result, replace(lane.key, path=task.path))


def _reader(play: Play) -> Become:
    """As whom facts are read: as the play says, where it asks for them. Elsewhere as its first task runs, which may be
    what makes the user of the others."""
    first = None if play.gather_facts else next(tasks_of(play.tasks), None)
    return play.become if first is None else first.become


def _each_alone(environment: tuple[Value, ...]) -> Iterator[Value]:
    """Each variable by itself: one that asks for a fact has none yet, and takes no other with it."""
    for layer in environment:
        yield from ({name: value} for name, value in layer.items()) if isinstance(layer, Mapping) else (layer,)
