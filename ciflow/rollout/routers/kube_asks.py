"""How routers in a cluster ask its API server: reads, compare-and-set of an annotation, waits. Generators, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError
from ciflow.model import At, Change, Probe, Reply
from ciflow.rollout.routers.dial import Asked, RouterError, done
from ciflow.rollout.routers.kube_objects import Patch, Place, Ref, Thing, noted, noting

TRIES = 5  # while others write to the same objects
INVALID = 422  # a `test` of a patch has failed, or the object would not be valid


class Overtaken(CiflowError):
    """Another writer has set the annotation first."""


@dataclass(frozen=True, slots=True)
class Asks:
    """`host` is the router's, by which the engine knows whose steps these are; `place` which cluster is asked."""

    host: str
    place: Place

    def probe(self, verb: str, words: Mapping[str, Any]) -> At:
        return At(self.host, Probe(self.place.request(verb, words)))

    def change(self, verb: str, words: Mapping[str, Any]) -> At:
        return At(self.host, Change(self.place.request(verb, words)))

    def read(self, refs: Sequence[Ref], help: str) -> Asked[list[Thing]]:
        """The objects. Raises RouterError where one is not there."""
        found = []
        for ref in refs:
            reply = yield self.probe("read", ref.words)
            things = done(reply, f"reading {ref}", str(self.place), help=help).data["objects"]
            if not things:
                raise RouterError(f"there is no {ref} in {self.place}", help=help)
            found.append(things[0])
        return found

    def all(self, words: Mapping[str, Any], what: str) -> Asked[list[Thing]]:
        """All objects of a kind in the namespace."""
        reply = yield self.probe("read", words)
        return list(done(reply, f"looking for {what}", str(self.place)).data["objects"])

    def apply(self, things: Sequence[Mapping[str, Any]], why: str) -> Asked[None]:
        """Make objects, or bring them up to date."""
        for thing in things:
            name = thing["metadata"]["name"]
            words = {"api_version": thing["apiVersion"], "kind": thing["kind"], "name": name, "object": thing}
            done((yield self.change("apply", words)), f"making {thing['kind']} {name} {why}", str(self.place))

    def wait(self, ref: Ref, timeout: float, pause: float, condition: Mapping[str, Any] | None = None) -> Asked[Reply]:
        """The reply: `ok` once the object is ready, or as the condition says."""
        words: dict[str, Any] = {**ref.words, "timeout": timeout, "pause": pause}
        return (yield self.probe("wait", words if condition is None else {**words, "condition": condition}))

    def set(self, ref: Ref, thing: Thing, name: str, text: str, between: Patch) -> Asked[Thing]:
        """Compare and set an annotation, with what moves along; the object as it is then. Raises Overtaken."""
        for _ in range(TRIES):
            reply = yield self.change("patch", {**ref.words, "patch": noting(thing, name, text, between)})
            if reply.status != "done" or reply.ok or reply.data.get("status") != INVALID:
                break
            (now,) = yield from self.read((ref,), "")
            if noted(now, name) == text:
                return now  # the answer of the first time was lost
            if noted(now, name) != noted(thing, name):
                raise Overtaken(f"somebody else has set {name} of {ref}")
            if noted(now, name) is not None:
                break  # something that the patch relies on has changed
            thing = now
        what, help = f"writing to {ref}", "Has somebody changed it just now?"
        after: Thing = done(reply, what, str(self.place), help=help).data["after"]
        return after
