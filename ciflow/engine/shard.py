"""A part of a stage's hosts, walked by one process beside others (`--workers`): what it tells them and hears of them.

Without shards a stage knows all its hosts' states. With them it knows its own at once, and the others' as they were at
the last barrier, which is where Ansible's linear strategy looks at them too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Refused
from ciflow.engine.context import HostValues
from ciflow.engine.result import HostEnded, Result
from ciflow.store.board import Board, Position, State
from ciflow.store.seal import Seal

QUICK, SLOW = 0.005, 0.1  # seconds between looks at the board: at first, and after a while


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """What came of one. `announced` are the tasks that it told of; `failure` is (message, help, exit code) of an error
    that is not one task's."""

    states: Mapping[str, str]
    values: Mapping[str, HostValues] = field(repr=False)
    said: Mapping[str, Any]
    announced: tuple[str, ...]
    failure: tuple[str, str, int] | None = None


class Shard:
    """One of them, by its number. `hosts` are the names of its own."""

    def __init__(self, board: Board, number: int, hosts: frozenset[str], seal: Seal) -> None:
        self.number = number
        self.hosts = hosts
        self._board = board
        self._seal = seal
        self._first = 0  # the shard that leads those that were let past together

    async def meet(self, position: Position, said: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Wait at the barrier of all shards; gives what the others said last."""
        state = self._board.arrive(self.number, position, said)
        async for _ in _pauses():
            if state.passed >= position:
                break
            state = self._board.look()
        self._first = state.first
        return self._others(state)

    def leave(self, said: Mapping[str, Any]) -> None:
        """All its hosts are through: nobody waits for it any more."""
        self._board.arrive(self.number, (), said)

    def says(self, what: str) -> bool:
        """Whether this is the shard that says, for all of them, what each could say."""
        return self._board.claim(f"say {what}", self.number) == self.number

    @property
    def stopped(self) -> str:
        """Why all shards are to end now; "" as long as they are not."""
        return self._board.look().stop

    # --- `run_once`: the first shard at the barrier runs it, on its first host; the others get its result

    def leads(self, path: tuple[str, ...]) -> bool:
        """Whether the task of this path is run here."""
        claimed = self._board.claimed(_once(path))
        leader = claimed[0] if claimed else self._first
        return leader == self.number and self._board.claim(_once(path), self.number) == self.number

    def publish(self, path: tuple[str, ...], result: Result | None) -> None:
        """What it came to; None where its host left the play instead. Sealed: it may hold a secret."""
        parts = [result.status, dict(result.values), dict(result.facts), dict(result.others)] if result else None
        try:
            text = json.dumps(parts)
        except (TypeError, ValueError) as error:
            raise Refused(f"the result of a task with `run_once` holds what workers can't hand on: {error}") from error
        self._board.publish(_once(path), self._seal.seal(text.encode("ascii"), _once(path)))

    async def result(self, path: tuple[str, ...]) -> Result:
        """What another shard published. Raises HostEnded where there is no result."""
        async for _ in _pauses():
            claimed = self._board.claimed(_once(path))
            if claimed and claimed[1] is not None:
                break
        assert claimed and claimed[1] is not None
        parts = json.loads(self._seal.open(claimed[1], _once(path)))
        if parts is None:
            raise HostEnded
        status, values, facts, others = parts
        return Result(status, values, facts, others=others)

    def _others(self, state: State) -> list[dict[str, Any]]:
        return [said for shard, said in sorted(state.said.items()) if shard != self.number]


def _once(path: tuple[str, ...]) -> str:
    return "run " + "/".join(path)


async def _pauses() -> AsyncIterator[None]:
    """Ever longer pauses, without an end; the first comes at once."""
    pause = QUICK
    yield
    while True:
        await asyncio.sleep(pause)
        yield
        pause = min(pause * 1.5, SLOW)
