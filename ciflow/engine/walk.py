"""One host's way through the tasks of a play: order, blocks, and what may be sent ahead.

The barrier is kept by `Pace`. Tasks are started by the stage; this file only decides which comes next and which
may leave before the result of the one before is known.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from ciflow.dataclass import dataclass
from ciflow.engine.drive import Chain
from ciflow.engine.keys import Key
from ciflow.engine.pace import Position
from ciflow.engine.result import HostFailed, Result
from ciflow.model import Block, Node, Task

AHEAD = 64  # tasks in flight in one lane at the most


@dataclass(slots=True)
class Started:
    """A task under way on one host."""

    task: Task
    key: Key
    result: asyncio.Task[Result]
    chain: Chain
    ended: float = 0.0  # by the monotonic clock

    def __post_init__(self) -> None:
        self.result.add_done_callback(self._done)

    def _done(self, _result: asyncio.Task[Result]) -> None:
        self.ended = time.monotonic()

    def then(self, reached: Callable[[], None]) -> None:
        """Call `reached` when this task has gone well, before whoever waits for its result hears of it."""

        def ended(result: asyncio.Task[Result]) -> None:
            if not result.cancelled() and result.exception() is None and not result.result().bad:
                reached()

        self.result.add_done_callback(ended)

    def forget(self) -> None:
        """Nobody waits for it any more; what it sent ahead is dropped by its guard."""
        self.result.add_done_callback(lambda result: result.cancelled() or result.exception())
        self.result.cancel()


class Stage(Protocol):
    """What the walk asks of its stage, for one host."""

    async def pace(self, task: Task, position: Position, before: Task | None) -> bool: ...
    def start(self, task: Task, before: Started | None) -> Started: ...
    async def engine_word(self, task: Task, position: Position, walk: Walk) -> None: ...
    def is_engine_word(self, task: Task) -> bool: ...
    async def settle(self, position: Position, last: Task | None) -> None: ...
    async def flush(self, walk: Walk, position: Position) -> None: ...
    def passes_by(self, task: Task) -> bool: ...
    def may_follow(self, flying: list[Task], task: Task) -> bool: ...
    async def debugged(self, started: Started, result: Result) -> Result: ...
    def rescued(self, failure: HostFailed) -> None: ...
    def failed(self, failure: HostFailed) -> None: ...
    def forgives(self, failure: HostFailed) -> bool: ...


class Walk:
    """Walks nodes in order on one host. Raises HostFailed where a failure is not rescued."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before: Task | None = None

    async def nodes(self, nodes: tuple[Node, ...], at: Position = ()) -> None:
        ahead: list[Started] = []
        try:
            for index, node in enumerate(nodes):
                position = (*at, index)
                if isinstance(node, Block):
                    await self._block(node, position)
                elif not ahead and self._stage.passes_by(node):
                    continue
                elif self._stage.is_engine_word(node):
                    wanted = await self._stage.pace(node, position, self._before)
                    self._before = node
                    if wanted:
                        await self._stage.engine_word(node, position, self)
                else:
                    await self._task(node, nodes[index + 1 :], position, ahead)
        finally:
            for started in ahead:
                started.forget()

    async def settle(self, position: Position) -> None:
        """The end of a list of tasks: whether other hosts' failures are this one's too shows here at the latest."""
        await self._stage.settle(position, self._before)

    async def flush(self, position: Position) -> None:
        """Run the handlers that were notified."""
        await self._stage.flush(self, position)

    async def _task(self, task: Task, later: tuple[Node, ...], position: Position, ahead: list[Started]) -> None:
        """Take the task that was sent ahead, or start it; send more ahead; then wait for its result."""
        if not ahead:
            if not await self._stage.pace(task, position, self._before):
                self._before = task
                return
            ahead.append(self._stage.start(task, None))
        started = ahead[0]
        self._send_ahead(ahead, later)
        result = await self._stage.debugged(started, await started.result)
        ahead.pop(0)
        self._before = task
        if result.bad:
            failure = HostFailed(task, result, started.key)
            self._stage.failed(failure)
            raise failure

    def _send_ahead(self, ahead: list[Started], later: tuple[Node, ...]) -> None:
        for node in later[len(ahead) - 1 : AHEAD]:
            if isinstance(node, Block) or self._stage.is_engine_word(node):
                return
            if node.role_run != ahead[-1].task.role_run and node.role_run is not None and node.role_run.once:
                return  # whether it is passed by is known when those in flight have ended
            if not self._stage.may_follow([started.task for started in ahead], node):
                return
            ahead.append(self._stage.start(node, ahead[-1]))

    async def _block(self, block: Block, position: Position) -> None:
        try:
            try:
                await self.nodes(block.body, (*position, 0))
                await self.settle((*position, 0, len(block.body)))
            except HostFailed as failure:
                if not block.has_rescue or failure.result.status == "unreachable":
                    raise
                self._stage.rescued(failure)
                await self.nodes(block.rescue, (*position, 1))
        except HostFailed as failure:
            if failure.result.status != "unreachable":
                await self.nodes(block.always, (*position, 2))
                if self._stage.forgives(failure):
                    return
            raise
        await self.nodes(block.always, (*position, 2))
