"""Provenance of the artifacts that a play leaves: what the engine itself saw, as a SLSA predicate. No task writes it.

What is said of a build is what was recorded of it: the tasks that ran and how they ended, the files that made the plan,
and what one question on the build's own host found (its repository, its lock files, its compiler).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import posixpath
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ciflow import __version__
from ciflow.engine.keys import Key
from ciflow.model import Exec, Read, Reply
from ciflow.supply.errors import LockError
from ciflow.supply.provenance import (
    SOURCE,
    Build,
    Material,
    materials_of_lock,
    predicate_of,
    repository_uri,
)

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun

BUILDER = "CIFLOW_BUILDER_ID"
_LOCKS = "Cargo.lock package-lock.json pnpm-lock.yaml yarn.lock poetry.lock uv.lock go.sum Gemfile.lock"
# Arguments: folders, the likeliest first. Of the repository and of lock files the nearest to the first of them counts.
_LOOK = f"""
say() {{ printf '%s %s\\n' "$1" "$2"; }}
for folder do
  top=$(cd "$folder" 2>/dev/null && git rev-parse --show-toplevel 2>/dev/null) && cd "$top" || continue
  say commit "$(git rev-parse HEAD 2>/dev/null)"
  say remote "$(git remote get-url origin 2>/dev/null || pwd)"
  say ref "$(git symbolic-ref -q HEAD || git describe --tags --exact-match 2>/dev/null | sed 's,^,refs/tags/,')"
  say dirty "$(git status --porcelain 2>/dev/null | head -c 1 | tr -c '\\n' x)"
  cd "$OLDPWD"; break
