"""The barrier of the linear strategy: no host starts a task before all have ended the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

Position: TypeAlias = tuple[int, ...]


class Pace:
    """Holds lanes back until the slowest has caught up; of those waiting, the earliest position goes first.

    Positions are places in the play (include and block parts extend the tuple), so a host that entered a
    `rescue` is passed by nobody and waits for nobody that is behind it.
    """

    def __init__(self, lanes: Iterable[str]) -> None:
        self._active = dict.fromkeys(lanes)
        self._waiting: dict[str, tuple[Position, asyncio.Future[None]]] = {}

    async def enter(self, lane: str, position: Position) -> None:
        """Wait until this position is the earliest of all lanes that have not ended."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane] = (position, turn)
        self._release()
        await turn

    def leave(self, lane: str) -> None:
        """The lane has ended: nobody waits for it any more."""
        self._active.pop(lane, None)
        self._release()

    @property
    def alone(self) -> bool:
        """Whether one lane at the most is left, so that waiting would be for nobody."""
        return len(self._active) <= 1

    def _release(self) -> None:
        if self._waiting and len(self._waiting) >= len(self._active):
            self._let_go()

    def _let_go(self) -> None:
        """All wait: those at the earliest position go on."""
        first = min(position for position, _ in self._waiting.values())
        loop = asyncio.get_running_loop()
        for lane in [lane for lane in self._active if self._waiting[lane][0] == first]:
            _, turn = self._waiting.pop(lane)
            loop.call_soon(_go, turn)  # in the hosts' order, whoever came last: `run_once` is the first one's


class SharedPace(Pace):
    """The barrier of one shard: where its lanes all wait, so does the shard, among the others (store/board.py).

    `meet` returns when the shard may go on from a position.
    """

    def __init__(self, lanes: Iterable[str], meet: Callable[[Position], Awaitable[None]]) -> None:
        super().__init__(lanes)
        self._meet = meet
        self._meeting: asyncio.Task[None] | None = None

    @property
    def alone(self) -> bool:
        """Never known here: there are the other shards."""
        return False

    def _let_go(self) -> None:
        if self._meeting is None:
            first = min(position for position, _ in self._waiting.values())
            self._meeting = asyncio.get_running_loop().create_task(self._met(first))

    async def _met(self, first: Position) -> None:
        try:
            await self._meet(first)
        except BaseException as error:
            for _, turn in self._waiting.values():
                if not turn.done():
                    turn.set_exception(error)
            raise
        self._meeting = None
        super()._let_go()


def _go(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
