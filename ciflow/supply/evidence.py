"""The archive of a release's evidence: a tar whose every byte follows from what is in it, with digests of all."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from typing import Any

from ciflow.supply.canonical import to_bytes
from ciflow.supply.errors import SignatureError
from ciflow.supply.strict import read

FORM = "ciflow-evidence/1"
MANIFEST = "evidence.json"
MOST_BYTES = 512 * 1024 * 1024
MOST_FILES = 10_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*(/[A-Za-z0-9_][A-Za-z0-9._@+-]*)?")


def pack(about: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The archive of these files, and of `about` with their digests and its own. Same evidence gives the same bytes.

    Digests find what was damaged; only a signature over the archive finds who packed it anew.
    """
    listed = [
        {"path": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in sorted(files.items())
    ]
    said = {"form": FORM, **about, "files": listed}
    return _tar({**files, MANIFEST: to_bytes({**said, "sha256": hashlib.sha256(to_bytes(said)).hexdigest()})})


def unpack(archive: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(what the manifest says, the files), once all of it is as it was packed.

    Raises:
        SignatureError: cut off, changed, with names that lead elsewhere, or too large.
    """
    files = _untar(archive)
    if MANIFEST not in files:
        raise SignatureError(f"the archive has no {MANIFEST}")
    manifest = read(files.pop(MANIFEST), MANIFEST)
    if manifest.text("form") != FORM:
        raise SignatureError(f"{MANIFEST}.form: {manifest.text('form')!r} is not known here")
    listed = {one.text("path"): one for one in manifest.objects("files")}
    for name in sorted(listed.keys() ^ files.keys()):
        raise SignatureError(f"{name}: " + ("it is missing" if name in listed else "nobody has listed it"))
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != listed[name].text("sha256"):
            raise SignatureError(f"{name}: it is not what was kept: digests differ")
    about = {name: value for name, value in manifest.value.items() if name not in ("form", "files", "sha256")}
    if pack(about, files) != archive:
        raise SignatureError("the archive is not as ciflow packs it: it was changed outside of its files")
    return about, files


def _tar(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def _untar(archive: bytes) -> dict[str, bytes]:
    if len(archive) > MOST_BYTES:
        raise SignatureError(f"the archive is larger than {MOST_BYTES // 1024**2} MiB")
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for entry in tar:
                if len(found) >= MOST_FILES:
                    raise SignatureError(f"the archive has more than {MOST_FILES} files")
                if not entry.isreg() or not _NAME.fullmatch(entry.name) or entry.name in found:
                    raise SignatureError(f"the archive has an entry that is no file of its own: {entry.name!r}")
                content = tar.extractfile(entry)
                found[entry.name] = content.read() if content is not None else b""
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as e:
        if isinstance(e, SignatureError):
            raise
        raise SignatureError(f"the archive can't be read: {e}") from e
    return found
