"""Taking it back: one generator that waits for nothing but the routers.

It needs no store: where to go back to stands in the manifest beside the share. What is decided is a pure function of
the dials, so it can be shown before it is done, and rehearsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeGuard, TypeVar

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, ExitCode, TargetError
from ciflow.model import Hold, Note
from ciflow.rollout.abreast import TROUBLES, Trouble, abreast, all_of
from ciflow.rollout.routers.counts import Sample, interval
from ciflow.rollout.routers.dial import (
    SETTLED,
    WHOLE,
    Asked,
    Dial,
    Fenced,
    Manifest,
    NotKept,
    Router,
    RouterError,
    Slot,
    as_one,
    heard,
    share_of,
)

T = TypeVar("T")

NOWHERE = Slot("")
TRIES = 5  # against writers that race with us
LOOK = 0.15  # seconds between two looks at a router's counters
LOOKS = 3  # until nothing ends elsewhere any more
MOVES = ("abort", "back", "fence")  # decisions that change something
HELD = ("crosses", "lost", "cold")  # there is something to go back to, and turning the dial alone can't or may not


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for a rollback, why, and when (Unix seconds).

    `contested`: a rollout is under way right now; None when nobody can say. `runs` are those that the store knows: of
    another one's release it can't say. `floor` is the greatest token it knows, 0 when it is lost. `break_glass`
    overrides what holds it back; `redeploy`: the live version is to be left also for one whose slot was given away.
    """

    service: str
    who: str
    reason: str
    now: float
    contested: bool | None = False
    runs: frozenset[str] = frozenset()
    floor: int = 0
    rehearse: bool = False
    break_glass: bool = False
    redeploy: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`kind`: back (to `target`), abort (the dial leaves the candidate), fence (only the token moves), nothing.

    Or why nothing is turned: crosses (going back leaves something that can't be undone), lost (another release was put
    over the version), cold (nobody keeps its processes any more). `then` is what to do where this is not enough.
    """

    kind: str
    why: str
    source: Slot = NOWHERE
    target: Slot = NOWHERE
    share: int = 0  # of `source`, in hundredths of a percent
    then: str = ""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What was done on which hosts; `failed` maps a host to why not. `silent`: where the target does not answer.

    `live` is the slot that was seen to have all traffic at every router, where that was so and nothing was turned.
    """

    decision: Decision
    done: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    token: int = 0
    verified: bool | None = None  # None: there was no traffic to see it by
    silent: tuple[str, ...] = ()
    live: Slot = NOWHERE

    @property
    def code(self) -> ExitCode:
        """What the process ends with, and the journal holds."""
        if self.failed:
            return ExitCode.UNREACHABLE
        return ExitCode.TASK_FAILED if self.silent or self.decision.kind in HELD else ExitCode.OK

    def sentence(self, service: str, *, rehearse: bool = False) -> str:
        """What came of it, as the journal keeps it."""
        decision, every = self.decision, len(self.done) + len(self.failed)
        if decision.kind in HELD:
            return f"{decision.why}; nothing was turned"
        if decision.kind == "nothing":
            return f"nothing to do; {decision.why}"
        if rehearse:
            return f"rehearsed: it would {'not work everywhere' if self.failed or self.silent else 'work'}"
        if self.failed:
            left = ", ".join(host for host, _ in self.failed)
            return f"{service} was turned on {len(self.done)} of {every} routers; left: {left}"
        if decision.kind == "fence":
            return f"{decision.why}; it takes no turn any more"
        return f"{service} {decision.source.version} was rolled back; {decision.target.version} has all traffic"


