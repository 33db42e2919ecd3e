"""What a play leaves to later plays: artifacts by name and outputs by expression."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.engine.keys import Key
from ciflow.lang.template import render
from ciflow.model import Read, Reply, Stat

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun


async def keep_artifacts(work: StageRun) -> None:
    """Fetch the play's artifacts from its first host into the content-addressed store, and name them."""
    if not work.play.artifacts or work.run.options.check:
        return
    lane = work.alive[0]
    for artifact in work.play.artifacts:
        name, path = (str(render(part, lane.scope())) for part in (artifact.name, artifact.path))
        found = await _ask(lane, name, Stat(path=path, hash="sha256", follow=True))
        if not found.data.get("exists"):
            raise Invalid(
                [Diagnostic("error", "CF0310", f"the artifact `{name}` is not there: {path}", work.play.span)]
            )
        digest = work.run.recorder.rendered(f"{work.id}|artifact|{name}", lambda: "")
        if not digest or not work.run.blobs.path(digest).exists():
            digest = await _keep(lane, name, path)
        work.run.artifacts[name] = str(work.run.blobs.path(digest))
        data = {"name": name, "path": path, "sha256": digest, "size": int(found.data.get("size", 0))}
        work.run.recorder.emit("artifact", data, play=work.id, key=name)


async def _keep(lane: Lane, name: str, path: str) -> str:
    if lane.connection().kind == "local":
        return lane.run.blobs.put_file(Path(path).expanduser())  # both begin where ciflow did
    reply = await _ask(lane, name, Read(path=path))
    if not reply.ok:
        text = f"the artifact `{name}` can't be read: {reply.error}"
        raise Invalid([Diagnostic("error", "CF0310", text, lane.stage.play.span)])
    return lane.run.blobs.put(reply.stdout)


async def _ask(lane: Lane, name: str, operation: Stat | Read) -> Reply:
    key = Key(lane.run.id, lane.stage.id, lane.host.name, ("artifact", name, type(operation).__name__))
    call = lane.wire.call(lane.connection(), lane.name, str(key), operation, probe=True)
    return await asyncio.shield(call.answer)


def outputs_of(work: StageRun) -> dict[str, Any]:
    """The play's `outputs`, as its first host sees them at the end."""
    scope = work.scope_of(work.hosts[0])
    return {name: render(value, scope) for name, value in work.play.outputs.items()}
