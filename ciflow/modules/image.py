"""`image`: an image in a Docker daemon's store: from its registry, built, named, sent to a registry, or away."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Context, Outcome, Reply, Step, Steps
from ciflow.modules.container_values import pairs
from ciflow.modules.dockerd import (
    Failed,
    answer,
    digests,
    do,
    granted,
    in_registry,
    look,
    missing,
    named,
    part,
    pull,
    reference,
    registry_of,
    status,
)
from ciflow.modules.replies import failure, well
from ciflow.modules.sources import Missing, find

Asking = Generator[Step, Reply, Any]
BUILD_PATIENCE = 3600.0  # seconds that a build may say nothing


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Each step looks before it changes, so that check mode says what would be."""
    try:
        return (yield from _Image(args, context).go())
    except Failed as failed:
        return failed.outcome


@dataclass(slots=True)
class _Image:
    """One task about one image."""

    args: Mapping[str, Any]
    context: Context
    done: list[str] = field(default_factory=list)
    pushed: str = ""  # digest that the registry gave

    @property
    def name(self) -> str:
        return reference(str(self.args["name"]), str(self.args.get("tag") or ""))

    def go(self) -> Steps:
        found = yield from self._inspect(self.name)
        if self.args["state"] == "absent":
            return (yield from self._absent(found))
        before = found
        found = yield from (self._built(found) if self.args["source"] == "build" else self._pulled(found))
        self._check_digest(found)
        for target in [self.args["repository"]] if self.args.get("repository") else []:
            yield from self._tagged(found, reference(target, named(self.name)[1] or "latest"))
        if self.args["push"]:
            yield from self._push(reference(self.args.get("repository") or self.name, named(self.name)[1] or "latest"))
        data = {"name": self.name, "image": found or {}, "actions": list(self.done), "digests": digests(found)}
        data |= {"digest": self.pushed} if self.pushed else {}
        words = ("would: " if self.context.check else "done: ") + ", ".join(self.done)
        diff = (_told(before), _told(found, new=bool(self.done))) if self.context.diff and self.done else None
        return Outcome(changed=bool(self.done), msg=words if self.done else "nothing to do", data=data, diff=diff)

    def _inspect(self, name: str) -> Asking:
        reply = yield look(self.args, f"/images/{part(name)}/json")
        if missing(reply):
            return None
        return granted(reply, f"look at the image {name}")

    # --- where it comes from -----------------------------------------------------------------------------

    def _pulled(self, found: Any) -> Asking:
        """`local` never asks a registry. `force` asks it for the digest first, so that nothing moves for nothing."""
        if self.args["source"] == "local":
            if found is None:
                raise Failed(Outcome(failed=True, msg=f"the image {self.name} is not here, and `source` is local"))
            return found
        if found is not None and not self.args["force"]:
            return found
        if found is not None and (yield from in_registry(self.args, self.name)) in digests(found):
            return found
        reply = yield pull(self.args, self.name, self.args.get("platform", ""))
        self.done.append(f"pull {self.name}")
        if self.context.check:
            return found
        granted(reply, f"pull {self.name}")
        return (yield from self._inspect(self.name))

    def _built(self, found: Any) -> Asking:
        if found is not None and not self.args["force"]:
            return found
        build = self.args.get("build") or {}
        folder = yield from find(str(build.get("path") or "."), self.context)
        if isinstance(folder, Missing):
            raise Failed(Outcome(failed=True, msg=str(folder)))
        query: dict[str, Any] = {"t": self.name, "dockerfile": build.get("dockerfile") or "Dockerfile", "rm": True}
        query |= {"buildargs": pairs(build["args"])} if build.get("args") else {}
        query |= {"labels": pairs(build["labels"])} if build.get("labels") else {}
        query |= {key: build[name] for name, key in _BUILD.items() if build.get(name)}
        reply = yield do(
            self.args, "POST", "/build", query=query, context=folder.path, dockerfile=query["dockerfile"],
            auth="*", pieces=True, timeout=BUILD_PATIENCE,
        )  # fmt: skip
        if self.context.check:
            self.done.append(f"build {self.name}")
            return found
        if not well(reply):
            raise Failed(_build_failure(self.name, reply))
        new = yield from self._inspect(self.name)
        if found is None or new["Id"] != found["Id"]:
            self.done.append(f"build {self.name}")
        return new

    def _check_digest(self, found: Any) -> None:
        """A tag can be moved to another image; a digest that was given holds what was meant."""
        wanted = str(self.args.get("digest") or "")
        if not wanted or (found is None and self.context.check):
            return
        there = [*digests(found), str((found or {}).get("Id", ""))]
        if wanted not in there:
            msg = f"{self.name} is another image than was meant: {', '.join(filter(None, there))}, not {wanted}"
            raise Failed(Outcome(failed=True, msg=msg, data={"name": self.name, "digests": digests(found)}))

    # --- where it goes -----------------------------------------------------------------------------------

    def _tagged(self, found: Any, target: str) -> Asking:
        there = yield from self._inspect(target)
        if there is not None and found is not None and there["Id"] == found["Id"]:
            return
        repository, tag, _ = named(target)
        reply = yield do(self.args, "POST", f"/images/{part(self.name)}/tag", query={"repo": repository, "tag": tag})
        self.done.append(f"tag {target}")
        if not self.context.check:
            granted(reply, f"name it {target}")

    def _push(self, target: str) -> Asking:
        """A registry that has all of it under that name already makes it no change."""
        repository, tag, _ = named(target)
        here = yield from self._inspect(target)
        known = yield from in_registry(self.args, target)
        if known and f"{repository}@{known}" in ((here or {}).get("RepoDigests") or []):
            self.pushed = known
            return
        reply = yield do(
            self.args, "POST", f"/images/{part(repository)}/push", query={"tag": tag},
            auth=registry_of(target), pieces=True,
        )  # fmt: skip
        self.done.append(f"push {target}")
        if not self.context.check:
            granted(reply, f"push {target}")
            told = [one["aux"] for one in answer(reply) if isinstance(one.get("aux"), Mapping)]
            self.pushed = next((str(one["Digest"]) for one in told if one.get("Digest")), "")

    def _absent(self, found: Any) -> Steps:
        if found is None:
            return Outcome(data={"name": self.name})
        reply = yield do(self.args, "DELETE", f"/images/{part(self.name)}", query={"force": self.args["force"]})
        if not self.context.check and status(reply) != 404:
            granted(reply, f"remove {self.name}")
        diff = (_told(found), _told(None)) if self.context.diff else None
        return Outcome(changed=True, msg=f"removed {self.name}", data={"name": self.name}, diff=diff)


_BUILD = {
    "target": "target", "network": "networkmode", "platform": "platform", "nocache": "nocache", "pull": "pull",
}  # fmt: skip


def _build_failure(name: str, reply: Reply) -> Outcome:
    """The builder's own words, the last ones of them."""
    told = "".join(str(one.get("stream", "")) for one in answer(reply) or [] if isinstance(one, Mapping))
    failed = failure(reply, {}, f"could not build {name}")
    return Outcome(failed=True, unknown=failed.unknown, msg=failed.msg, data={"name": name, "stdout": told[-8000:]})


def _told(found: Any, *, new: bool = False) -> str:
    if found is None:
        return "exists: true\n" if new else "exists: false\n"
    return f"exists: true\nid: {found['Id']}\n"
