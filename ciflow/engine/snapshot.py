"""The sources of a run as it read them: kept for a resume, sealed when the run knows secrets that may stand in them.

Sealed under the run's key, which is forgotten at its end, an inventory with passwords in plain text is then nobody's to
read. Without known secrets it is kept as it is, and costs no cipher.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from ciflow.lang.files import Files
from ciflow.lang.vault import Vault
from ciflow.model import Event
from ciflow.store.mask import Mask
from ciflow.store.seal import Seal
from ciflow.store.store import Store

_CONTEXT = "snapshot"


def keep_snapshot(store: Store, files: Files, seal: Seal, mask: Mask) -> str:
    """The digest of the blob that holds every file read so far, encrypted ones as they lie on the disk."""
    content = {path: base64.b64encode(data).decode("ascii") for path, data in files.snapshot().items()}
    text = json.dumps(content, sort_keys=True)
    if mask:
        text = json.dumps([seal.seal(text.encode("ascii"), _CONTEXT)])
    return store.blobs.put(text.encode("ascii"))


def snapshot_of(store: Store, digest: str, seal: Seal) -> dict[str, bytes]:
    """The files of a snapshot, by path. StoreError when it is damaged or can't be opened any more."""
    content = json.loads(store.blobs.get(digest))
    if isinstance(content, list):
        content = json.loads(seal.open(content[0], _CONTEXT))
    return {path: base64.b64decode(data) for path, data in content.items()}


def files_of(store: Store, run: str, past: Sequence[Event], vault: Vault) -> Files:
    """The sources of a run as its processes have read them."""
    seal = store.keys.existing(run)
    read = (snapshot_of(store, digest, seal) for digest in snapshots_in(past))
    return Files.frozen({path: data for one in read for path, data in one.items()}, vault)


def snapshots_in(past: Sequence[Event]) -> tuple[str, ...]:
    """The digests of the snapshots that these events tell of."""
    return tuple(dict.fromkeys(event.data["snapshot"] for event in past if event.data.get("snapshot")))
