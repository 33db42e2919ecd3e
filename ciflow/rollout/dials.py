"""All routers of a release as one dial.

They move together: what one of them can't do is an error of all, except on the way back, where one that fails holds
up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ciflow.diagnostics import Locked, TargetError
from ciflow.model import Note, Watch
from ciflow.rollout.abreast import all_of
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
from ciflow.rollout.spec import Spec, TurnBack
from ciflow.rollout.tally import Deltas

LOSSES = 3  # times that a router may be found on the safe share before that counts against the release
WATCHED_ERRORS = 50  # that the candidate may add while a paused rollout is guarded by the routers' hosts alone


def unwatched(gates: Sequence[str], host: str) -> dict[str, str]:
    """What is said of gates that watch no pause."""
    return {
        "message": f"nobody asks what the gates {', '.join(gates)} ask while this is paused",
        "help": f"only a Prometheus that answers without credentials, also the guard of the router ({host}), is asked "
        "then: look at it yourself",
    }


class Dials:
    """The dials as this writer knows them. `live` is the slot that people trusted when the rollout began, "" before
    the first release; `token` this writer's own, greater than any router knew."""

    def __init__(self, spec: Spec, routers: Sequence[Router]) -> None:
        self.spec = spec
        self.routers = tuple(routers)
        self.dials: list[Dial] = []
        self.samples: list[Sample | None] = [None] * len(self.routers)
        self.token = spec.token
        self.live = ""
        self.mirror = 0  # the share of requests that the candidate is to get a copy of
        self.promotes = False  # from here on a router that is not reached may have the candidate for its live slot
        self._losses = 0

    @property
    def candidate(self) -> str:
        """The slot that the release goes into."""
        return "b" if self.live == "a" else "a"

    @property
    def share(self) -> int:
        """The share of slot b at the first router, in hundredths of a percent."""
        return self.dials[0].share

    @property
    def before(self) -> Slot:
        """What the live slot held when the rollout began."""
        return self.dials[0].manifest.slot(self.live)

    # --- before the first turn ---------------------------------------------------------------------------

    def look(self) -> Asked[None]:
        """Start the routers where they don't run, read their dials, and take a token greater than all of them."""
        dials = yield from all_of([self._prepared(router) for router in self.routers])
        known = as_one(dials)
        self.live = known.trusted
        self.token = max(self.token, 1 + max(dial.token for dial in dials))
        # What the slots hold is the same for all: one that joins, or was not reached by the newest commit, learns it.
        self.dials = [replace(known, token=dial.token, revision=dial.revision) for dial in dials]

    def _prepared(self, router: Router) -> Asked[Dial]:
        if not self.spec.check:
            yield from router.prepare(Dial(manifest=Manifest(self.spec.service)))
            return (yield from heard(router, router.read()))
        try:
            return (yield from heard(router, router.read()))
        except RouterError:
            return Dial()  # a check starts nothing: the first release would

    def refuse_to_destroy(self) -> None:
        """Raise Locked where the release would take away what a rollback goes back to, or cross another one."""
        if not self.live or self.spec.replace_warm:
            return
        service, manifest = self.spec.service, self.dials[0].manifest
        old, live = manifest.slot(self.candidate), manifest.slot(self.live)
        if not self.dials[0].at_rest:
            share = share_of(self.candidate, self.share) / 100
            what = f"a rollout of {service} {old.version} by {manifest.who} is under way"
            if not old.version:
                what = f"{service} is not all back on slot {live.name}, where {manifest.who} wants it ({manifest.why})"
            raise Locked(
                f"{what} ({share:g} %, release {manifest.release})",
                help=f"`ciflow rollback {service}` puts all traffic on slot {live.name}; `ciflow resume` goes on with "
                "a rollout, and its dead-man ends one",
            )
        help = "wait, or let `--replace-warm` give up what a rollback would go back to"
        if old.version and old.usable and old.warm_until > self.spec.now:
            left = old.warm_until - self.spec.now
            raise Locked(f"slot {old.name} still keeps {service} {old.version} warm for {left:.0f} s", help=help)
        if old.version and old.usable and not live.observed_good:
            raise Locked(f"{service} {live.version} is live but not yet observed good", help=help)

    def claim(self, now: float) -> Asked[None]:
        """Take the routers before the slot is touched: from here on an older writer is refused, and a rollback
        knows that the candidate's slot holds nothing to go back to. Beside the router lies the manifest."""
        yield from self._all(lambda dial: self._resting(dial, self.live, now))
        for router, dial in zip(self.routers, self.dials, strict=True):
            yield from router.cut("", 0)
            yield from router.keep(dial.manifest)

    # --- the dial ----------------------------------------------------------------------------------------

    def turn(self, weight: int, now: float) -> Asked[None]:
        """The candidate's share on every router. Each arms its dead-man before traffic may leave the live slot."""
        share = share_of(self.candidate, weight)

        def moved(dial: Dial) -> Dial:
            manifest = self._manifest(dial.manifest.slots, dial.live, now)
            return replace(dial, share=share, token=self.token, manifest=manifest, mirror=self.mirror)

        yield from self._strengthened(weight)
        yield from self._all(moved, self.spec.dead_man)

    def promote(self, now: float) -> Asked[None]:
        """Share, live slot and the dead-man's end in one fenced write on each router."""
        self.mirror, self.promotes = 0, True
        yield from self._strengthened(WHOLE)
        yield from self._all(lambda dial: self._resting(dial, self.candidate, now), self.spec.dead_man)
        for router in self.routers:
            yield from router.guard(self.token, 0)

    def _strengthened(self, weight: int) -> Asked[None]:
        """More traffic is to come to the candidate: what bears it comes first, everywhere."""
        for router in self.routers:
            yield from router.strengthen(weight, self.token, self.spec.dead_man)

    def back(self, now: float) -> Asked[None]:
        """All traffic to the slot that was live before. One that fails holds up no other; its error comes after."""
        self.mirror = 0
        yield from all_of([self._back(number, now) for number in range(len(self.routers))])

    def _back(self, number: int, now: float) -> Asked[None]:
        router = self.routers[number]
        yield from self._turn(number, lambda dial: self._resting(dial, self.live, now, ended=True))
        yield from router.guard(self.token, 0)
        yield from self._said(router.let_go(self.token, SETTLED))
        if self.spec.drain:
            yield from self._said(router.cut(self.candidate, self.spec.drain))

    def hand_over(self, now: float) -> Asked[None]:
        """Somebody else has taken a router. Those that are still ours, for it did not reach them or not yet, give the
        traffic back now: nobody renews their dead-man, and one that is promoted has none."""
        yield from all_of([self._handed_over(number, now) for number in range(len(self.routers))])

    def _handed_over(self, number: int, now: float) -> Asked[None]:
        try:
            yield from self._ours(number)
        except (RouterError, TargetError, Fenced):
            return  # it is another's, or what it is can't be told from here
        if self.dials[number].live != self.live or not self.dials[number].at_rest:
            yield from self._said(self._back(number, now))

    def observed_good(self, now: float) -> Asked[None]:
        """From now on a rollback may come back to this version; the former one stays warm for `keep_warm`."""

        def marked(dial: Dial) -> Dial:
            slots = tuple(self._marked(slot, dial.live, now) for slot in dial.manifest.slots)
            return replace(dial, manifest=replace(dial.manifest, slots=slots))

        yield from self._all(marked)
        for router, dial in zip(self.routers, self.dials, strict=True):
            yield from router.keep(dial.manifest)
            yield from self._said(router.let_go(self.token, self.spec.keep_warm))
        yield from self.still_ours()  # a rollback of the first while the last was marked is heard, too

    # --- while it is held --------------------------------------------------------------------------------

    def renew(self, weight: int, now: float) -> Asked[None]:
        """Prolong the dead-man, and see that each router still has the share. One that is back on the safe share,
        for it started anew or nobody renewed in time, is turned again. Raises TurnBack when that comes again and
        again, Fenced when somebody else has the dial."""
        held = yield from all_of([self._renewed(number) for number in range(len(self.routers))])
        if all(held):
            return
        why = "it started anew, or nobody renewed in time"
        yield from self._lost(held.index(False), f"was back on the safe share ({why})")
        yield from self.turn(weight, now)

    def stay(self, now: float) -> Asked[None]:
        """After the promotion: each router still has it. One whose share somebody else has set is turned again. Raises
        as `renew` does."""
        yield from self.still_ours()
        moved = [n for n, dial in enumerate(self.dials) if not (dial.at_rest and dial.live == self.candidate)]
        if moved:
            yield from self._lost(moved[0], "had another share (somebody else has set it)")
            yield from self.promote(now)

    def _lost(self, number: int, what: str) -> Asked[None]:
        host = self.routers[number].host
        self._losses += 1
        if self._losses > LOSSES:
            raise TurnBack(f"the router on {host} keeps losing the dial")
        yield Note("warning", {"message": f"the router on {host} {what}; turned again"})

    def _renewed(self, number: int) -> Asked[bool]:
        """Whether the router still had the share."""
        guard = yield from self.routers[number].guard(self.token, self.spec.dead_man, renew=True)
        wanted = self._where(number)
        yield from self._ours(number)
        return not guard.fired and self._where(number) == wanted

    def again(self, weight: int, now: float) -> Asked[None]:
        """After a kill: are the dials still ours? Then they go where they were left. `weight` 0: they rest."""
        yield from self.still_ours()
        if weight or self.mirror:
            yield from self.turn(weight, now)

    def still_ours(self) -> Asked[None]:
        yield from all_of([self._ours(number) for number in range(len(self.routers))])

    def leave(self, seconds: float, asked: Mapping[str, Watch | None]) -> Asked[None]:
        """Let the dials stand without a controller, as long as the candidate adds few errors, and what its gates ask is
        answered as it should be: by gate, None where it can't be left to others."""
        left = {gate: watch for gate, watch in asked.items() if watch is not None}
        for number, (router, sample) in enumerate(zip(self.routers, self.samples, strict=True)):
            yield from self._turn(number, lambda dial: dial, seconds)
            watch = (*router.errors(self.candidate, WATCHED_ERRORS, sample), *left.values())
            guard = yield from router.guard(self.token, seconds, watch)
            unheard = [gate for gate, watch in asked.items() if watch is None or watch in guard.blind]
            if unheard:
                yield Note("warning", unwatched(unheard, router.host))

    def come_back(self, weight: int, now: float) -> Asked[None]:
        """After a pause that nobody watched. Raises TurnBack when a router has given the traffic back meanwhile."""
        wanted = [dial.share for dial in self.dials]
        yield from self.still_ours()
        for router, dial, share in zip(self.routers, self.dials, wanted, strict=True):
            if dial.share != share:
                raise TurnBack(f"while the rollout was paused, {router.host} gave the traffic back to slot {self.live}")
        yield from self.turn(weight, now)

    def sample(self) -> Asked[list[Deltas] | None]:
        """What happened since the last sample, one mapping a router; None when one can't tell (it restarted)."""
        pairs = [*zip(self.routers, self.samples, strict=True)]
        samples = yield from all_of([heard(router, router.counts(before)) for router, before in pairs])
        deltas = [interval(before, after) if before is not None else None
                  for (_, before), after in zip(pairs, samples, strict=True)]  # fmt: skip
        self.samples = [*samples]
        known = [delta for delta in deltas if delta is not None]
        return known if len(known) == len(deltas) else None

    # --- private -----------------------------------------------------------------------------------------

    def _said(self, steps: Asked[None]) -> Asked[None]:
        """What tidies up: all traffic is where it should be, so a failure of it is told and changes nothing."""
        try:
            yield from steps
        except (RouterError, TargetError, Fenced) as error:
            yield Note("warning", {"message": error.message, "help": error.help})

    def _where(self, number: int) -> tuple[int, int]:
        return self.dials[number].share, self.dials[number].mirror

    def _marked(self, slot: Slot, live: str, now: float) -> Slot:
        if slot.name == live:
            return replace(slot, observed_good=True)
        if self.spec.again:
            return Slot(slot.name, address=slot.address, port=slot.port, usable=False)
        return replace(slot, warm_until=now + self.spec.keep_warm) if slot.version else slot

    def _ours(self, number: int) -> Asked[None]:
        router = self.routers[number]
        self.dials[number] = dial = yield from heard(router, router.read())
        if not self._own(dial):
            raise Fenced(self.spec.service, router.host, self.token, dial)

    def _own(self, dial: Dial) -> bool:
        """Of two releases that began at once, from two machines, both may have taken the same token: the one that did
        not get the first router is told so here."""
        return dial.token == self.token and dial.manifest.release == self.spec.release

    def _all(self, to: Callable[[Dial], Dial], lease: float = 0.0) -> Asked[None]:
        """One after the other: of two writers that race, the one that gets the first router gets all."""
        for number in range(len(self.routers)):
            yield from self._turn(number, to, lease)

    def _turn(self, number: int, to: Callable[[Dial], Dial], lease: float = 0.0) -> Asked[None]:
        """One router, once more when it failed but answers: its own dead-man or a restart may have come between.

        What moved but was not kept on its disk is said, and is no reason to stop.
        """
        router = self.routers[number]
        for last in (False, True):
            now = self.dials[number]
            try:
                self.dials[number] = yield from router.turn(to(now), now.token, lease)
                return
            except NotKept as kept:
                self.dials[number] = kept.dial
                yield Note("warning", {"message": kept.message, "help": kept.help})
                return
            except (RouterError, Fenced):
                if last:
                    raise
                self.dials[number] = found = yield from heard(router, router.read())
                unclaimed = found.token == now.token < self.token
                if not (unclaimed or self._own(found)):
                    raise Fenced(self.spec.service, router.host, now.token, found) from None

    def _resting(self, dial: Dial, live: str, now: float, *, ended: bool = False) -> Dial:
        """All traffic on `live`. `ended`: the release is over, and its slot holds nothing any more."""
        manifest = self._manifest(dial.manifest.slots, live, now, ended=ended)
        share = share_of(live, WHOLE)
        return replace(dial, share=share, live=live, token=self.token, manifest=manifest, expires=0.0, mirror=0)

    def _manifest(self, known: tuple[Slot, ...], live: str, now: float, *, ended: bool = False) -> Manifest:
        """What a rollback needs. The candidate's slot is no place to go back to before it is promoted: a version in
        a slot that is not usable says that its release is under way."""
        spec = self.spec
        slots = []
        for name, slot in sorted(spec.slots.items()):
            had = replace(next((s for s in known if s.name == name), slot), address=slot.address, port=slot.port)
            if name == self.candidate:
                version, done = ("", ()) if ended else (spec.version, spec.irreversible)
                usable = live == self.candidate
                lost = "" if usable else had.lost or (had.version if had.usable and had.warm_until > now else "")
                slots.append(replace(slot, version=version, usable=usable, irreversible=done, lost=lost))
            elif live == self.candidate and had.version:
                longest = max(spec.bake, spec.deadline)  # a bake goes on while it has too little evidence
                slots.append(replace(had, warm_until=now + longest + spec.keep_warm))
            else:
                slots.append(replace(had, warm_until=0.0, lost=""))
        return Manifest(
            spec.service, spec.router, spec.settings, tuple(router.host for router in self.routers), tuple(slots),
            spec.release, spec.who, f"release of {spec.version}", now, spec.drain,
        )  # fmt: skip