def decide(dial: Dial, order: Order) -> Decision:
    """Where the traffic should go, from a service's dial.

    A candidate that has traffic loses it. Otherwise the live slot is left for the other one, if that holds a version
    that was observed good and is still warm. Otherwise there is nothing to do.
    """
    manifest = dial.manifest
    live, other = manifest.slot(dial.live), manifest.slot(dial.candidate)
    if not dial.at_rest:
        source, target = (live, other) if dial.trusted == other.name else (other, live)
        share = share_of(source.name, dial.share)
        return Decision("abort", "a rollout is under way", source, target, share)
    if dial.live and _good_enough(live, other, order):
        if live.irreversible and not order.break_glass:
            names = ", ".join(f"`{name}`" for name in live.irreversible)
            why = f"{live.version} did {names}, which can't be undone"
            return Decision("crosses", why, live, other, WHOLE, _CROSSES)
        if not other.warm_until or order.now <= other.warm_until or order.break_glass:
            return Decision("back", "the former version is warm", live, other, WHOLE)
        why = f"{other.version} is no longer kept warm in slot {other.name}"
        return Decision("cold", why, live, other, WHOLE, _COLD)
    if _under_way(manifest, other, order):
        return Decision("fence", _without_traffic(live, other), other, live, 0)
    if other.lost:
        return _lost(live, replace(other, version=other.lost), order)
    if not dial.live:
        return Decision("nothing", f"{order.service} was never released: there is nothing to go back to")
    return Decision("nothing", f"{order.service} {live.version} has all traffic and no version before it is warm")


_CROSSES = "`--break-glass --reason ..` goes back all the same: see first that the former version can live with it"
_COLD = "deploy it again with `ciflow apply`, or `--break-glass --reason ..` if its processes still run"
_LOST = "this machine's journal has no good release of it to deploy again: release it with `ciflow apply`"


def _under_way(manifest: Manifest, other: Slot, order: Order) -> bool:
    """A rollout that has no traffic yet. Where nobody here can say the manifest does: a version in a slot that is not
    usable is one whose release is under way, or has failed, and then it does no harm to say so."""
    ours = manifest.release.partition("/")[0] in order.runs
    if order.contested or (order.contested is False and ours):
        return order.contested
    return bool(other.version) and not other.usable


def _without_traffic(live: Slot, other: Slot) -> str:
    """Why stopping the rollout under way is all there is to do."""
    if live.version and not other.version and not live.observed_good:
        return f"nothing was live before {live.version}, which keeps all traffic"
    what = f"the rollout of {other.version}" if other.version else "the rollout under way"
    return f"{what} has no traffic yet" + (f"; {live.version} has all of it" if live.version else "")


def _lost(live: Slot, target: Slot, order: Order) -> Decision:
    """Another release was put over the former version and is gone: nothing is wrong with what is live, so that it is
    left only by whoever says so."""
    why = f"{target.version} was in slot {target.name} until another release was put over it"
    if order.redeploy:
        return Decision("lost", why, live, target, then=_LOST)
    then = f"if {live.version} has to be left as well: `ciflow rollback {order.service} --redeploy`"
    return Decision("nothing", f"{order.service} {live.version} has all traffic, and {why}", live, target, then=then)


def _good_enough(live: Slot, other: Slot, order: Order) -> bool:
    """To go back to: observed good, or at least no less so than what is live now."""
    seen = other.observed_good or not live.observed_good or order.break_glass
    return bool(other.version) and other.usable and seen


