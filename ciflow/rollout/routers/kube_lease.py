"""The lease of a service in a cluster: what its guard, the dead-man's pod, is told there, and what it answers.

`lease.ciflow` says how the traffic is given back, and after how long without another word. `later.ciflow-KEY` is work
that the guard does once, alone, unless somebody has claimed the dial since: to retire a slot, to cut what is still
connected to one, to let go of the pods that were kept for a way back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ciflow.dataclass import dataclass
from ciflow.model import Http, Operation, Watch
from ciflow.rollout.routers.dial import Asked, Guard, Manifest, RouterError, done
from ciflow.rollout.routers.kube_asks import Asks
from ciflow.rollout.routers.kube_objects import (
    BLIND,
    LATER,
    LEASE,
    MANIFEST,
    SEEN,
    Ref,
    Thing,
    comparable,
    guard_objects,
    guard_ref,
    later_objects,
    lease_ref,
    noted,
)

PAUSE = 0.02  # seconds at least between two looks
ANSWER = 10.0  # seconds that the guard may take to answer
START = 180.0  # seconds that the guard's image may take to come and start
GiveBack: TypeAlias = list[dict[str, Any]]
Held: TypeAlias = Mapping[str, Any]  # one thing that must hold, as the guard reads it


def ready(service: str) -> Held:
    """A Service has a pod that is ready, but for a moment."""
    return {"service": service, "least": 1, "misses": 1, "every": 2.0}


def answered(watch: Watch) -> Held:
    """An answer over HTTP. Where somebody is asked otherwise nobody but a host could do it."""
    assert isinstance(watch.read, Http), f"the guard of a cluster asks over HTTP, not {watch.read}"
    said = {"limit": watch.limit, "least": watch.least, "misses": watch.misses, "every": watch.every}
    return {"url": watch.read.url, "headers": dict(watch.read.headers), "pattern": watch.pattern, **said}


@dataclass(frozen=True, slots=True)
class Errand:
    """One request that the guard makes later: a JSON Patch, an object to apply, or, with neither, a removal. `right`
    is what it needs to be allowed."""

    path: str
    right: Mapping[str, Any]
    patch: Sequence[Mapping[str, Any]] | None = None
    object: Mapping[str, Any] | None = None
    force: bool = False

    def to_data(self) -> dict[str, Any]:
        """As the guard's program reads it."""
        if self.patch is not None:
            path = f"{self.path}?fieldManager=ciflow"
            return {"method": "PATCH", "path": path, "type": "json-patch+json", "body": list(self.patch)}
        if self.object is not None:
            path = f"{self.path}?fieldManager=ciflow&force={'true' if self.force else 'false'}"
            return {"method": "PATCH", "path": path, "type": "apply-patch+yaml", "body": self.object}
        body = {"propagationPolicy": "Background"}
        return {"method": "DELETE", "path": self.path, "type": "json", "body": body}


