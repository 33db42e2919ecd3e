"""`run_once`: the first host runs a task, all get its result; with shards, the first host of the first of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ciflow.engine.include import Found, included
from ciflow.engine.result import HostEnded, Result
from ciflow.engine.task import TaskRun
from ciflow.lang.roles import flat
from ciflow.model import Task, Template

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun


class Once:
    """Those tasks of one batch of a stage."""

    def __init__(self, stage: StageRun) -> None:
        self._stage = stage
        self._jobs: dict[tuple[str, ...], asyncio.Task[Result]] = {}
        self._included: dict[tuple[str, ...], asyncio.Task[list[Found]]] = {}

    def holds_for(self, lane: Lane, task: Task) -> bool:
        """`pause` stops all hosts at once, one person answering for all; a host is added once, whoever gets there."""
        return (
            task.run_once is True
            or task.module in ("pause", "add_host")
            or (isinstance(task.run_once, Template) and lane.at_once(task.run_once, task) is True)
        )

    async def run(self, task: Task, path: tuple[str, ...], run: TaskRun) -> Result:
        """The first host runs it, all get its result."""
        leader = self._jobs.get(path)
        if leader is None:
            leader = self._jobs[path] = asyncio.get_running_loop().create_task(self._first(task, path, run))
            return await leader
        return self._handed(task, run, await leader)

    def _handed(self, task: Task, run: TaskRun, result: Result) -> Result:
        """The result of another host's run is this one's."""
        run.chain.close(None)
        run.lane.take_in(task, result)
        return result

    async def _first(self, task: Task, path: tuple[str, ...], run: TaskRun) -> Result:
        if self._stage.shard is None:
            return await self._stage.limited(task, run)
        if not self._stage.shard.leads(path):
            return self._handed(task, run, await self._stage.shard.result(path))
        try:
            result = await self._stage.limited(task, run)
        except HostEnded:
            self._stage.shard.publish(path, None)
            raise
        self._stage.shard.publish(path, result)
        return result

    async def included(self, lane: Lane, task: Task, prefix: tuple[str, ...]) -> list[Found]:
        """What an include of `run_once` stands for: the first host reads it. The others are told of those of its tasks
        that run once themselves, for their results are everybody's, and pass by all else."""
        path = (*prefix, *task.path)
        if path not in self._included:
            self._included[path] = asyncio.get_running_loop().create_task(included(lane, task, prefix))
            return await self._included[path]
        found = await self._included[path]
        return [(nodes, at) for nodes, at in found if all(self.holds_for(lane, one) for one in flat(nodes))]