def roll_back(routers: Sequence[Router], order: Order, late: frozenset[str] = frozenset()) -> Asked[RolledBack]:
    """Read, decide, turn on every router that can be reached. One that fails does not hold up the others, nor does
    one on a `late` host, of which it is known that it takes its time to answer."""
    failed: dict[str, str] = {}
    first = [router for router in routers if router.host not in late] or list(routers)
    known = yield from _read(first, failed)
    rest = [router for router in routers if router not in first]
    if not known or _decided(known, order).kind not in MOVES or order.rehearse:
        known += yield from _read(rest, failed)
        rest = []
    if not known:
        raise RouterError(
            f"no router of {order.service} answers: {'; '.join(failed.values())}",
            help="nothing was turned: see to the router there (its process, its log), then the same command again. "
            "If a rollout was under way, its dead-man gives the traffic back to the live slot by itself",
        )
    decision = _decided(known, order)
    decision, silent = yield from _looked_at(decision, [router for router, _ in known], order)
    if decision.kind not in MOVES or order.rehearse:
        dials = [dial for _, dial in known]
        token, live = max(dial.token for dial in dials), NOWHERE if failed else _settled(dials)
        return RolledBack(decision, failed=tuple(failed.items()), token=token, silent=silent, live=live)
    token = 1 + max(order.floor, *(dial.token for _, dial in known))
    whole = as_one([dial for _, dial in known])
    finished = yield from _turn_all(known, whole, decision, order, token, failed)
    late_ones = yield from _read(rest, failed)
    whole = as_one([whole, *(dial for _, dial in late_ones)])
    finished += yield from _turn_all(late_ones, whole, decision, order, token, failed)
    verified = yield from _verify(finished, decision)
    hosts = tuple(router.host for router in finished)
    return RolledBack(decision, hosts, tuple(failed.items()), token, verified, silent)


def _settled(dials: Sequence[Dial]) -> Slot:
    """The slot that has all traffic at each of them; NOWHERE where there is none."""
    first = dials[0].manifest.slot(dials[0].live)
    same = all(dial.at_rest and dial.live == first.name for dial in dials)
    return first if same and first.version else NOWHERE


def _decided(known: Sequence[tuple[Router, Dial]], order: Order) -> Decision:
    """One decision for all routers. What is left has the name that one still knows whom the newest commit, which may be
    half of a rollback, has not reached."""
    decision = decide(as_one([dial for _, dial in known]), order)
    names = (dial.manifest.slot(decision.source.name).version for _, dial in known)
    version = decision.source.version or next(filter(None, names), "")
    return replace(decision, source=replace(decision.source, version=version))


def _read(routers: Sequence[Router], failed: dict[str, str]) -> Asked[list[tuple[Router, Dial]]]:
    """The dials of those that answer."""
    dials = yield from abreast([heard(router, router.read()) for router in routers])
    return [(router, dial) for router, dial in zip(routers, dials, strict=True) if _went(dial, router, failed)]


def _went(came_to: T | Trouble, router: Router, failed: dict[str, str]) -> TypeGuard[T]:
    """Whether it did. Why not is kept in `failed`."""
    if isinstance(came_to, CiflowError):
        failed[router.host] = came_to.message
    return not isinstance(came_to, CiflowError)


def _looked_at(decision: Decision, routers: Sequence[Router], order: Order) -> Asked[tuple[Decision, tuple[str, ...]]]:
    """Whether the target answers, where that is not taken for granted: in a rehearsal, and of a cold one. A warm one
    is not waited for."""
    target = decision.target
    cold = decision.kind == "back" and bool(target.warm_until) and order.now > target.warm_until
    if not (cold or (order.rehearse and decision.kind in ("back", "abort"))):
        return decision, ()
    silent = []
    for router in routers:
        if not (yield from router.answers(target)):
            silent.append(router.host)
    if silent and cold and not order.rehearse:
        why = f"nothing answers at {target.authority}, where {target.version} was, from {', '.join(silent)}"
        return replace(decision, kind="cold", why=why, then=_COLD), tuple(silent)
    return decision, tuple(silent)


def _turn_all(
    known: Sequence[tuple[Router, Dial]],
    whole: Dial,
    decision: Decision,
    order: Order,
    token: int,
    failed: dict[str, str],
) -> Asked[list[Router]]:
    """The routers that were turned. `whole` says what the slots hold."""
    turns = yield from abreast([_turn(router, dial, whole, decision, order, token) for router, dial in known])
    return [router for (router, _), turn in zip(known, turns, strict=True) if _went(turn, router, failed)]