done
for folder do
  at=$(cd "$folder" 2>/dev/null && pwd) found=
  while [ -n "$at" ]; do
    for lock in {_LOCKS}; do
      [ -f "$at/$lock" ] || continue
      found=1; say lock "$(sha256sum < "$at/$lock" | cut -d ' ' -f 1) $at/$lock"
      [ "$lock" = Cargo.lock ] && rust=1
    done
    [ -z "$found" ] || break 2
    at=${{at%/*}}
  done
done
say system "$(uname -srm)"
if [ -n "$rust" ] && root=$(cd "$folder" && rustc --print sysroot 2>/dev/null); then
  say rustc "$(sha256sum < "$root/bin/rustc" | cut -d ' ' -f 1) $("$root/bin/rustc" --version)"
fi
"""


def began(work: StageRun) -> float:
    """When the play began, once for all processes that work on the run."""
    return float(work.run.recorder.rendered(f"{work.id}|began", time.time))


async def prove(work: StageRun, lane: Lane, name: str, path: str) -> str:
    """Keep what is known of how the artifact `name` was built; the digest of the blob that holds it."""
    seen = await _look(lane, name, (posixpath.dirname(path), *work.folders, work.run.folder))
    crates = await _crates(lane, name, seen)

    def make() -> str:
        build = _build(work, name, seen, crates)
        return json.dumps(work.run.mask.value(predicate_of(build)), sort_keys=True, ensure_ascii=False)

    text: str = work.run.recorder.rendered(f"{work.id}|provenance|{name}", make)
    return work.run.blobs.put(text.encode())


async def _look(lane: Lane, name: str, folders: tuple[str, ...]) -> list[tuple[str, str]]:
    """(word, what the host says), in its order."""
    reply = await _ask(lane, name, "look", Exec(argv=("/bin/sh", "-c", _LOOK, "sh", *dict.fromkeys(folders))))
    lines = (line.partition(" ") for line in reply.stdout.decode("utf-8", "replace").splitlines())
    return [(word, rest) for word, _, rest in lines if rest.strip()]


async def _crates(lane: Lane, name: str, seen: list[tuple[str, str]]) -> list[Material]:
    """What the Cargo.lock pins; one that can't be understood is still known by its digest."""
    path = next((rest.partition(" ")[2] for word, rest in seen if word == "lock" and rest.endswith("/Cargo.lock")), "")
    reply = await _ask(lane, name, "lock", Read(path=path)) if path else Reply(ok=False)
    try:
        return materials_of_lock(reply.stdout.decode("utf-8", "replace")) if reply.ok else []
    except LockError as error:
        lane.run.wire.warn(f"the provenance of {name} names no crates: {error}")
        return []


async def _ask(lane: Lane, name: str, what: str, operation: Exec | Read) -> Reply:
    key = Key(lane.run.id, lane.stage.id, lane.host.name, ("provenance", name, what))
    call = lane.wire.call(lane.connection(), lane.name, str(key), operation, probe=True)
    return await asyncio.shield(call.answer)


def _build(work: StageRun, name: str, seen: list[tuple[str, str]], crates: list[Material]) -> Build:
    run = work.run
    chosen = run.plan.selection
    asked = {
        "playbook": posixpath.basename(run.plan.path),
        "play": work.play.name,
        "artifact": name,
        "cell": dict(work.stage.cell),
        "inventory": [posixpath.basename(source) for source in run.hosts.sources],
        "tags": sorted(chosen.tags),
        "skip_tags": sorted(chosen.skip_tags),
        "limit": chosen.limit,
        "extra_vars": sorted(map(str, run.extra)),
    }
    found = dict(seen)
    inside = {
        "system": found.get("system", ""),
        "hosts": [host.name for host in work.hosts],
        "tasks": [_task(host, data) for host, data in work.done],
    }
    versions = {"ciflow": __version__, "python": platform.python_version()}
    materials = [*_repository(found), *_locks(seen), *crates, *_sources(work), *_artifacts(work)]
    return Build(
        builder_id(os.environ), versions, asked, inside, materials, f"{run.id}/{work.id}", began(work), time.time()
    )


def _task(host: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """One task as it was: how it ended, and the command that was run, where one was."""
    told = {name: data[name] for name in ("name", "module", "status")} | {"host": host}
    cmd = data["outcome"].get("cmd")
    return told | ({"cmd": cmd} if cmd else {})


def _repository(found: Mapping[str, str]) -> Iterator[Material]:
    if found.get("commit"):
        uri = repository_uri(found["remote"], found.get("ref") or _ref_of_ci(found["commit"]))
        yield Material(SOURCE, uri, {"gitCommit": found["commit"]}, {"dirty": "dirty" in found})


def _ref_of_ci(commit: str) -> str:
    """A CI checks out a commit, and says beside it of which branch or tag it is."""
    return os.environ.get("GITHUB_REF", "") if os.environ.get("GITHUB_SHA") == commit else ""


def _locks(seen: list[tuple[str, str]]) -> Iterator[Material]:
    for word, rest in seen:
        digest, _, what = rest.partition(" ")
        if word == "lock":
            yield Material(posixpath.basename(what), digest={"sha256": digest})
        elif word == "rustc":
            yield Material("rustc", digest={"sha256": digest}, notes={"version": what})


def _sources(work: StageRun) -> Iterator[Material]:
    """The files that made the plan; an encrypted one as it lies on the disk."""
    folder = work.run.folder
    for path, content in work.run.files.snapshot().items():
        if not path.endswith("/"):
            whole = posixpath.abspath(path)
            name = posixpath.relpath(whole, folder) if whole.startswith(f"{folder}/") else posixpath.basename(whole)
            yield Material(name, digest={"sha256": hashlib.sha256(content).hexdigest()}, notes={"of": "playbook"})


def _artifacts(work: StageRun) -> Iterator[Material]:
    """What earlier plays left and tasks of this one took."""
    for _, data in work.done:
        values = data["outcome"]
        if data["module"] == "artifact" and values.get("sha256"):
            yield Material(str(values["name"]), digest={"sha256": str(values["sha256"])}, notes={"of": "earlier play"})


def builder_id(environ: Mapping[str, str]) -> str:
    """Who builds: what the environment says, the CI's workflow or runner, else this machine."""
    if environ.get(BUILDER):
        return environ[BUILDER]
    if environ.get("GITHUB_WORKFLOW_REF"):
        return f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{environ['GITHUB_WORKFLOW_REF']}"
    if environ.get("GITLAB_CI"):
        return f"{environ.get('CI_PROJECT_URL', '')}/-/runners/{environ.get('CI_RUNNER_ID', '')}"
    return f"urn:ciflow:host:{platform.node()}"
