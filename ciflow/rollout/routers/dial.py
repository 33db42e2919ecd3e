"""What all routers speak in: the dial, the manifest beside it, and what a router must do.

Nothing here does I/O or reads a clock. A router's methods are generators: they yield steps (`At(host, ..)`) and
are sent replies, so that the engine can predict, record and resume a turn of the dial like any task.

RouterError   the router is not there, not as it must be, or did not do what it was told
|- Unready    it answers, but not with 200 (`filed.py`)
`- NotKept    traffic moved as told, but the router's host could not write it down for a restart
Fenced        another writer's token stands at the router: this writer must stop (a `Locked`: exit 6)
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, TypeAlias, TypeVar

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, ExitCode, Locked
from ciflow.encoding import loads
from ciflow.model import Operation, Reply, Step, Watch
from ciflow.rollout.routers.counts import Sample

T = TypeVar("T")
Asked: TypeAlias = Generator[Step, Reply, T]  # yields steps, is sent their replies, returns a T

SHOWN = 200  # characters of what is not understood
WHOLE = 10_000  # all traffic, in hundredths of a percent
SETTLED = 300.0  # seconds after a way back until what bears the traffic may be as weak as that allows


def share_of(slot: str, share: int) -> int:
    """The share of a slot where slot b has `share`, and that of slot b where the slot has `share`."""
    return share if slot == "b" else WHOLE - share


class RouterError(CiflowError):
    """The router can't do what it was asked: where, why, and in `help` what to do."""

    exit_code = ExitCode.UNREACHABLE


class NotKept(RouterError):
    """The router has the new dial in force, but its disk has not: a restart of the router would lose it."""

    def __init__(self, message: str, dial: Dial) -> None:
        super().__init__(message, help="Make room on that host's disk, then turn the dial to the same share again.")
        self.dial = dial


class Fenced(Locked):
    """A writer was refused because the router holds another token than it expected. `found` is what stands there."""

    def __init__(self, service: str, host: str, expect: int, found: Dial) -> None:
        holder = found.manifest.who or "another writer"
        why = f" ({found.manifest.why})" if found.manifest.why else ""
        super().__init__(
            f"the router of {service} on {host} holds token {found.token} of {holder}{why}; "
            f"this writer expected {expect}",
            help="Another rollout or rollback has taken over. `ciflow status` shows it; this one must stop.",
        )
        self.found = found


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one version of a service listens, and what is known of it. `warm_until` in Unix seconds, 0: unknown.

    `irreversible` names what its release did that can't be undone. `lost` is the version that one could go back to
    here, until another release was put over it.
    """

    name: str  # a or b
    address: str = "127.0.0.1"
    port: int = 0
    version: str = ""
    observed_good: bool = False
    usable: bool = True
    warm_until: float = 0.0
    irreversible: tuple[str, ...] = ()
    lost: str = ""

    @property
    def authority(self) -> str:
        """host:port, with the brackets an IPv6 address needs."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a rollback must know when the store is lost; kept at the router beside the share. Plain JSON values."""

    service: str
    router: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    slots: tuple[Slot, ...] = ()
    release: str = ""
    who: str = ""
    why: str = ""
    when: float = 0.0  # Unix seconds of the last commit
    drain: float = 0.0  # seconds until connections to a slot that was left are cut; 0: they may last

    def slot(self, name: str) -> Slot:
        """The slot of that name, or an empty one when the manifest doesn't know it."""
        return next((slot for slot in self.slots if slot.name == name), Slot(name))

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises RouterError where somebody else has written it."""
        try:
            data = loads(text)
            slots = tuple(Slot(**{**s, "irreversible": tuple(s.get("irreversible", ()))}) for s in data["slots"])
            made = cls(**{**data, "slots": slots, "hosts": tuple(data["hosts"])})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise RouterError(
                f"the manifest is not one of ciflow's: {error}", help="was it changed by hand?"
            ) from error
        texts = (made.service, made.router, made.release, made.who, *made.hosts, *(slot.name for slot in slots))
        if not (all(isinstance(text, str) for text in texts) and isinstance(made.settings, Mapping)):
            raise RouterError("the manifest is not one of ciflow's: its values have other types")
        return made


@dataclass(frozen=True, slots=True)
class Dial:
    """The state of a service's traffic at one router.

    `share` is the absolute share of slot b in hundredths of a percent, `live` the slot that people trust ("" before
    the first release): what the router falls back to by itself. `token` fences writers, `revision` counts writes
    under one token. `expires` (Unix seconds by the router host's clock, 0: nothing to expire, or the router can't
    hold it) is when the router leaves `share` for `safe` of its own accord. `mirror` is the share of requests that the
    candidate gets a copy of.
    """

    share: int = 0
    token: int = 0
    live: str = ""
    manifest: Manifest = Manifest("")
    revision: int = 0
    expires: float = 0.0
    mirror: int = 0

    @property
    def safe(self) -> int:
        """The share of slot b when all traffic goes to the live slot."""
        return share_of(self.live, WHOLE)

    @property
    def at_rest(self) -> bool:
        return self.share == self.safe and not self.mirror

    @property
    def promoting(self) -> bool:
        """A promotion is written down and not yet in force, as between the writes of most routers: the slot that had
        all traffic is still one to go back to, which a candidate's is not before that. Where the live version was
        observed good its promotion is long over, and somebody else has moved the share."""
        live, former = self.manifest.slot(self.live), self.manifest.slot(self.candidate)
        half = not self.at_rest and bool(self.live and former.version) and former.usable
        return half and not live.observed_good

    @property
    def trusted(self) -> str:
        """The slot that gets all traffic where what is under way is ended."""
        return self.candidate if self.promoting else self.live

    @property
    def candidate(self) -> str:
        """The slot that is not live: where a release goes."""
        return "b" if self.live == "a" else "a"

    def settled(self) -> Dial:
        """The same dial with all traffic on the live slot: what the disk holds and a dead-man restores."""
        return replace(self, share=self.safe, expires=0.0, mirror=0)

    def order(self) -> tuple[int, int]:
        return self.token, self.revision

    def to_json(self) -> str:
        """All but `expires`, which only the router knows."""
        head = {"share": self.share, "token": self.token, "live": self.live, "revision": self.revision}
        head |= {"mirror": self.mirror} if self.mirror else {}
        return json.dumps({**head, "manifest": json.loads(self.manifest.to_json())}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Dial:
        data = loads(text)
        manifest = Manifest.from_json(json.dumps(data["manifest"]))
        return cls(data["share"], data["token"], data["live"], manifest, data["revision"], mirror=data.get("mirror", 0))


@dataclass(frozen=True, slots=True)
class Guard:
    """The dead-man at the router's host. `fired`: it has given the traffic back, and is armed no more. `blind` are the
    questions of those that it was to watch that nobody answers where it is."""

    armed: bool
    fired: bool = False
    blind: tuple[Watch, ...] = ()


class Named(Protocol):
    """Whose dial: a service's at one host."""

    @property
    def host(self) -> str: ...
    @property
    def service(self) -> str: ...


