"""What a play leaves to later plays, and what it takes from the store: artifacts by name, outputs by expression."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, TypeVar

from ciflow.dataclass import dataclass
from ciflow.diagnostics import ArtifactError, Diagnostic, Invalid, StoreError
from ciflow.engine.keys import Key
from ciflow.engine.rendering import Rendering
from ciflow.lang.scope import MISSING
from ciflow.model import Artifact, Read, Reply, Stat, Task

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun

T = TypeVar("T")
_PIECE = 16 * 1024 * 1024  # bytes of a host's file that are held at once
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Asked:
    """An artifact of a play, rendered. `digest` without its prefix."""

    name: str
    path: str
    key: str
    digest: str


async def take_artifacts(work: StageRun) -> bool:
    """Name what the store has of the play's artifacts. True when that is all that the play would have made, so that it
    needs not run. Raises Invalid where the store lacks what no play makes."""
    if not any(one.key is not None or one.digest is not None for one in work.play.artifacts):
        return False
    rendering = _rendering(work.own_lane(work.hosts[0]), "taken")
    asked = [await _asked(one, rendering) for one in work.play.artifacts]
    there = [await _found(work, one) for one in asked]
    makes = [one for one in asked if one.path]
    made = bool(makes) and all(digest for one, digest in zip(asked, there, strict=True) if one.path)
    for one, digest in zip(asked, there, strict=True):
        if not one.path and not digest:
            raise _invalid(work, "CF0310", f"the store has no artifact `{one.name}` with the key `{one.key}`")
        if not one.path or made:
            await _name(work, one, digest)
            _proven(work, one.name, digest, work.run.proofs(digest))
    return made


def _proven(work: StageRun, name: str, digest: str, proof: str) -> None:
    """How it was built is known: now, or in an earlier run of this machine."""
    if proof:
        work.run.provenance[name] = str(work.run.blobs.path(proof))
        told = {"name": name, "sha256": digest, "predicate": proof}
        work.run.recorder.emit("provenance", told, play=work.id, key=name)


def _rendering(lane: Lane, what: str) -> Rendering:
    """Templates of the play itself, as one of its hosts sees them at this moment."""
    task = Task(f"What is {what}", "meta", {}, lane.stage.play.span, (what,))
    return Rendering(lane, task, replace(lane.key, path=task.path))


async def _asked(artifact: Artifact, rendering: Rendering) -> Asked:
    parts = [await rendering.value(part) for part in (artifact.name, artifact.path, artifact.key, artifact.digest)]
    name, path, key, digest = ("" if part is None else str(part) for part in parts)
    found = _DIGEST.fullmatch(digest)
    if digest and not found:
        text = f"the digest of the artifact `{name}` is no SHA-256: {digest}"
        raise _invalid(rendering.lane.stage, "CF0310", text)
    return Asked(name, path, key, found[1] if found else "")


async def _found(work: StageRun, asked: Asked) -> str:
    """The digest of what the store has for it, or ""; a resumed run finds what it found at first."""
    if asked.digest or not asked.key:
        return asked.digest
    recorded = f"{work.id}|artifact|{asked.name}|found"
    known = work.run.recorder.known(recorded)
    if known is MISSING:
        entry = await _in_background(work, asked.name, lambda: work.run.store.find(asked.name, asked.key))
        known = work.run.recorder.rendered(recorded, lambda: entry.digest if entry is not None else "")
    return str(known)


async def keep_artifacts(work: StageRun) -> list[dict[str, Any]]:
    """Fetch what the play made from its first host into the store, and name it; what the events say of it."""
    kept: list[dict[str, Any]] = []
    if work.run.options.check or not work.play.artifacts:
        return kept
    from ciflow.engine.provenance import prove  # only who leaves something says how it was built

    lane = work.alive[0]
    rendering = _rendering(lane, "left")
    for artifact in work.play.artifacts:
        if artifact.path is None:
            continue
        asked = await _asked(artifact, rendering)
        recorded = f"{work.id}|artifact|{asked.name}"
        digest = work.run.recorder.known(recorded)
        if digest is MISSING or not await _taken(work, digest):
            fetched = await _fetched(lane, asked)
            digest = work.run.recorder.rendered(recorded, partial(str, fetched))
            if digest != fetched:
                text = f"the artifact `{asked.name}` is another one than before this run was resumed: {asked.path}"
                raise _invalid(work, "CF0310", text)
        kept.append(await _name(work, asked, digest))
        _proven(work, asked.name, digest, await prove(work, lane, asked.name, asked.path))
    return kept


async def leave_again(work: StageRun, left: Mapping[str, Any]) -> bool:
    """What the play `left` in another run is there as if it had run in this one; False where the store has lost it."""
    for one in left["artifacts"]:
        if not await _taken(work, one["sha256"]):
            return False
    for one in left["artifacts"]:
        await _name(work, Asked(one["name"], one["path"], one.get("key", ""), ""), one["sha256"])
        _proven(work, one["name"], one["sha256"], work.run.proofs(one["sha256"]))
    if left["outputs"]:
        work.run.outputs[work.play.id] = dict(left["outputs"])
    return True


async def _taken(work: StageRun, digest: str) -> bool:
    """Whether the store still has what an earlier process of the run left."""
    try:
        await _in_background(work, digest[:12], lambda: work.run.store.take(digest))
    except Invalid:
        return False
    return True


async def _name(work: StageRun, asked: Asked, digest: str) -> dict[str, Any]:
    """From now on plays know it; and so do other machines, where they share a store. A rehearsal tells nobody."""
    run = work.run
    needed = run.needed() if run.store.where else {}

    def name() -> tuple[Path, int]:
        path = run.store.take(digest)
        if not run.options.check:
            run.store.name(asked.name, digest, needed, run=run.id, play=work.id, key=asked.key)
        return path, path.stat().st_size

    path, size = await _in_background(work, asked.name, name)
    run.artifacts[asked.name] = str(path)
    data: dict[str, Any] = {"name": asked.name, "path": asked.path, "sha256": digest, "size": size}
    data |= {"key": asked.key} if asked.key else {}
    data |= {"store": run.store.where} if run.store.where else {}
    run.recorder.emit("artifact", data, play=work.id, key=asked.name)
    return data


async def _fetched(lane: Lane, asked: Asked) -> str:
    """Bring a file of the host here, unless it is here already; its digest, which is the host's word and ours."""
    work = lane.stage
    found = await _ask(lane, asked.name, Stat(path=asked.path, hash="sha256", follow=True))
    if not found.data.get("exists"):
        raise _invalid(work, "CF0310", f"the artifact `{asked.name}` is not there: {asked.path}")
    if found.data.get("kind") != "file":
        text = f"the artifact `{asked.name}` is a {found.data.get('kind')}: {asked.path}"
        raise _invalid(work, "CF0310", text, help="pack it into one file first, as with tar")
    digest, store = str(found.data["hash"]), lane.run.store
    if store.has(digest):
        return digest
    if lane.connection().kind == "local":
        source = Path(asked.path).expanduser()  # both begin where ciflow did
        arrived = await _in_background(work, asked.name, lambda: store.put_file(source))
    else:
        arrived = await _brought(lane, asked, int(found.data["size"]))
    if arrived != digest:
        raise _invalid(work, "CF0312", f"the artifact `{asked.name}` changed while it was fetched: {asked.path}")
    return digest


