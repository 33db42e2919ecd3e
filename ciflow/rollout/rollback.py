"""Taking it back: one generator that waits for nothing but the routers.

It needs no store: where to go back to stands in the manifest beside the share. What is decided is a pure function of
the dials, so it can be shown before it is done, and rehearsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ciflow.model import Hold, Note
from ciflow.rollout.routers.dial import WHOLE, Asked, Dial, Fenced, NotKept, Router, RouterError, Slot, interval
from ciflow.rollout.spec import keep_manifest

NOWHERE = Slot("")
TRIES = 5  # against writers that race with us
LOOK = 0.15  # seconds between two looks at a router's counters


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for a rollback, why, and when (Unix seconds). `contested`: a rollout may be under way right now.

    `floor` is the greatest token the store knows, 0 when it is lost. `break_glass` overrides what holds it back.
    """

    service: str
    who: str
    reason: str
    now: float
    contested: bool = False
    floor: int = 0
    rehearse: bool = False
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`kind`: back (to `target`), abort (the dial leaves the candidate), fence (only the token moves), nothing."""

    kind: str
    why: str
    source: Slot = NOWHERE
    target: Slot = NOWHERE
    share: int = 0  # of `source`, in hundredths of a percent


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What was done on which hosts; `failed` maps a host to what is left to do there."""

    decision: Decision
    done: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    token: int = 0
    verified: bool | None = None  # None: there was no traffic to see it by


def decide(dial: Dial, order: Order) -> Decision:
    """Where the traffic should go, from one router's dial.

    A candidate that has traffic loses it. Otherwise the live slot is left for the other one, if that holds a version
    that was observed good and is still warm. Otherwise there is nothing to do.
    """
    manifest = dial.manifest
    live, other = manifest.slot(dial.live), manifest.slot(dial.candidate)
    if not dial.live:
        return Decision("nothing", f"{order.service} was never released: there is nothing to go back to")
    if not dial.at_rest:
        share = abs(dial.share - dial.safe)
        return Decision("abort", "a rollout is under way", other, live, share)
    if other.version and other.usable and (other.observed_good or order.break_glass):
        if not other.warm_until or order.now <= other.warm_until or order.break_glass:
            return Decision("back", "the former version is warm", live, other, WHOLE)
        why = f"{other.version} is no longer kept warm in slot {other.name}"
        return Decision("cold", why, live, other, WHOLE)
    if order.contested:
        return Decision("fence", "the rollout under way has no traffic yet; it is stopped", other, live, 0)
    return Decision("nothing", f"{order.service} {live.version} has all traffic and no version before it is warm")


def choose(decisions: Sequence[Decision]) -> Decision:
    """One decision for all routers of a service: what any of them needs, all do."""
    order = ("abort", "back", "fence", "cold", "nothing")
    return min(decisions, key=lambda decision: order.index(decision.kind))


def roll_back(routers: Sequence[Router], order: Order) -> Asked[RolledBack]:
    """Read, decide, turn on every router that can be reached. One that fails does not hold up the others."""
    dials: list[Dial | None] = []
    failed: list[tuple[str, str]] = []
    for router in routers:
        try:
            dials.append((yield from router.read()))
        except RouterError as error:
            dials.append(None)
            failed.append((router.host, error.message))
    known = [dial for dial in dials if dial is not None]
    if not known:
        raise RouterError(
            f"no router of {order.service} answers: {'; '.join(why for _, why in failed)}",
            help="the dead-man on its host gives the traffic back to the live slot if a rollout was under way",
        )
    decision = choose([decide(dial, order) for dial in known])
    if decision.kind in ("nothing", "cold") or order.rehearse:
        return RolledBack(decision, failed=tuple(failed))
    token = 1 + max(order.floor, *(dial.token for dial in known))
    finished = []
    for router, dial in zip(routers, dials, strict=True):
        if dial is None:
            continue
        try:
            yield from _turn(router, dial, decision, order, token)
            finished.append(router.host)
        except RouterError as error:
            failed.append((router.host, error.message))
    turned = [router for router in routers if router.host in finished]
    verified = yield from _verify(turned, decision)
    return RolledBack(decision, tuple(finished), tuple(failed), token, verified)


def _verify(routers: Sequence[Router], decision: Decision) -> Asked[bool | None]:
    """Whether the routers' own counters agree: what comes in now goes to the target."""
    seen, elsewhere = 0, 0
    try:
        before = []
        for router in routers:
            before.append((yield from router.counts()))
        yield Hold(LOOK)
        for router, sample in zip(routers, before, strict=True):
            for slot, counts in (interval(sample, (yield from router.counts(sample))) or {}).items():
                seen += counts.requests
                elsewhere += counts.requests if slot != decision.target.name else 0
    except RouterError:
        return None
    return elsewhere == 0 if seen else None


def _turn(router: Router, dial: Dial, decision: Decision, order: Order, token: int) -> Asked[None]:
    """Compare-and-set; a writer that came between only makes us read again. We are the greater one."""
    for _ in range(TRIES):
        to = _target(dial, decision, order, max(token, dial.token + 1))
        yield Note("dial_wanted", {"service": order.service, "slot": decision.target.name, "token": to.token})
        try:
            yield from router.turn(to, dial.token)
        except Fenced:
            dial = yield from router.read()
            continue
        except NotKept as kept:
            yield Note("warning", {"message": kept.message, "help": kept.help})
        yield from router.guard(to.token, 0)
        yield from keep_manifest(router, to.manifest)
        return
    raise RouterError(f"somebody else writes to the router on {router.host} all the time")


def _target(dial: Dial, decision: Decision, order: Order, token: int) -> Dial:
    live = decision.target.name
    slots = tuple(
        slot if slot.name == live else replace(slot, usable=False, observed_good=False, warm_until=0.0)
        for slot in dial.manifest.slots
    )
    slots = tuple(replace(slot, warm_until=0.0) if slot.name == live else slot for slot in slots)
    manifest = replace(dial.manifest, slots=slots, who=order.who, why=order.reason or "rollback", when=order.now)
    share = WHOLE if live == "b" else 0
    return replace(dial, share=share, live=live, token=token, manifest=manifest, expires=0.0)