class Router(Named, Protocol):
    """One router on one host. Every method is a generator; `expect` is the token that must stand at the router."""

    @property
    def kind(self) -> str: ...
    @property
    def holds_expiry(self) -> bool:
        """True when the router itself goes back to the live slot at `expires`, with no agent alive."""
        ...

    @property
    def counted(self) -> bool:
        """False when it counts nothing: then only gates with a question of their own can judge."""
        ...

    @property
    def knock(self) -> Operation:
        """What is answered at once where it can be reached at all."""
        ...

    def prepare(self, first: Dial) -> Asked[Dial]:
        """Make sure that the router is there and routes; `first` is what it starts with when it has no dial yet."""
        ...

    def read(self) -> Asked[Dial]:
        """The dial in force, from the router itself."""
        ...

    def turn(self, to: Dial, expect: int, lease: float = 0.0) -> Asked[Dial]:
        """Compare-and-set, then read back: the router has `to` when this returns.

        Refused (`Fenced`) unless the router's token is `expect`. `to.token` is `expect`, or greater to take over.
        A dial that is not at rest needs a `lease` (seconds): the dead-man is armed before any traffic moves. A `to`
        with another `live` is a promotion, which may use one too. Raises NotKept when traffic moved but the disk was
        full.
        """
        ...

    def counts(self, before: Sample | None = None) -> Asked[Sample]:
        """Counters since the router's process began; `interval` of two samples says what happened between them.

        `before` is the last sample, for a router whose counts go on from there (a log); others need none.
        """
        ...

    def guard(self, expect: int, after: float, watch: tuple[Watch, ...] = (), *, renew: bool = False) -> Asked[Guard]:
        """Arm (or with `renew` prolong) the dead-man by `after` seconds; `after` 0 disarms. Fenced like `turn`."""
        ...

    def keep(self, manifest: Manifest) -> Asked[None]:
        """Leave the manifest where a rollback looks that knows nothing but where routers may be."""
        ...

    def answers(self, slot: Slot) -> Asked[bool]:
        """Whether the slot answers, seen from the router."""
        ...

    def can_cut(self, after: float) -> Asked[None]:
        """Raise RouterError, with what to do, where connections can't be cut `after` seconds."""
        ...

    def cut(self, slot: str, after: float) -> Asked[None]:
        """`after` seconds from now the router's host cuts what is still connected to `slot`, alone. `slot` "": what
        is to be cut is not, for a release goes into that slot."""
        ...

    def may_leave(self, place: str, operations: Sequence[Operation]) -> None:
        """Raise RouterError where `leave` would be in vain. Asks nobody."""
        ...

    def leave(self, place: str, operations: Sequence[Operation], token: int, after: float) -> Asked[None]:
        """`operations`, which were made for `place`, are done `after` seconds from now with no controller, unless
        somebody has claimed the dial since `token`."""
        ...

    def call_off(self, place: str) -> Asked[None]:
        """What was left is not to be done: somebody claims the dial."""
        ...

    def strengthen(self, weight: int, expect: int, lease: float) -> Asked[None]:
        """Before the candidate gets `weight`: see that it can bear it, and that the way back will. `lease` (seconds) is
        renewed meanwhile. Nothing where machines are not ours to add."""
        ...

    def let_go(self, expect: int, after: float) -> Asked[None]:
        """`after` seconds from now nothing needs to be stronger than its traffic asks for."""
        ...

    def errors(self, slot: str, more: int, since: Sample | None = None) -> tuple[Watch, ...]:
        """For a guarded pause: holds while the slot has at most `more` 5xx beyond those of the sample `since`.

        Nothing where the router counts nothing.
        """
        ...


