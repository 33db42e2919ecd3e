"""The journal as the page reads it: a few connections of its own that only read, and what is new as it comes.

Nothing here holds anything up: a reader of SQLite's log blocks no writer, no transaction is left open, and a store that
can't be read is an answer that says so.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import NoSuch, StoreError
from ciflow.model import Event
from ciflow.report.said import INNER
from ciflow.store.place import Place
from ciflow.store.store import Store

T = TypeVar("T")
READERS = 3  # threads, each with a connection to the journal
LOOK = 0.25  # seconds between looks whether there is anything new
BATCH = 200  # events that are read for one client before others have their turn
FRESH = 1.0  # seconds that a fold is good for: what lives is not only said by events
REST = 4.0  # a fold that takes long is good for so many times as long, so that it never takes more of a core than that
KEPT = 64  # folds
AGE = 10.0  # seconds that a connection is used: a journal may be moved aside, and another begun in its place


@dataclass(slots=True)
class _Folded:
    """A fold that is made, or was: of a journal whose newest event was `last`. Times are monotonic."""

    last: int
    began: float
    ended: float = 0.0
    found: asyncio.Future[Any] = field(default_factory=asyncio.Future)

    def end(self, _found: object) -> None:
        self.ended = time.monotonic()

    def good(self, last: int) -> bool:
        if not self.found.done():
            return True
        if self.found.cancelled() or self.found.exception() is not None:
            return False
        rest = (self.ended - self.began) * REST
        return time.monotonic() - self.ended < (rest if last != self.last else max(FRESH, rest))


@dataclass(slots=True)
class Journal:
    """`last` is the number of the newest event, as far as somebody has looked."""

    place: Place
    last: int = 0
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(READERS, "reader"))
    _local: threading.local = field(default_factory=threading.local)
    _folds: dict[tuple[str, ...], _Folded] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    # --- asking ------------------------------------------------------------------------------------------

    async def read(self, ask: Callable[[Store], T]) -> T:
        """What `ask` finds, in a thread. Raises NoSuch where nothing has been run yet, StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, ask)

    async def fold(self, name: tuple[str, ...], ask: Callable[[Store], T]) -> T:
        """The same, made once for all who ask for it while nothing is new."""
        known = self._folds.get(name)
        if known is None or not known.good(self.last):
            known = self._folds[name] = _Folded(self.last, time.monotonic())
            known.found = asyncio.ensure_future(self.read(ask))
            known.found.add_done_callback(known.end)
            while len(self._folds) > KEPT:
                del self._folds[next(iter(self._folds))]
        found: T = await asyncio.shield(known.found)  # others may wait for it when this one has left
        return found

    def _asked(self, ask: Callable[[Store], T]) -> T:
        store: Store | None = getattr(self._local, "store", None)
        if store is not None and time.monotonic() - self._local.opened > AGE:
            self._local.store = None
            store.close()
            store = None
        if store is None:
            if not self.place.exists():
                raise NoSuch("nothing was run yet", help=f"there is no journal in {self.place}")
            store = self._local.store = Store.open(self.place, read_only=True)
            self._local.opened = time.monotonic()
        try:
            return ask(store)
        except StoreError:
            self._local.store = None  # the next one looks anew: it may have been put back
            store.close()
            raise

    # --- what is new -------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look for events, for all who wait for some, until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Whether there is anything new. Where the journal can't be read, whoever asks for more is told."""
        try:
            last = await self.read(lambda store: store.last)
        except (NoSuch, StoreError, OSError):
            return
        if last != self.last:
            self.last = last
            self._news.set()
            self._news = asyncio.Event()

    async def follow(
        self, after: int, wanted: Callable[[Event], bool], run: str, beat: float
    ) -> AsyncGenerator[tuple[int, Sequence[Event]], None]:
        """Events behind number `after` as they come, with the number up to which all has been seen: also, where there
        are none, every `beat` seconds. One who was away and says where it was misses none, for each is read from the
        journal, and nothing is kept for anybody."""
        while True:
            news = self._news
            if self.last > after:
                after, events = await self.read(partial(_batch, after=after, run=run, wanted=wanted))
                yield after, events
                continue
            try:
                async with asyncio.timeout(beat):
                    await news.wait()
            except TimeoutError:
                yield after, ()

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


def _batch(store: Store, after: int, run: str, wanted: Callable[[Event], bool]) -> tuple[int, Sequence[Event]]:
    """The next events, and the number of the last that was looked at."""
    last = store.last
    looked = list(islice(store.events(run, after=after), BATCH))
    if looked:
        last = looked[-1].seq if len(looked) == BATCH else max(last, looked[-1].seq)
    return last, [event for event in looked if event.kind not in INNER and wanted(event)]
