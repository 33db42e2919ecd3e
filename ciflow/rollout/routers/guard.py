"""What keeps users safe whatever the router is, where it runs on a host.

The agent's dead-man and what it does alone later, no traffic to a slot that isn't there, and patience with a router
that is just restarting.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ciflow.model import Api, At, Change, Detached, Http, Operation, Probe, Reply, Talk, Wait, Watch
from ciflow.rollout.routers.dial import Asked, Dial, Guard, RouterError, Slot, done

TRIES = 10  # times that a socket is asked while its router restarts
PAUSE = 0.2  # seconds between two of them
START = 20.0  # seconds that a router may take to open its port
REACH = 3.0  # seconds that a new slot may take to open its port


class OnHost(ABC):
    """The part of `dial.Router` that an agent on the router's host does, and what a host needs not."""

    __slots__ = ()

    host: str
    service: str

    @abstractmethod
    def unclaimed(self, token: int) -> Operation:
        """Goes well only while nobody has claimed the dial since `token`."""

    def may_leave(self, place: str, operations: Sequence[Operation]) -> None:
        if place.partition(" as ")[0] != self.host:  # `web1 as root` is on web1
            raise RouterError(
                f"`retire` can't be done on {place}: it has no router of {self.service}",
                help="only beside its router can a host see for itself that the slot has no traffic",
            )
        if any(isinstance(operation, Api) for operation in operations):
            raise RouterError(
                f"`retire` of {self.service} asks an API, which an agent does not do alone",
                help="say it with `command` or `shell`",
            )

    def leave(self, place: str, operations: Sequence[Operation], token: int, after: float) -> Asked[None]:
        step = Detached(key=self._retire, operations=(self.unclaimed(token), *operations), after=max(1.0, after))
        done((yield At(place, Change(step))), f"leaving it to {place} to retire a slot", place)

    def call_off(self, place: str) -> Asked[None]:
        step = Detached(key=self._retire, verb="cancel")
        done((yield At(place, Change(step))), "calling off what would retire the slot", place)

    @property
    def _retire(self) -> str:
        return f"retire-{self.service}"

    def blind(self, watch: Sequence[Watch]) -> Asked[tuple[Watch, ...]]:
        """Those of the questions over the network that this host has no answer to."""
        unheard = []
        for one in watch:
            if isinstance(one.read, Http):
                reply = yield At(self.host, Probe(one.read))
                if not (reply.ok and re.search(one.pattern, reply.stdout.decode("utf-8", "replace"))):
                    unheard.append(one)
        return tuple(unheard)

    def strengthen(self, weight: int, expect: int, lease: float) -> Asked[None]:  # noqa: ARG002
        yield from ()

    def let_go(self, expect: int, after: float) -> Asked[None]:  # noqa: ARG002
        yield from ()


def agent_guard(
    host: str, key: str, give_back: tuple[Operation, ...], after: float, watch: tuple[Watch, ...], renew: bool
) -> Asked[Guard]:
    """Arm, renew or (`after` 0) disarm the dead-man `key` on `host`.

    A renewal never arms one that has fired: the controller must first know that the traffic went back.
    """
    if after <= 0:
        done((yield At(host, Change(Detached(key=key, verb="cancel")))), "disarming the dead-man", host)
        return Guard(armed=False)
    if not renew:
        start = Detached(key=key, operations=give_back, after=after, watch=watch, every=min(1.0, after / 4))
        done((yield At(host, Change(start))), "arming the dead-man", host, help="The dial was not turned.")
    yield At(host, Change(Detached(key=key, verb="renew")))  # what came of it is asked, not assumed
    asked = done((yield At(host, Probe(Detached(key=key, verb="ask")))), "asking the dead-man", host)
    state = asked.data.get("state", "silent")
    if state != "armed" and not renew:
        raise RouterError(
            f"the agent on {host} did not arm the dead-man {key}: it is {state}",
            help="The dial was not turned. Look at the agent's journal on that host.",
        )
    return Guard(armed=state == "armed", fired=bool(asked.data.get("fired")))


def agent_cut(host: str, key: str, cut: Operation, after: float) -> Asked[None]:
    """Let the agent on `host` perform `cut` after so many seconds; `after` 0: not after all."""
    step = Detached(key=key, operations=(cut,), after=after) if after > 0 else Detached(key=key, verb="cancel")
    done((yield At(host, Change(step))), "setting the time when old connections are cut", host)


def answers(host: str, slot: Slot) -> Asked[bool]:
    """Whether the slot's port answers, seen from the router's host."""
    wait = Wait(host=slot.address, port=slot.port, sleep=0.1, timeout=REACH / 3, connect_timeout=REACH / 3)
    reply = yield At(host, Probe(wait))
    return reply.status == "done" and reply.ok


def reachable(host: str, slots: Mapping[str, Slot], now: Dial, to: Dial) -> Asked[None]:
    """Before the candidate gets its first traffic, its port must answer on the router's host."""
    if to.at_rest or not now.at_rest:
        return
    slot = slots[to.candidate]
    wait = Wait(host=slot.address, port=slot.port, sleep=0.1, timeout=REACH)
    what = f"slot {slot.name} of {to.manifest.service or 'the service'} does not answer at {slot.authority}"
    done((yield At(host, Probe(wait))), what, host, help="The dial was not turned. Is the candidate running?")


def listening(bind: str) -> str:
    """An address of this host that reaches what listens on `bind`."""
    return "127.0.0.1" if bind in ("0.0.0.0", "::", "*") else bind


def ask(host: str, talk: Talk, port: int = 0) -> Asked[Reply]:
    """A question to a router's socket, asked again for two seconds when nobody answers: routers restart in less.

    `port` is one that the router listens on, if known: where it isn't, the socket's path must be there.
    """
    for _ in range(TRIES):
        reply = yield At(host, Probe(talk))
        if reply.status != "done" or (reply.ok and reply.stdout):
            return reply
        yield At(host, Probe(Wait(path="" if port else talk.address, port=port, delay=PAUSE, timeout=PAUSE)))
    return replace(reply, ok=False, error=reply.error or "it closed the connection without an answer")
