"""What routers share whose dial is a file that the agent writes: Envoy, nginx, Traefik, and a command of one's own.

Two files hold the dial. The dial file is what the router has in force; the safe file is the same commit with all
traffic on the live slot. Every turn writes the safe file first, by compare-and-set, so that what a restart of the
router or the dead-man copies over the dial file always has the newest token and names the right slot, however late it
comes: until a promotion is in force, the slot that had all traffic. What such a router does is always "put into force
what the file says": a writer that was stopped before it and goes on long after does no harm.
"""

from __future__ import annotations

import hashlib
import shlex
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from ciflow.dataclass import dataclass
from ciflow.model import At, Change, Copy, Operation, Probe, Read, Stat, Talk, Wait, Watch, Write
from ciflow.rollout.routers import http1
from ciflow.rollout.routers.dial import (
    Asked,
    Dial,
    Fenced,
    Guard,
    Manifest,
    RouterError,
    Slot,
    check_turn,
    done,
    kept_until,
    newest,
)
from ciflow.rollout.routers.guard import OnHost, agent_guard, answers, ask, reachable
from ciflow.rollout.routers.kept import keep_file

LOOKS = 200  # how often the router is asked until it has taken a new file
PAUSE = 0.025  # seconds between two looks


class Unready(RouterError):
    """The router's admin is there, and its answer is none: another status than 200, or a cut one."""


@dataclass(frozen=True, slots=True)
class _File:
    """One of the two files as read: its dial, and the hash that a write must find unchanged."""

    sha: str  # "absent" when there is none
    dial: Dial | None = None


