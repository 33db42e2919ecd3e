"""Who may act on what: one row a scope, its token, its holder, and a counter that shows the holder lives.

A token is 1 + the greatest ever given here or seen elsewhere, so that a place which remembers the greatest refuses
all older writers (fencing; Kleppmann, "How to do distributed locking", 2016). Clocks of two machines are never
compared: a holder is dead when an observer saw its counter unchanged for a whole term by its own monotonic clock, or
when it ran on this machine and its process is gone.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Locked
from ciflow.store.tables import Tables

_COLUMNS = "scope, token, counter, since, holder, sum"
TERM = 15.0  # seconds; a holder renews three times in each


@lru_cache(maxsize=1)
def this_machine() -> str:
    """Boot and PID namespace: two processes that share it can look one another up by PID."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    if not boot.exists() or not space.exists():
        return ""
    return f"{boot.read_text().strip()}/{space.readlink()}"


def _process(pid: int) -> tuple[str, str]:
    """(state letter, start in clock ticks since boot) by proc(5), or ("", "") when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "", ""
    fields = stat.rpartition(")")[2].split()
    return fields[0], fields[19]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds, or held, a lock. `doing` is said to people: "ciflow apply release.yml"."""

    run: str
    who: str
    doing: str
    host: str = ""
    machine: str = ""
    pid: int = 0
    start: str = ""

    @classmethod
    def me(cls, run: str, who: str, doing: str) -> Holder:
        """This process."""
        pid = os.getpid()
        return cls(run, who, doing, socket.gethostname(), this_machine(), pid, _process(pid)[1])

    def to_data(self) -> dict[str, Any]:
        return asdict(self)

    def gone(self) -> bool:
        """Surely dead: it ran on this machine, and no process has its PID and its start any more."""
        if not self._here:
            return False
        state, start = _process(self.pid)
        return state in ("", "Z", "X") or start != self.start

    def lives(self) -> bool:
        """Surely alive: its process is on this machine, and not stopped."""
        if not self._here:
            return False
        state, start = _process(self.pid)
        return start == self.start and state not in ("", "Z", "X", "T", "t")

    @property
    def _here(self) -> bool:
        return bool(self.machine) and self.machine == this_machine()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act on `scope`, as long as nobody has taken a greater token. `broke` is whom it was taken from."""

    scope: str
    token: int
    holder: Holder
    broke: Holder | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A row: who holds a scope, since when (Unix seconds of the holder's clock, for people)."""

    scope: str
    token: int
    counter: int
    since: float
    holder: Holder | None


@dataclass(slots=True)
class Observer:
    """What one process has seen of others' counters, by its own monotonic clock."""

    term: float = TERM
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    moved: bool = False  # a counter was seen to change: that holder surely lives

    @property
    def fresh(self) -> bool:
        """Whether it has looked at nobody yet."""
        return not self._seen

    def dead(self, held: Held) -> bool:
        """Call it again and again; true once the counter has stood still for a whole term."""
        token, counter, since = self._seen.get(held.scope, (0, -1, 0.0))
        if (token, counter) == (held.token, held.counter):
            return self.clock() - since >= self.term
        self.moved = token == held.token
        self._seen[held.scope] = (held.token, held.counter, self.clock())
        return False