@dataclass(frozen=True, slots=True)
class Lease:
    """Of one service. Every write is compare-and-set: Overtaken where another writer came first."""

    service: str
    asks: Asks

    def guarded(self, namespace: str, image: str, refs: tuple[Ref, ...]) -> Asked[None]:
        """The guard and what it needs, made or brought up to date; it runs when this returns."""
        yield from self.asks.apply(guard_objects(self.service, namespace, image, refs), "for the guard")
        reply = yield from self.asks.wait(guard_ref(self.service), START, PAUSE)
        help = "`guard_image` needs python3, 3.7 or later."
        done(reply, "waiting for the guard to run", str(self.asks.place), help=help)

    def held(self) -> Asked[Thing]:
        """The lease as it is."""
        help = "A rollout makes it before its first step."
        (held,) = yield from self.asks.read((lease_ref(self.service),), help)
        return held

    # --- the dead-man -----------------------------------------------------------------------------------

    def arm(self, held: Thing, give_back: GiveBack, after: float, watch: Sequence[Held] = ()) -> Asked[Thing]:
        """`watch` is what must hold, too, until the next word."""
        word: dict[str, Any] = {"epoch": _word(held).get("epoch", 0) + 1, "renewal": 0, "after": after}
        word |= {"give_back": give_back, **({"watch": list(watch)} if watch else {})}
        held = yield from self._say(held, word)
        state = yield from self._heard(word)
        if state != "armed":
            raise RouterError(
                f"the guard of {self.service} in {self.asks.place} did not arm the dead-man: it says {state}",
                help=f"The dial was not turned. `kubectl logs deployment/{guard_ref(self.service).name}`",
            )
        return held

    def blind(self) -> Asked[list[int]]:
        """Which of what it watches had no answer when the guard first looked, by number."""
        return [int(number) for number in json.loads(noted((yield from self.held()), BLIND) or "[]")]

    def renew(self, held: Thing, give_back: GiveBack, after: float) -> Asked[Guard]:
        """One that has fired, or was never armed, stays so: the controller must first know."""
        word = _word(held)
        if not word.get("after"):
            return Guard(armed=False)
        word = {**word, "renewal": word["renewal"] + 1, "after": after, "give_back": give_back}
        yield from self._say(held, word)
        state = yield from self._heard(word)
        return Guard(armed=state == "armed", fired=state == "fired")

    def disarm(self, held: Thing) -> Asked[Guard]:
        word = _word(held)
        if word.get("after"):
            yield from self._say(held, {**word, "renewal": word["renewal"] + 1, "after": 0, "give_back": []})
        return Guard(armed=False)

    def _say(self, held: Thing, word: Mapping[str, Any]) -> Asked[Thing]:
        text = comparable(json.dumps(word, separators=(",", ":")))
        return (yield from self.asks.set(lease_ref(self.service), held, LEASE, text, []))

    def _heard(self, word: Mapping[str, Any]) -> Asked[str]:
        """What the guard says to that word: armed, fired or idle."""
        begins = f"{word['epoch']}.{word['renewal']} "
        condition = {"path": ["metadata", "annotations", SEEN], "begins": begins}
        reply = yield from self.asks.wait(lease_ref(self.service), ANSWER, PAUSE, condition)
        if not reply.ok:
            name = guard_ref(self.service).name
            pods = yield from self.asks.wait(guard_ref(self.service), 0.0, PAUSE)
            help = pods.error or f"`kubectl logs deployment/{name}` says more."
            done(reply, f"waiting for the answer of the guard, Deployment {name},", str(self.asks.place), help)
        return str(noted(reply.data["object"], SEEN)).rpartition(" ")[2]

    # --- what it does alone, later ----------------------------------------------------------------------

    def later(
        self, key: str, namespace: str, token: int, after: float, dial: tuple[str, str], errands: Sequence[Errand]
    ) -> Asked[None]:
        """`errands` are run `after` seconds after the guard has heard of them, if `token` is still the dial's. `dial`
        is where that stands: the address of an object, and the annotation. What a greater token has left stays."""
        held = yield from self.held()
        name = f"{LATER}{key}"
        if json.loads(noted(held, name) or "{}").get("token", 0) > token:
            return
        rights = [errand.right for errand in errands]
        yield from self.asks.apply(later_objects(self.service, namespace, key, rights), "for what the guard does later")
        path, note = dial
        word: dict[str, Any] = {"token": token, "after": after, "path": path, "note": note}
        word["errands"] = [errand.to_data() for errand in errands]
        text = comparable(json.dumps(word, separators=(",", ":")))
        yield from self.asks.set(lease_ref(self.service), held, name, text, [])

    # --- what a rollback finds --------------------------------------------------------------------------

    @property
    def knock(self) -> Operation:
        return self.asks.place.request("read", lease_ref(self.service).words)

    def keep(self, manifest: Manifest) -> Asked[None]:
        """The manifest in the lease, which a rollback finds by its label. The dial's own object has it too."""
        patch = {"metadata": {"annotations": {MANIFEST: manifest.to_json()}}}
        words = {**lease_ref(self.service).words, "patch": patch}
        done((yield self.asks.change("patch", words)), "keeping the manifest", str(self.asks.place))


def _word(held: Thing) -> dict[str, Any]:
    """What the lease says, {} where it never said anything."""
    word: dict[str, Any] = json.loads(noted(held, LEASE) or "{}")
    return word