def _verify(routers: Sequence[Router], decision: Decision) -> Asked[bool | None]:
    """Whether the routers' own counters agree: what comes in now goes to the target. Requests that were under way
    at the turn may still end elsewhere, so it looks again."""
    seen: bool | None = None
    routers = [router for router in routers if router.counted]
    if not routers:
        return seen
    try:
        before: list[Sample] = yield from all_of([heard(router, router.counts()) for router in routers])
        for _ in range(LOOKS):
            yield Hold(LOOK)
            asked = [heard(router, router.counts(was)) for router, was in zip(routers, before, strict=True)]
            after = yield from all_of(asked)
            seen = _agree(before, after, decision.target.name, seen)
            if seen is not False:
                return seen
            before = after
    except (RouterError, TargetError):
        return None
    return seen


def _agree(before: Sequence[Sample], after: Sequence[Sample], target: str, known: bool | None) -> bool | None:
    deltas = [interval(earlier, later) or {} for earlier, later in zip(before, after, strict=True)]
    came = {slot for delta in deltas for slot, counts in delta.items() if counts.requests}
    return came == {target} if came else known


def _turn(router: Router, dial: Dial, whole: Dial, decision: Decision, order: Order, token: int) -> Asked[None]:
    """Compare-and-set; a writer that came between only makes us read again, for we are the greater one. Unless that
    was another release than this is about."""
    for _ in range(TRIES):
        to = _target(dial, whole.manifest, decision, order, max(token, dial.token + 1))
        yield Note("dial_wanted", {"service": order.service, "slot": decision.target.name, "token": to.token})
        try:
            yield from router.turn(to, dial.token)
        except Fenced as fence:
            dial = yield from heard(router, router.read())
            before, whole = whole, as_one([whole, dial])
            if _is_another(whole, before, decision, order):
                raise fence
            continue
        except NotKept as kept:
            yield Note("warning", {"message": kept.message, "help": kept.help})
        yield from _afterwards(router, to, decision)
        return
    raise RouterError(f"somebody else writes to the router on {router.host} all the time")


def _is_another(now: Dial, before: Dial, decision: Decision, order: Order) -> bool:
    """Whether what came between is not what was asked to be taken back: a release that began later (this rollback
    slept, as on a laptop that was closed), or one whose way back leads elsewhere (it has taken our target's slot)."""
    again = decide(now, order)
    target = again.target if again.kind in MOVES else now.manifest.slot(now.live)
    later = now.manifest.release != before.manifest.release and now.manifest.when > order.now
    return later or (target.name, target.version) != (decision.target.name, decision.target.version)


def _afterwards(router: Router, to: Dial, decision: Decision) -> Asked[None]:
    """The traffic is back; what can't be done now is said, and is no failure of the rollback: a dead-man that is
    still armed gives back nothing but what is no longer there."""
    cuts = bool(to.manifest.drain) and decision.source.name != decision.target.name
    try:
        yield from router.guard(to.token, 0)
        if cuts:
            yield from router.cut(decision.source.name, to.manifest.drain)
        yield from router.keep(to.manifest)
        yield from router.let_go(to.token, SETTLED)
    except TROUBLES as error:
        yield Note("warning", {"message": f"traffic is back, but {error.message}", "help": error.help})


def _target(dial: Dial, known: Manifest, decision: Decision, order: Order, token: int) -> Dial:
    """All traffic on the target's slot. The slot that is left holds nothing to go back to, and no release under way."""
    live = decision.target.name
    left: dict[str, Any] = {"version": "", "usable": False, "observed_good": False, "warm_until": 0.0}
    left |= {"irreversible": ()}
    slots = tuple(replace(slot, warm_until=0.0) if slot.name == live else replace(slot, **left) for slot in known.slots)
    manifest = replace(known, slots=slots, who=order.who, why=order.reason or "rollback", when=order.now)
    share = share_of(live, WHOLE)
    return replace(dial, share=share, live=live, token=token, manifest=manifest, expires=0.0, mirror=0)
