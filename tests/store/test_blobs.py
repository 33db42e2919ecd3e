"""What is put comes back unchanged, by its digest, or is said to be gone or damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ciflow.diagnostics import StoreError
from ciflow.store.blobs import Blobs


def test_content_is_found_by_its_sha256(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    digest = blobs.put(b"abc")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert blobs.get(digest) == b"abc"
    assert blobs.put(b"abc") == digest
    assert len([p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]) == 1
    assert not blobs.has("0" * 64)


def test_a_large_file_is_copied_and_keeps_its_digest(tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(b"0123456789abcdef" * 300_000)
    blobs = Blobs(tmp_path / "blobs")
    digest = blobs.put_file(source)
    assert digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert blobs.path(digest).read_bytes() == source.read_bytes()


def test_a_changed_or_missing_blob_is_never_given_out(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    digest = blobs.put(b"plan")
    blobs.path(digest).write_bytes(b"plam")
    with pytest.raises(StoreError, match="is damaged"):
        blobs.get(digest)
    blobs.path(digest).unlink()
    with pytest.raises(StoreError, match="no readable blob"):
        blobs.get(digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n"])
def test_what_is_no_digest_leads_nowhere(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256 digest"):
        Blobs(tmp_path).path(digest)
