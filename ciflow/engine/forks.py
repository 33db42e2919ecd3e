"""How many hosts are worked on at once: `--forks`, else as many as this machine's cores and descriptors bear."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from ciflow.targets.connection import connection_cap

PER_CORE = 100  # hosts: most of the time each of them is waited for


def usual_forks() -> int:
    """Hosts at once where nobody says: never more than there may be connections, so that none is opened beyond."""
    return min(connection_cap(), PER_CORE * (os.cpu_count() or 1))


class Forks:
    """Room for so many hosts. One that has room keeps it as long as anything is under way on it: tasks that are sent
    ahead take no more."""

    def __init__(self, most: int) -> None:
        self._room = asyncio.Semaphore(most)
        self._users: dict[str, int] = {}
        self._entries: dict[str, asyncio.Task[bool]] = {}

    @contextlib.asynccontextmanager
    async def room(self, host: str) -> AsyncIterator[None]:
        self._users[host] = self._users.get(host, 0) + 1
        if host not in self._entries:
            self._entries[host] = asyncio.get_running_loop().create_task(self._room.acquire())
        try:
            await asyncio.shield(self._entries[host])
            yield
        finally:
            self._users[host] -= 1
            if not self._users[host]:
                self._leave(host)

    def _leave(self, host: str) -> None:
        entry = self._entries.pop(host)
        if entry.done():
            self._room.release()
        else:
            entry.cancel()
