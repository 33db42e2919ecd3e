"""What routers share whose dial is an object of a Kubernetes cluster: gateway-api, ingress-nginx, istio, replicas.

The dial stands in an annotation of the very object that splits the traffic, so that one JSON Patch compares the
annotation with what was read, moves the weights and sets it anew: of two writers one finds another text there. Where
the split is made of several objects each has the annotation, and a newer writer touches them all.

A guard in the cluster holds the dead-man (`kube_guard.py`): it keeps a lease, and gives the traffic back by patches
that were made when the dial was turned, and that fit that one dial alone. All is asked of the API server; no host is.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.model import At, Change, Operation, Probe, Watch
from ciflow.rollout.routers.dial import (
    WHOLE,
    Asked,
    Counts,
    Dial,
    Fenced,
    Guard,
    Manifest,
    RouterError,
    Sample,
    Slot,
    check_turn,
    done,
)
from ciflow.rollout.routers.kube_objects import (
    LEASE,
    MANIFEST,
    SEEN,
    Patch,
    Place,
    Ref,
    Thing,
    annotated,
    guard_objects,
    guard_ref,
    lease_ref,
    noted,
    noting,
)

SETTINGS = ("name", "namespace", "kubeconfig", "context", "guard_image", "gitops")
GUARD_IMAGE = "docker.io/library/python:3.13-alpine"
REACH = 3.0  # seconds that a new slot's Service may take to have an endpoint
TAKE = 10.0  # seconds that who routes may take to say that it has a new split
PAUSE = 0.02  # seconds at least between two looks
ANSWER = 10.0  # seconds that the guard may take to answer
START = 180.0  # seconds that the guard's image may take to come and start
GiveBack: TypeAlias = list[dict[str, Any]]
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")  # RFC 1035, with room for what ciflow puts before it
OWNERS = {
    "argocd.argoproj.io/": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}
TRIES = 5  # while others write to the same objects
INVALID = 422  # a `test` of a patch has failed, or the object would not be valid


@dataclass(frozen=True, slots=True)
class KubeSettings:
    """`name` of the object that splits the traffic; `gitops`: who else applies it leaves the split alone."""

    name: str
    place: Place = Place()
    guard_image: str = GUARD_IMAGE
    gitops: bool = False
    tester: tuple[str, str] | None = None


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
            self._not_owned(ref, thing)
        yield from self._guarded(str(things[0]["metadata"]["namespace"]))
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

    def _not_owned(self, ref: Ref, thing: Thing) -> None:
        """Refuse what somebody else puts back to what a repository says."""
        metadata = thing["metadata"]
        if self.settings.gitops or noted(thing, "kustomize.toolkit.fluxcd.io/ssa") in ("IfNotPresent", "Ignore"):
            return
        marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
        owner = next((name for mark, name in OWNERS.items() if any(one.startswith(mark) for one in marks)), "")
        if owner:
            raise RouterError(
                f"{ref} is applied by {owner}, which would put the traffic back to what its repository says",
                help=f"Let it leave that alone, then say `gitops: true`:\n{self._left_alone(ref, owner)}",
            )

    def _left_alone(self, ref: Ref, owner: str) -> str:
        if owner == "Flux":
            return "metadata: {annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}  # of that object"
        note = f'.metadata.annotations["{self.note}"]'
        group, paths = ref.api_version.rpartition("/")[0], json.dumps([*self.own_paths(ref), note])
        return (
            "ignoreDifferences:  # of the Application, with syncOptions: [RespectIgnoreDifferences=true]\n"
            f"  - {{group: {group}, kind: {ref.kind}, name: {ref.name}, jqPathExpressions: {paths}}}"
        )

    @abstractmethod
    def own_paths(self, ref: Ref) -> tuple[str, ...]:
        """jq paths of what a turn changes in that object, beside the annotation."""

    def _guarded(self, namespace: str) -> Asked[None]:
        """The guard and what it needs, made or brought up to date; it runs when this returns."""
        for thing in guard_objects(self.service, namespace, self.settings.guard_image, self.refs):
            words = {"api_version": thing["apiVersion"], "kind": thing["kind"], "object": thing}
            what = f"making {thing['kind']} {thing['metadata']['name']} for the guard"
            done((yield self._change("apply", {**words, "name": thing["metadata"]["name"]})), what, self.where)
        reply = yield self._probe("wait", {**guard_ref(self.service).words, "timeout": START})
        done(reply, "waiting for the guard to run", self.where, help="`guard_image` needs python3, 3.7 or later.")

    # --- the dial ---------------------------------------------------------------------------------------

    @property
    def note(self) -> str:
        """The annotation that holds the dial."""
        return f"dial.ciflow/{self.service}"

    @property
    def where(self) -> str:
        return str(self.settings.place)

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
        patches of this writer fail."""
        held = None if to.at_rest else (yield from self._lease())
        things = yield from self._things()
        now = self._dial(things)
        check_turn(self, now, to, expect, lease)
        if now.at_rest and not to.at_rest:
            yield from self._reachable(to)
        to = replace(to, revision=now.revision + 1 if to.token == now.token else 1, expires=0.0)
        before = self._noted_dial(things[0]) or now
        give_back = self._give_back(things, to, *(() if before.at_rest else (before,)))
        if held is not None:
            held = yield from self._arm(held, give_back, lease, expect)
        yield from self._write(things, to, expect)
        found = yield from self._read_back(to, expect)
        if held is not None and not (yield from self._renew(held, give_back, lease, expect)).armed:
            # it fired while this controller was asleep, before there was anything to give back
            yield from self._arm((yield from self._lease()), give_back, lease, expect)
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
            yield from self._set(ref, thing, self.note, to.to_json(), move, expect)

    def _read_back(self, to: Dial, expect: int) -> Asked[Dial]:
        yield from self.taken()
        found = yield from self.read()
        other = found.order() == to.order() and found.manifest != to.manifest
        if other or found.order() > to.order():
            raise Fenced(self.service, self.host, expect, found)
        if found != to:
            text = f"did not keep share {to.share / 100:g} %: it has {found.share / 100:g} %"
            raise RouterError(f"{self.refs[0]} in {self.where} {text}", help="Does somebody else apply it?")
        return found

    # --- dead-man ---------------------------------------------------------------------------------------

    def guard(self, expect: int, after: float, watch: tuple[Watch, ...] = (), *, renew: bool = False) -> Asked[Guard]:  # noqa: ARG002
        """The guard's lease. There is nothing to `watch`: such a router counts nothing."""
        held = yield from self._lease()
        things = yield from self._things()
        now = self._dial(things)
        if now.token != expect:
            raise Fenced(self.service, self.host, expect, now)
        give_back = self._give_back(things, self._noted_dial(things[0]) or now)
        if after > 0 and renew:
            return (yield from self._renew(held, give_back, after, expect))
        if after > 0:
            yield from self._arm(held, give_back, after, expect)
            return Guard(armed=True)
        word = _word(held)
        if word.get("after"):
            yield from self._say(held, {**word, "renewal": word["renewal"] + 1, "after": 0, "give_back": []}, expect)
        return Guard(armed=False)

    def _give_back(self, things: Sequence[Thing], *dials: Dial) -> GiveBack:
        """For each object the patches that undo these dials, and nothing but them. A turn names the dial before it as
        well: whoever dies between arming and writing leaves that one, or one object with each."""
        back = []
        for number, ref in enumerate(self.refs):
            ways = []
            for dial in dials:
                settled = dial.settled()
                thing = annotated(things[number], self.note, dial.to_json())
                patch = noting(thing, self.note, settled.to_json(), self.moves(things, settled)[number])
                ways.append({"text": dial.to_json(), "patch": patch})
            back.append({"path": ref.path, "note": self.note, "ways": ways})
        return back

    def _arm(self, held: Thing, give_back: GiveBack, after: float, expect: int) -> Asked[Thing]:
        word = {"epoch": _word(held).get("epoch", 0) + 1, "renewal": 0, "after": after, "give_back": give_back}
        held = yield from self._say(held, word, expect)
        state = yield from self._heard(word)
        if state != "armed":
            raise RouterError(
                f"the guard of {self.service} in {self.where} did not arm the dead-man: it says {state}",
                help=f"The dial was not turned. `kubectl logs deployment/{guard_ref(self.service).name}`",
            )
        return held

    def _renew(self, held: Thing, give_back: GiveBack, after: float, expect: int) -> Asked[Guard]:
        """One that has fired, or was never armed, stays so: the controller must first know."""
        word = _word(held)
        if not word.get("after"):
            return Guard(armed=False)
        word = {**word, "renewal": word["renewal"] + 1, "after": after, "give_back": give_back}
        yield from self._say(held, word, expect)
        state = yield from self._heard(word)
        return Guard(armed=state == "armed", fired=state == "fired")

    def _lease(self) -> Asked[Thing]:
        (held,) = yield from self._read((lease_ref(self.service),), "A rollout makes it before its first step.")
        return held

    def _say(self, held: Thing, word: Mapping[str, Any], expect: int) -> Asked[Thing]:
        text = json.dumps(word, separators=(",", ":"))
        return (yield from self._set(lease_ref(self.service), held, LEASE, text, [], expect))

    def _heard(self, word: Mapping[str, Any]) -> Asked[str]:
        """What the guard says to that word: armed, fired or idle."""
        begins = f"{word['epoch']}.{word['renewal']} "
        condition = {"path": ["metadata", "annotations", SEEN], "begins": begins}
        words = {**lease_ref(self.service).words, "condition": condition, "timeout": ANSWER, "pause": PAUSE}
        name = guard_ref(self.service).name
        reply = yield self._probe("wait", words)
        if not reply.ok:
            pods = yield self._probe("wait", {**guard_ref(self.service).words, "timeout": 0.0})
            help = pods.error or f"`kubectl logs deployment/{name}` says more."
            done(reply, f"waiting for the answer of the guard, Deployment {name},", self.where, help)
        return str(noted(reply.data["object"], SEEN)).rpartition(" ")[2]

    # --- what outlives a release ------------------------------------------------------------------------

    @property
    def knock(self) -> Operation:
        return self.settings.place.request("read", lease_ref(self.service).words)

    def keep(self, manifest: Manifest) -> Asked[None]:
        """In the lease, which a rollback finds by its label. The dial's own object has it too."""
        words = {
            **lease_ref(self.service).words,
            "patch": {"metadata": {"annotations": {MANIFEST: manifest.to_json()}}},
        }
        done((yield self._change("patch", words)), "keeping the manifest", self.where)

    def answers(self, slot: Slot) -> Asked[bool]:
        reply = yield self._probe("wait", self._endpoints(slot, 1.0))
        return reply.status == "done" and reply.ok

    def _endpoints(self, slot: Slot, timeout: float) -> dict[str, Any]:
        words = {"api_version": "v1", "kind": "Service", "name": slot.address}
        return {**words, "endpoints": True, "timeout": timeout, "pause": PAUSE}

    def can_cut(self, after: float) -> Asked[None]:  # noqa: ARG002 - at no time
        yield from ()
        raise RouterError(
            f"router {self.kind} can't cut the connections of one slot, which `drain` asks for",
            help="Leave `drain` out: a pod that ends cuts its own.",
        )

    def cut(self, slot: str, after: float) -> Asked[None]:  # noqa: ARG002 - there is never anything to cut
        yield from ()

    def unclaimed(self, token: int) -> Operation:  # noqa: ARG002 - nobody can tell
        raise RouterError(
            f"`retire` is not built for the router {self.kind}: no host of its cluster does tasks alone",
            help="Leave it out, and let a later play take the old version down.",
        )

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
        found = []
        for ref in refs:
            reply = yield self._probe("read", ref.words)
            things = done(reply, f"reading {ref}", self.where, help=help).data["objects"]
            if not things:
                raise RouterError(f"there is no {ref} in {self.where}", help=help)
            found.append(things[0])
        return found

    def _set(self, ref: Ref, thing: Thing, name: str, text: str, between: Patch, expect: int) -> Asked[Thing]:
        """Compare and set an annotation, with what moves along; the object as it is then."""
        for _ in range(TRIES):
            reply = yield self._change("patch", {**ref.words, "patch": noting(thing, name, text, between)})
            if reply.status != "done" or reply.ok or reply.data.get("status") != INVALID:
                break
            (now,) = yield from self._read((ref,), "")
            if noted(now, name) == text:
                return now  # the answer of the first time was lost
            if noted(now, name) != noted(thing, name):
                raise Fenced(self.service, self.host, expect, (yield from self.read()))
            if noted(now, name) is not None:
                break  # something that the patch relies on has changed
            thing = now
        after: Thing = done(reply, f"writing to {ref}", self.where, help="Has somebody changed it just now?").data[
            "after"
        ]
        return after

    def _probe(self, verb: str, words: Mapping[str, Any]) -> At:
        return At(self.host, Probe(self.settings.place.request(verb, words)))

    def _change(self, verb: str, words: Mapping[str, Any]) -> At:
        return At(self.host, Change(self.settings.place.request(verb, words)))