def heard(router: Named, asked: Asked[T]) -> Asked[T]:
    """What a router says. Half an answer, or another program's, is a RouterError like any other trouble with it."""
    try:
        return (yield from asked)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"what the router of {router.service} on {router.host} says is not understood"
        help = "Is it the router that the settings name? Its own log may say more."
        raise RouterError(f"{what}: {str(error)[:SHOWN]!r} ({type(error).__name__})", help=help) from error


def check_turn(router: Named, now: Dial, to: Dial, expect: int, lease: float) -> None:
    """Refuse what no router may do. Pure; raises `Fenced` or `ValueError` (a fault of the caller)."""
    if not 0 <= to.share <= WHOLE:
        raise ValueError(f"share {to.share} is not within 0..{WHOLE}")
    if to.token < expect:
        raise ValueError(f"token {to.token} is smaller than the expected {expect}")
    if not to.at_rest and lease <= 0:
        raise ValueError("a dial that is not at rest needs a lease")
    if now.token != expect:
        raise Fenced(router.service, router.host, expect, now)


def newest(in_force: Dial, *written: Dial | None) -> Dial:
    """The share in force, with all else from the newest commit.

    A crash between the write to disk and the turn leaves a newer commit on disk: its token counts.
    """
    latest = max((in_force, *(dial for dial in written if dial)), key=Dial.order)
    return (
        in_force
        if latest.order() == in_force.order()
        else replace(latest, share=in_force.share, mirror=in_force.mirror)
    )


def kept_until(to: Dial, now: Dial) -> Dial:
    """What a restart or the dead-man is to bring until `to` is in force. A promotion (of a slot that is no place to go
    back to yet) that is not finished is given back: no version first gets all traffic with nobody there."""
    promotes = to.live != now.live and not now.manifest.slot(to.live).usable
    return (replace(now, token=to.token, revision=to.revision) if promotes else to).settled()


def as_one(dials: Sequence[Dial]) -> Dial:
    """All routers of a service as one dial, as `newest` makes one of what stands at a router: the newest commit says
    what the slots hold and which is live, and the share is that of the router which is furthest from it. One that
    joins, and was never told of a live slot, is passed over."""
    known = [dial for dial in dials if dial.live] or list(dials)
    latest = max(known, key=lambda dial: (dial.token, dial.manifest.when))
    off = max(known, key=lambda dial: (abs(dial.share - latest.safe), dial.mirror))
    return replace(latest, share=off.share, mirror=off.mirror)


def done(reply: Reply, what: str, host: str, help: str = "") -> Reply:
    """The reply, when it is known to have gone well; else a RouterError that says what, where and why."""
    if reply.status == "done" and reply.ok:
        return reply
    said = reply.error or reply.stderr.decode("utf-8", "replace").strip()
    why = said or (f"it ended with {reply.rc}" if reply.rc else f"the reply is {reply.status}")
    raise RouterError(f"{what} on {host}: {why}", help=help)
