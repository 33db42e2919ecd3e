"""Keeps what vouches for a release, whatever becomes of the folders it was written to: bills of materials, scans,
signatures and attestations go into the store as soon as their play has ended."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.engine.keys import Key
from ciflow.model import Read, Task

if TYPE_CHECKING:
    from ciflow.engine.result import Result
    from ciflow.engine.stage import StageRun


@dataclass(frozen=True, slots=True)
class Document:
    """Something that a task wrote on a host ("" for the controller)."""

    kind: str
    host: str
    path: str


def documents_of(task: Task, host: str, result: Result) -> list[Document]:
    """What a task, each item of it, wrote that is evidence. A scan that failed is evidence as well."""
    found: list[Document] = []
    for values in result.values.get("results") or (result.values,):
        if task.module in ("sbom", "scan"):
            found += (Document(task.module, host, str(path)) for path in values.get("files") or ())
        elif task.module == "sign" and values.get("key_id"):
            found.append(Document("signature", "", str(values["bundle"])))
        elif task.module == "attest" and values.get("key_id"):
            found += (Document("attestation", "", str(path)) for path in values["attestations"].values())
    return found


def scans_of(task: Task, result: Result) -> dict[str, Mapping[str, Any]]:
    """Reports on artifacts that a task made, by the artifact's digest; also of one that failed by what it found."""
    if task.module != "scan":
        return {}
    every = result.values.get("results") or (result.values,)
    return {str(one["artifact_sha256"]): one for one in every if one.get("artifact_sha256") and "findings" in one}


async def keep_documents(work: StageRun) -> None:
    """Each once, and told of by an event `evidence`. One that is gone already is warned of."""
    if work.run.options.check:
        return
    for document in dict.fromkeys(work.documents):
        await _keep(work, document)


async def _keep(work: StageRun, document: Document) -> None:
    run = work.run
    lane = work.lanes.get(document.host) if document.host else None
    connection, name = (lane.connection(), lane.name) if lane else (run.controller, f"{work.id}|")
    key = Key(run.id, work.id, document.host, ("evidence", document.path))
    call = run.wire.call(connection, name, str(key), Read(path=document.path), probe=True)
    reply = await asyncio.shield(call.answer)
    if not reply.ok:
        run.wire.warn(f"not kept as evidence: {document.path}: {reply.error}")
        return
    data: dict[str, Any] = {
        "kind": document.kind,
        "name": posixpath.basename(document.path),
        "path": document.path,
        "sha256": run.blobs.put(reply.stdout),
    }
    run.recorder.emit("evidence", data, play=work.id, host=document.host, key=document.path)
