"""Facts of hosts: read when the play begins, or when a template asks for one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ciflow.engine.drive import Chain
from ciflow.engine.names import asks_for_facts
from ciflow.engine.result import HostFailed
from ciflow.engine.task import TaskRun
from ciflow.model import Node, Task, Value

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun

FACTS_AT_START = "gather_facts"


async def gather_facts(stage: StageRun, nodes: tuple[Node, ...], lanes: list[Lane]) -> None:
    """Read the hosts' facts first where the play says so, or where a template plainly asks for one."""
    wanted = [lane for lane in lanes if not lane.values.facts_known and lane.state == "ok"]
    said = stage.play.gather_facts
    at_start = stage.run.options.gathering == "implicit" if said is None else said
    if wanted and (at_start or asks_for_facts(stage.play, nodes)):
        await asyncio.gather(*(_facts_first(stage, lane) for lane in wanted))


async def _facts_first(stage: StageRun, lane: Lane) -> None:
    try:
        async with stage.room(lane):
            await learn_facts(stage, lane)
    except HostFailed as failure:
        stage.host_failed(lane, failure)


async def learn_facts(stage: StageRun, lane: Lane) -> bool:
    """Read the facts of a host, or when it has them, those of the other hosts of this batch, whose facts it asks
    for; false when there are none left to read. Raises HostFailed."""
    wanted = [lane] if not lane.values.facts_known else list(map(stage.own_lane, stage.own(stage.batch)))
    wanted = [one for one in wanted if not one.values.facts_known]
    await asyncio.gather(*(_facts_of(stage, one) for one in wanted))
    return bool(wanted)


async def _facts_of(stage: StageRun, lane: Lane) -> None:
    """Once for each host, however many of its tasks ask."""
    play = stage.play
    task = Task("Gather facts", "setup", play.facts, play.span, (FACTS_AT_START,), become=play.become,
                environment=tuple(_each_alone(play.environment)))  # fmt: skip
    if lane.learning is None:
        stage.announce(lane, task, task.path)
        run = TaskRun(lane, task, replace(lane.key, path=task.path), Chain(), None)
        lane.learning = asyncio.get_running_loop().create_task(run.run())
    result = await asyncio.shield(lane.learning)
    lane.learning = None
    if result.bad:
        raise HostFailed(task, result, replace(lane.key, path=task.path))


def _each_alone(environment: tuple[Value, ...]) -> Iterator[Value]:
    """Each variable by itself: one that asks for a fact has none yet, and takes no other with it."""
    for layer in environment:
        yield from ({name: value} for name, value in layer.items()) if isinstance(layer, Mapping) else (layer,)