def _word(held: Thing) -> dict[str, Any]:
    """What the lease says, {} where it never said anything."""
    word: dict[str, Any] = json.loads(noted(held, LEASE) or "{}")
    return word


def kube_settings(kind: str, settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot]) -> KubeSettings:
    """What all of them are told. Raises Refused for names that can't be in a cluster."""
    if not LABEL.fullmatch(service):
        raise Refused(f"the service {service} of router {kind} is to be named as Kubernetes names things: a-z, 0-9, -")
    for slot in slots.values():
        if not LABEL.fullmatch(slot.address):
            raise Refused(
                f"`address` of slot {slot.name} must be the name of its Service, not {slot.address}",
                help=f"slots: {{a: {{address: {service}-a, port: 80}}, b: {{address: {service}-b, port: 80}}}}",
            )
    if slots["a"].address == slots["b"].address:
        raise Refused(f"slots a and b of router {kind} must have a Service each, not both {slots['a'].address}")
    words = {name: str(settings.get(name) or "") for name in ("kubeconfig", "context", "namespace")}
    return KubeSettings(
        name=str(settings.get("name", service)),
        place=Place(**words),
        guard_image=str(settings.get("guard_image", GUARD_IMAGE)),
        gitops=bool(settings.get("gitops", False)),
    )


def not_sticky(kind: str, by: str) -> None:
    if by:
        raise Refused(
            f"by: {by} is not built for the router {kind}, which has no word for it",
            help="Use router haproxy or nginx for sticky users, or leave `by` out.",
        )
