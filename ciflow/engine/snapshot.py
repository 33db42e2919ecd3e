"""The sources that a run has read, kept with it: a resume reads them as they were."""

from __future__ import annotations

import base64
import json

from ciflow.lang.files import Files
from ciflow.store.store import Store


def keep_snapshot(store: Store, files: Files) -> str:
    """The digest of a blob that holds every file read so far."""
    content = {path: base64.b64encode(data).decode("ascii") for path, data in files.snapshot().items()}
    return store.blobs.put(json.dumps(content, sort_keys=True).encode("ascii"))


def snapshot_of(store: Store, digest: str) -> dict[str, bytes]:
    """What such a blob holds, by path."""
    content = json.loads(store.blobs.get(digest))
    return {path: base64.b64decode(data) for path, data in content.items()}