@dataclass(frozen=True, slots=True)
class FiledRouter(OnHost):
    """See `dial.Router`. One of these says where its files are, what is in them, and how it is asked."""

    service: str
    host: str
    slots: Mapping[str, Slot]

    kind: ClassVar[str] = ""
    what: ClassVar[str] = ""  # its name in messages
    holds_expiry: ClassVar[bool] = False

    # --- what each router says of itself ----------------------------------------------------------------

    @property
    @abstractmethod
    def dial_path(self) -> str: ...

    @property
    @abstractmethod
    def safe_path(self) -> str: ...

    @property
    @abstractmethod
    def log(self) -> str:
        """Where it says why it does not take a file."""

    @property
    @abstractmethod
    def claim(self) -> str:
        """A pattern that is found in a file of its own while `{token}` stands there."""

    @abstractmethod
    def content(self, dial: Dial) -> bytes:
        """The dial as a file."""

    @abstractmethod
    def parsed(self, content: bytes, where: str) -> Dial:
        """The dial in a file that `content` made; raises RouterError on any other."""

    @abstractmethod
    def in_force(self) -> Asked[Dial]:
        """The dial by the router's own word."""

    def apply(self) -> tuple[Operation, ...]:
        """What makes the router take the dial file; nothing for one that watches it."""
        return ()

    @property
    def counted(self) -> bool:
        return True

    @property
    def mode(self) -> str:
        """Of both files."""
        return "0600"

    def lasting(self) -> Asked[tuple[Watch, ...]]:
        """Limits that the dead-man watches beside its time."""
        yield from ()
        return ()

    def settle(self, to: Dial, expect: int) -> Asked[None]:  # noqa: ARG002
        """After a turn: what must be put right on disk so that a restart is safe; nothing where each start does it."""
        yield from ()

    # --- the dial ---------------------------------------------------------------------------------------

    def read(self) -> Asked[Dial]:
        """The share in force from the router itself; token, live slot and manifest from the newest commit."""
        safe = yield from self.file(self.safe_path)
        return newest((yield from self.in_force()), safe.dial)

    def turn(self, to: Dial, expect: int, lease: float = 0.0) -> Asked[Dial]:
        """Both files by compare-and-set on what was read before the token was looked at, then the router's word."""
        safe = yield from self.file(self.safe_path)
        file = yield from self.file(self.dial_path)
        now = newest((yield from self.in_force()), safe.dial, file.dial)
        check_turn(self, now, to, expect, lease)
        yield from reachable(self.host, self.slots, now, to)
        revision = now.revision + 1 if to.token == now.token else 1
        to = replace(to, revision=revision, expires=0.0)
        until = kept_until(to, now)
        yield from self.replaced(self.safe_path, until, safe.sha, expect)
        if not to.at_rest:
            yield from self._dead_man(lease, (), renew=False)
        yield from self.replaced(self.dial_path, to, file.sha, expect)
        yield from self.applied()
        found = yield from self._read_back(to, expect)
        yield from self.settle(to, expect)
        if until != to.settled():
            yield from self.replaced(self.safe_path, to.settled(), _hash(self.content(until)), expect)
        if not to.at_rest and not (yield from self._dead_man(lease, (), renew=True)).armed:
            # it fired while this controller was asleep, before there was anything to give back
            yield from self._dead_man(lease, (), renew=False)
        return found

    def applied(self) -> Asked[None]:
        for operation in self.apply():
            done((yield self._change(operation)), f"making {self.what} take {self.dial_path}", self.host)

    def _read_back(self, to: Dial, expect: int) -> Asked[Dial]:
        for _ in range(LOOKS):
            found = yield from self.in_force()
            other = found.order() == to.order() and found.manifest != to.manifest
            if other or found.order() > to.order():
                raise Fenced(self.service, self.host, expect, found)
            if found == to:
                return found
            yield self._probe(Wait(path="/", delay=PAUSE, timeout=5.0))
        raise RouterError(
            f"{self.what} on {self.host} did not take share {to.share / 100:g} % within {LOOKS * PAUSE:g} s: "
            f"it still has {found.share / 100:g} % of token {found.token}",
            help=f"If it refuses the file, {self.log} says why.",
        )

    def file(self, path: str) -> Asked[_File]:
        reply = yield self._probe(Read(path=path))
        if reply.status == "done" and reply.errno == "ENOENT":
            return _File("absent")
        content = done(reply, f"reading {path}", self.host).stdout
        dial = self.parsed(content, f"{path} on {self.host}") if content.strip() else None
        return _File(_hash(content), dial)

    def replaced(self, path: str, dial: Dial, sha: str, expect: int) -> Asked[None]:
        content = self.content(dial)
        reply = yield self._change(Write(path=path, content=content, mode=self.mode, expect=sha))
        if reply.status == "refused":
            found = yield from self.file(path)
            raise Fenced(self.service, self.host, expect, found.dial or Dial())
        done(reply, f"writing {path}", self.host)

    def first(self, first: Dial) -> Asked[Dial]:
        """The files of a router that has none yet: it starts with `first`. The newest commit that stands there."""
        safe = yield from self.file(self.safe_path)
        if safe.dial is None:
            yield from self.replaced(self.safe_path, first.settled(), safe.sha, first.token)
        return safe.dial or first

    def laid(self, first: Dial) -> Asked[bool]:
        """Both files are there, so that a router that runs has what its configuration includes. Whether the dial
        file was missing."""
        newest = yield from self.first(first)
        file = yield from self.file(self.dial_path)
        if file.dial is None:
            yield from self.replaced(self.dial_path, newest.settled(), file.sha, newest.token)
        return file.dial is None

    # --- dead-man ---------------------------------------------------------------------------------------

    def guard(self, expect: int, after: float, watch: tuple[Watch, ...] = (), *, renew: bool = False) -> Asked[Guard]:
        """The agent's dead-man copies the safe file over the dial. Such a router can't hold an expiry itself."""
        now = yield from self.read()
        if now.token != expect:
            raise Fenced(self.service, self.host, expect, now)
        guard = yield from self._dead_man(after, watch, renew=renew)
        return replace(guard, blind=(yield from self.blind(watch)))

    def _dead_man(self, after: float, watch: tuple[Watch, ...], *, renew: bool) -> Asked[Guard]:
        limits = watch if renew or after <= 0 else (*(yield from self.lasting()), *watch)
        return (yield from agent_guard(self.host, f"guard-{self.service}", self.give_back(), after, limits, renew))

    def give_back(self) -> tuple[Operation, ...]:
        """What the dead-man does."""
        return (Copy(path=self.safe_path, dest=self.dial_path, mode=self.mode), *self.apply())

    # --- what outlives a release ------------------------------------------------------------------------

    @property
    def knock(self) -> Operation:
        return Stat(path="/")

    def keep(self, manifest: Manifest) -> Asked[None]:
        yield from keep_file(self.host, manifest)

    def answers(self, slot: Slot) -> Asked[bool]:
        return (yield from answers(self.host, slot))

    def can_cut(self, after: float) -> Asked[None]:  # noqa: ARG002 - at no time
        yield from ()
        raise RouterError(
            f"{self.what} can't cut the connections of one slot, which `drain` asks for",
            help="Leave `drain` out, or take router haproxy or envoy.",
        )

    def cut(self, slot: str, after: float) -> Asked[None]:  # noqa: ARG002 - there is never anything to cut
        yield from ()

    def unclaimed(self, token: int) -> Operation:
        return Wait(path=self.safe_path, pattern=self.claim.replace("{token}", str(token)), timeout=1.0)

    # --- how it is asked --------------------------------------------------------------------------------

    def copied(self) -> str:
        """A shell's words that put the safe dial into force, for a router that is about to start."""
        safe, dial = shlex.quote(self.safe_path), shlex.quote(self.dial_path)
        return f"cp {safe} {dial}.new && mv {dial}.new {dial}"

    def http(self, address: str, path: str, port: int = 0) -> Asked[tuple[bytes, float]]:
        """The body that the router's admin at `address` gives for `path`, and the host's clock.

        `port` is one that it listens on, where `address` is a UNIX socket that may be gone for a moment.
        """
        reply = yield from ask(self.host, Talk(address=address, payload=http1.get(path)), port)
        gone = " One whose folder was removed runs on without its socket: end it." if address.startswith("/") else ""
        help = f"Does {self.what} run?{gone} {self.log} has its output."
        done(reply, f"asking {self.what}'s admin at {address}", self.host, help)
        try:
            return http1.body(reply.stdout), reply.started
        except ValueError as error:
            raise Unready(f"{self.what}'s admin at {address} on {self.host}: {error}", help=help) from error

    def _probe(self, operation: Operation) -> At:
        return At(self.host, Probe(operation))

    def _change(self, operation: Operation) -> At:
        return At(self.host, Change(operation))


def _hash(content: bytes) -> str:
    """As a write compares it."""
    return hashlib.sha256(content).hexdigest()