async def _brought(lane: Lane, asked: Asked, size: int) -> str:
    """Piece by piece through the connection."""
    store = lane.run.store
    with NamedTemporaryFile(dir=store.scratch(), prefix=".arriving-") as file:
        for offset in range(0, size, _PIECE):
            piece = Read(path=asked.path, offset=offset, length=min(_PIECE, size - offset))
            reply = await _ask(lane, asked.name, piece, str(offset))
            if not reply.ok:
                raise _invalid(lane.stage, "CF0310", f"the artifact `{asked.name}` can't be read: {reply.error}")
            if not reply.stdout:  # shorter than its host said: a host that says 10^18 would have us ask for ever
                break
            file.write(reply.stdout)
        file.flush()
        return await _in_background(lane.stage, asked.name, lambda: store.put_file(Path(file.name)))


async def _ask(lane: Lane, name: str, operation: Stat | Read, which: str = "") -> Reply:
    kind = type(operation).__name__
    key = Key(lane.run.id, lane.stage.id, lane.host.name, ("artifact", name, f"{kind} {which}".strip()))
    call = lane.wire.call(lane.connection(), lane.name, str(key), operation, probe=True)
    return await asyncio.shield(call.answer)


async def _in_background(work: StageRun, name: str, function: Callable[[], T]) -> T:
    """What takes long and is not the loop's: in a thread that no end of the run waits for. A store that can't be
    had fails the play, at its place: the journal may be well."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as caught:
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return await done
    except (ArtifactError, StoreError) as error:
        text = f"the artifact `{name}`: {error.message}"
        raise _invalid(work, "CF0312", text, help=error.help) from error


def _invalid(work: StageRun, code: str, text: str, help: str = "") -> Invalid:
    return Invalid([Diagnostic("error", code, text, work.play.span, help=help)])


async def outputs_of(work: StageRun) -> dict[str, Any]:
    """The play's `outputs`, as its first host sees them at the end."""
    rendering = _rendering(work.own_lane(work.hosts[0]), "output")
    return {name: await rendering.value(value) for name, value in work.play.outputs.items()}