class Locks:
    """All in single transactions; a compare-and-set each."""

    def __init__(self, database: Tables) -> None:
        self._database = database

    def acquire(
        self,
        scope: str,
        holder: Holder,
        *,
        term: float = TERM,
        token_floor: int = 0,
        steal: bool = False,
        wait: float = 0.0,
        observer: Observer | None = None,
        heir: bool = False,
        tell: Callable[[str], None] | None = None,
    ) -> Lease:
        """Take a scope. Locked names the holder, since when, and how to break it.

        A holder that lives on this machine, or whose counter moves, is refused at once, or after `wait` seconds. One
        that can't be looked up (another machine, or stopped) is watched for up to a `term`. `token_floor` is the
        greatest token that routers and hosts know. `steal` takes a live one, and the lease says from whom. `observer`
        has watched already. `heir`: the caller has the run, so another holder of the same run is an earlier process.
        `tell` is told once why it takes a while.
        """
        observer = observer or Observer(term)
        end = observer.clock() + wait
        while True:
            got = self.attempt(scope, holder, observer, token_floor=token_floor, steal=steal, heir=heir)
            if isinstance(got, Lease):
                return got
            known = got.holder is not None and got.holder.lives()
            if (known or observer.moved) and observer.clock() >= end:
                raise _locked(got)
            if tell is not None and not known:
                tell(f"{scope} is held by {_named(got)}: looking for {observer.term:.0f} s whether it still lives")
                tell = None
            time.sleep(min(0.1, observer.term / 20))

    def attempt(
        self,
        scope: str,
        holder: Holder,
        observer: Observer,
        *,
        token_floor: int = 0,
        steal: bool = False,
        heir: bool = False,
    ) -> Lease | Held:
        """Take a scope if it is free, or its holder is dead as far as `observer` has seen; else say who holds it."""
        with self._database.writing():
            held = self.held(scope)
            if held and held.holder:
                ours = steal or (heir and held.holder.run == holder.run)
                if not (ours or held.holder.gone() or observer.dead(held)):
                    return held
            greatest = self._database.rows("SELECT coalesce(max(token), 0) FROM locks")[0][0]
            token = 1 + max(greatest, token_floor)
            self._put(Held(scope, token, 0, time.time(), holder), new=held is None)
        return Lease(scope, token, holder, held.holder if held else None)

    def works_on(self, run: str, observer: Observer) -> bool:
        """Whether a process works on a run. One that can't be looked up (another machine, another boot of this one, or
        stopped) is watched until its counter moves, for up to a term."""
        while True:
            rows = (held for held in self.all() if held.holder and held.holder.run == run)
            held = next((held for held in rows if held.holder and not held.holder.gone()), None)
            if held is None or held.holder is None or observer.dead(held):
                return False
            if held.holder.lives() or observer.moved:
                return True
            time.sleep(min(0.1, observer.term / 20))

    def renew(self, lease: Lease) -> None:
        """Show that the holder lives; due every third of a term. Locked when it was taken over."""
        with self._database.writing():
            held = self.fence(lease)
            self._put(Held(lease.scope, lease.token, held.counter + 1, held.since, lease.holder))

    def release(self, lease: Lease) -> None:
        """Give it back, also where its holder has raised its token since; nothing happens when somebody has taken it
        over. The token is remembered."""
        with self._database.writing():
            held = self.held(lease.scope)
            if held and held.holder == lease.holder:
                self._put(Held(lease.scope, held.token, held.counter, held.since, None))

    def fence(self, lease: Lease) -> Held:
        """The lease's row, read in the caller's transaction. Locked when somebody else has taken the scope."""
        held = self.held(lease.scope)
        if held is None or held.token != lease.token or held.holder is None:
            raise _overtaken(lease, held)
        return held

    def holder_of(self, scope: str) -> Held | None:
        """Who holds the scope now, alive or dead; None when it is free."""
        held = self.held(scope)
        return held if held and held.holder else None

    def greatest_token(self) -> int:
        """The greatest token ever given here; 0 in a new store."""
        return max((held.token for held in self.all()), default=0)

    def held(self, scope: str) -> Held | None:
        """The row of a scope, also a released one. Where there is none, all are counted: it may have been lost."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM locks WHERE scope = ?", (scope,))
        if rows:
            return self._checked(rows[0])
        return next((held for held in self.all() if held.scope == scope), None)

    def all(self) -> list[Held]:
        """All rows, verified and counted: a token must never be misread, nor a row overlooked."""
        rows = self._database.rows(f"SELECT head.locks, {_COLUMNS} FROM head LEFT JOIN locks ON true ORDER BY scope")
        found = [self._checked(row[1:]) for row in rows if row[1] is not None]
        if not rows or len(found) != rows[0][0]:
            raise self._database.damaged("a lock is missing")
        return found

    def _checked(self, row: tuple[str, int, int, float, str, bytes]) -> Held:
        scope, token, counter, since, holder, stored = row
        if _sum(scope, token, counter, since, holder) != stored:
            raise self._database.damaged(f"the lock of {scope} doesn't verify")
        return Held(scope, token, counter, since, Holder(**json.loads(holder)) if holder else None)

    def _put(self, held: Held, new: bool = False) -> None:
        holder = json.dumps(held.holder.to_data()) if held.holder else ""
        plain = (held.scope, held.token, held.counter, held.since, holder)
        put = (
            "INSERT INTO locks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope) DO UPDATE SET token = excluded.token,"
            " counter = excluded.counter, since = excluded.since, holder = excluded.holder, sum = excluded.sum"
        )
        self._database.many(put, [(*plain, _sum(*plain))])
        if new:
            self._database.many("UPDATE head SET locks = locks + ?", [(1,)])


def _sum(scope: str, token: int, counter: int, since: float, holder: str) -> bytes:
    return blake2b(f"{scope}\0{token}\0{counter}\0{since!r}\0{holder}".encode(), digest_size=12).digest()


def _since(at: float) -> str:
    moment = time.localtime(at)
    return time.strftime("%H:%M:%S" if moment[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M:%S", moment)


def _named(held: Held) -> str:
    if held.holder is None:
        return "nobody any more"
    h = held.holder
    return (
        f"{h.who} (`{h.doing}`, run {h.run}, process {h.pid} on {h.host or 'this machine'}) since {_since(held.since)}"
    )


def _locked(held: Held) -> Locked:
    h = held.holder
    here = f"`kill {h.pid}` ends it so that it can be resumed; " if h and h.lives() else ""
    return Locked(
        f"{held.scope} is held by {_named(held)}",
        help=f"wait for it to end; {here}`--break-glass --reason ...` takes it over, and is recorded. "
        "A rollback needs neither.",
    )


def _overtaken(lease: Lease, held: Held | None) -> Locked:
    by = f"taken over by {_named(held)}" if held else "no longer in the store"
    return Locked(
        f"this run no longer holds {lease.scope}: it is {by}",
        help="this run has stopped; nothing more was written after it lost the lock",
    )
