"""What routers share whose dial is an object of a Kubernetes cluster: gateway-api, ingress-nginx, istio, replicas.

The dial stands in an annotation of the very object that splits the traffic, so that one JSON Patch compares the
annotation with what was read, moves the weights and sets it anew: of two writers one finds another text there. Where
the split is made of several objects each has the annotation, and a newer writer touches them all.

A guard in the cluster holds the dead-man (`kube_guard.py`): it keeps a lease, and gives the traffic back by patches
that were made when the dial was turned, and that fit that one dial alone. All is asked of the API server; no host is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from ciflow.dataclass import dataclass
from ciflow.model import At, Operation, Watch
from ciflow.rollout.routers.counts import Counts, Sample
from ciflow.rollout.routers.dial import (
    WHOLE,
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
)
from ciflow.rollout.routers.kube_asks import TRIES, Asks, Overtaken
from ciflow.rollout.routers.kube_errands import errands_of, refuse_strange
from ciflow.rollout.routers.kube_lease import PAUSE, Errand, GiveBack, Held, Lease, answered, ready
from ciflow.rollout.routers.kube_objects import Patch, Ref, Thing, annotated, comparable, noted, noting
from ciflow.rollout.routers.kube_owners import refuse_owned
from ciflow.rollout.routers.kube_settings import KubeSettings
from ciflow.rollout.routers.kube_sizes import SLICE, Sizes

T = TypeVar("T")
REACH = 3.0  # seconds that a new slot's Service may take to have an endpoint
LOST = "Does somebody else apply it? Or was nobody back before `dead_man` was over, so that the guard gave it back?"
TAKE = 10.0  # seconds that who routes may take to say that it has a new split


@dataclass(frozen=True, slots=True)
class KubeRouter(ABC):
    """See `dial.Router`. One of these says which objects split the traffic, and how."""

    service: str
    host: str
    slots: Mapping[str, Slot]
    settings: KubeSettings

    kind: ClassVar[str] = ""
    holds_expiry: ClassVar[bool] = False
    counted: ClassVar[bool] = False

    # --- what each router says of itself ----------------------------------------------------------------

    @property
    @abstractmethod
    def refs(self) -> tuple[Ref, ...]:
        """The objects that split the traffic; the first holds the dial."""

    @abstractmethod
    def example(self) -> str:
        """YAML of what must be there."""

    @abstractmethod
    def share(self, things: Sequence[Thing], safe: int) -> int:
        """The share of slot b that the objects say, where several do the one that is furthest from `safe`. Raises
        RouterError where they are not as they must be."""

    @abstractmethod
    def moves(self, things: Sequence[Thing], to: Dial) -> list[Patch]:
        """For each object what gives slot b its share, as long as it is as it was in all that this relies on."""

    def taken(self) -> Asked[None]:
        """Wait until who routes says that it has the objects as they now are; nothing where nobody says so."""
        yield from ()

    # --- start ------------------------------------------------------------------------------------------

    def prepare(self, first: Dial) -> Asked[Dial]:
        """The objects are there and fit, the guard runs. A split without a dial gets one, and stays as it is."""
        things = yield from self._things()
        self.share(things, first.safe)
        for ref, thing in zip(self.refs, things, strict=True):
            if not self.settings.gitops:
                refuse_owned(ref, thing, self.note, self.own_paths(ref))
        yield from self._lease.guarded(_space(things), self.settings.guard_image, self.refs)
        if noted(things[0], self.note) is None:
            start = yield from self._first(first, things)
            yield from self._write(things, start, start.token)
        return (yield from self.read())

    def _first(self, first: Dial, things: Sequence[Thing]) -> Asked[Dial]:
        """The dial of a split that ciflow has not turned before: the slot that serves everybody is live."""
        share = self.share(things, first.safe)
        if share not in (0, WHOLE):
            raise RouterError(
                f"{self.refs[0]} gives slot b {share / 100:g} % and holds no dial of ciflow",
                help="Give one slot all of the traffic first: ciflow takes that one for the live one.",
            )
        live = "b" if share else "a"
        serves = bool(first.live) or (yield from self.answers(self.slots[live]))
        return replace(first, share=share, live=live if serves else "")

    @abstractmethod
    def own_paths(self, ref: Ref) -> tuple[str, ...]:
        """jq paths of what a turn changes in that object, beside the annotation."""

    # --- the dial ---------------------------------------------------------------------------------------

    @property
    def note(self) -> str:
        """The annotation that holds the dial."""
        return f"dial.ciflow/{self.service}"

    @property
    def where(self) -> str:
        return str(self.settings.place)

    @property
    def asks(self) -> Asks:
        return Asks(self.host, self.settings.place)

    @property
    def _lease(self) -> Lease:
        return Lease(self.service, self.asks)

    @property
    def _sizes(self) -> Sizes | None:
        """None where nobody said which Deployments the slots are."""
        said = self.settings
        return Sizes(self.service, self.asks, said.deployments, said.surge, said.timeout) if said.deployments else None

    def read(self) -> Asked[Dial]:
        return self._dial((yield from self._things()))

    def _dial(self, things: Sequence[Thing]) -> Dial:
        """All but the share from the annotation; a share that somebody else has set is told as it is."""
        found = self._noted_dial(things[0])
        if found is None:
            raise RouterError(
                f"{self.refs[0]} in {self.where} holds no dial yet",
                help="A rollout puts one there before its first step.",
            )
        return replace(found, share=self.share(things, found.safe))

    def _noted_dial(self, thing: Thing) -> Dial | None:
        text = noted(thing, self.note)
        if text is None:
            return None
        try:
            return Dial.from_json(text)
        except (ValueError, LookupError, TypeError) as error:
            raise RouterError(
                f"annotation {self.note} of {self.refs[0]} is not a dial of ciflow: {error!r}",
                help="Remove it; the next rollout writes a new one.",
            ) from error

    def turn(self, to: Dial, expect: int, lease: float = 0.0) -> Asked[Dial]:
        """The lease and the objects are read before the token is looked at: whoever writes in between makes the
        patches of this writer fail. Where a promotion is several writes the guard gives back one that was not
        finished."""
        held = (yield from self._lease.held()) if lease > 0 and (not to.at_rest or len(self.refs) > 1) else None
        things = yield from self._things()
        now = self._dial(things)
        check_turn(self, now, to, expect, lease)
        if now.at_rest and not to.at_rest:
            yield from self._reachable(to)
        to = replace(to, revision=now.revision + 1 if to.token == now.token else 1, expires=0.0)
        before = self._noted_dial(things[0]) or now
        undone = kept_until(to, before)
        ways = [(to, undone)] if before.at_rest else [(to, undone), (before, before.settled())]
        give_back = self._give_back(things, *ways)
        if held is not None:
            held = yield from self._fenced(self._lease.arm(held, give_back, lease), expect)
        yield from self._write(things, to, expect)
        found = yield from self._read_back(to, expect)
        if held is not None and to.at_rest:
            yield from self._fenced(self._lease.disarm(held), expect)
        elif held is not None:
            kept = yield from self._fenced(self._lease.renew(held, give_back, lease), expect)
            if not kept.armed:  # it fired while this controller was asleep, before there was anything to give back
                held = yield from self._lease.held()
                yield from self._fenced(self._lease.arm(held, give_back, lease), expect)
        return found

    def _reachable(self, to: Dial) -> Asked[None]:
        """Before the candidate gets its first traffic its Service must have an endpoint."""
        slot = self.slots[to.candidate]
        reply = yield self._probe("wait", self._endpoints(slot, REACH))
        what = f"slot {slot.name} of {self.service} does not answer: Service {slot.address}"
        done(reply, what, self.where, help="The dial was not turned. Is the candidate running?")

    def _write(self, things: Sequence[Thing], to: Dial, expect: int) -> Asked[None]:
        """Object by object, the one with the dial first: it decides between two writers."""
        moves = self.moves(things, to)
        for ref, thing, move in zip(self.refs, things, moves, strict=True):
            yield from self._fenced(self.asks.set(ref, thing, self.note, as_text(to), move), expect)

    def _fenced(self, steps: Asked[T], expect: int) -> Asked[T]:
        """Of two writers one is overtaken: it is told by whom."""
        try:
            return (yield from steps)
        except Overtaken as error:
            raise Fenced(self.service, self.host, expect, (yield from self.read())) from error

    def _read_back(self, to: Dial, expect: int) -> Asked[Dial]:
        yield from self.taken()
        found = yield from self.read()
        other = found.order() == to.order() and found.manifest != to.manifest
        if other or found.order() > to.order():
            raise Fenced(self.service, self.host, expect, found)
        if found != to:
            text = f"did not keep share {to.share / 100:g} %: it has {found.share / 100:g} %"
            raise RouterError(f"{self.refs[0]} in {self.where} {text}", help=LOST)
        return found

    # --- dead-man ---------------------------------------------------------------------------------------

    def guard(self, expect: int, after: float, watch: tuple[Watch, ...] = (), *, renew: bool = False) -> Asked[Guard]:
        """The guard's lease. Armed here, not by a turn, it stands alone: then the candidate's Service must have a pod
        that is ready, too."""
        held = yield from self._lease.held()
        things = yield from self._things()
        now = self._dial(things)
        if now.token != expect:
            raise Fenced(self.service, self.host, expect, now)
        stands = self._noted_dial(things[0]) or now
        give_back = self._give_back(things, (stands, stands.settled()))
        if after > 0 and renew:
            return (yield from self._fenced(self._lease.renew(held, give_back, after), expect))
        if after > 0:
            held_to = [*(answered(one) for one in watch), *([] if now.at_rest else self._ready(now.candidate))]
            yield from self._fenced(self._lease.arm(held, give_back, after, held_to), expect)
            blind = (yield from self._lease.blind()) if watch else []
            return Guard(armed=True, blind=tuple(one for number, one in enumerate(watch) if number in blind))
        return (yield from self._fenced(self._lease.disarm(held), expect))

    def _ready(self, slot: str) -> list[Held]:
        return [ready(self.slots[slot].address)]

    def _give_back(self, things: Sequence[Thing], *ways: tuple[Dial, Dial]) -> GiveBack:
        """For each object the patches that lead from these dials, and from nothing else, to those where traffic is
        safe. A turn names the dial before it as well: whoever dies between arming and writing leaves that one, or one
        object with each."""
        back = []
        for number, ref in enumerate(self.refs):
            known = []
            for stands, safe in ways:
                thing = annotated(things[number], self.note, as_text(stands))
                patch = noting(thing, self.note, as_text(safe), self.moves(things, safe)[number])
                known.append({"text": as_text(stands), "patch": patch})
            back.append({"path": ref.path, "note": self.note, "ways": known})
        return back

    # --- pods -------------------------------------------------------------------------------------------

    def strengthen(self, weight: int, expect: int, lease: float) -> Asked[None]:
        """See kube_sizes.py. While pods are waited for the dead-man is kept from giving the traffic back."""
        sizes = self._sizes
        if sizes is None:
            return
        now = yield from self.read()
        if now.token != expect:
            raise Fenced(self.service, self.host, expect, now)
        if not now.live:
            return
        raising = sizes.raised(now.live, now.candidate, weight, first=now.at_rest)
        pods = yield from self._fenced(raising, expect)
        for last in (*(False for _ in range(int(sizes.timeout / SLICE))), True):
            reply = yield from sizes.wait(now.candidate, pods)
            if reply.ok:
                return
            if last:
                sizes.lacking(now.candidate, pods, reply)
            if not now.at_rest:
                yield from self.guard(expect, lease, renew=True)

    def let_go(self, expect: int, after: float) -> Asked[None]:
        """The guard does it, `after` seconds from now."""
        if self._sizes is None:
            return
        things = yield from self._things()
        errands = yield from self._sizes.let_go(self._dial(things).live)
        if errands:
            yield from self._left("sizes", things, expect, after, errands)

    # --- what outlives a release ------------------------------------------------------------------------

    @property
    def knock(self) -> Operation:
        return self._lease.knock

    def keep(self, manifest: Manifest) -> Asked[None]:
        return self._lease.keep(manifest)

    def answers(self, slot: Slot) -> Asked[bool]:
        reply = yield self._probe("wait", self._endpoints(slot, 1.0))
        return reply.status == "done" and reply.ok

    def _endpoints(self, slot: Slot, timeout: float) -> dict[str, Any]:
        words = {"api_version": "v1", "kind": "Service", "name": slot.address}
        return {**words, "endpoints": True, "timeout": timeout, "pause": PAUSE}

    def can_cut(self, after: float) -> Asked[None]:  # noqa: ARG002 - at any time
        """The pods of the slot are replaced, which ends what is connected to them."""
        if self._sizes is None:
            raise RouterError(
                f"router {self.kind} can't cut the connections of one slot, which `drain` asks for",
                help="`deployments: {a: .., b: ..}` of the router says whose pods are to be replaced",
            )
        yield from ()

    def cut(self, slot: str, after: float) -> Asked[None]:
        """What an earlier release has left is void once the dial is claimed."""
        if not slot or self._sizes is None:
            return
        things = yield from self._things()
        token = self._dial(things).token
        yield from self._left("cut", things, token, after, [(yield from self._sizes.replaced(slot, token))])

    def may_leave(self, place: str, operations: Sequence[Operation]) -> None:  # noqa: ARG002 - it is the guard's
        refuse_strange(self.service, self.settings.place, operations)

    def leave(self, place: str, operations: Sequence[Operation], token: int, after: float) -> Asked[None]:  # noqa: ARG002
        things = yield from self._things()
        space = _space(things)
        errands = yield from errands_of(self.asks, self.service, space, operations)
        yield from self._left("retire", things, token, after, errands)

    def call_off(self, place: str) -> Asked[None]:  # noqa: ARG002
        """Whoever claims the dial has done so."""
        yield from ()

    def _left(
        self, key: str, things: Sequence[Thing], token: int, after: float, errands: Sequence[Errand]
    ) -> Asked[None]:
        space = _space(things)
        dial = (self.refs[0].path.replace("{namespace}", space), self.note)
        yield from self._fenced(self._lease.later(key, space, token, after, dial, errands), token)

    def errors(self, slot: str, more: int, since: Sample | None = None) -> tuple[Watch, ...]:  # noqa: ARG002
        return ()

    def counts(self, before: Sample | None = None) -> Asked[Sample]:  # noqa: ARG002
        """Nothing is counted, and nothing is judged by it: gates ask a provider."""
        yield from ()
        return Sample(self.host, "", 0.0, {"a": Counts(), "b": Counts()})

    # --- how it is asked --------------------------------------------------------------------------------

    def _things(self) -> Asked[list[Thing]]:
        """All of one dial: where they are several, they are read until the first one stays as it was."""
        help = f"{self.kind} needs:\n{self.example()}"
        things = yield from self._read(self.refs, help)
        for _ in range(TRIES if len(self.refs) > 1 else 0):
            (again,) = yield from self._read(self.refs[:1], help)
            if noted(again, self.note) == noted(things[0], self.note):
                break
            things = yield from self._read(self.refs, help)
        return things

    def _read(self, refs: Sequence[Ref], help: str) -> Asked[list[Thing]]:
        return self.asks.read(refs, help)

    def _probe(self, verb: str, words: Mapping[str, Any]) -> At:
        return self.asks.probe(verb, words)


def as_text(dial: Dial) -> str:
    """As the annotation holds it."""
    return comparable(dial.to_json())


def _space(things: Sequence[Thing]) -> str:
    """The namespace that the dial is in."""
    return str(things[0]["metadata"]["namespace"])
