"""Replies that hold a secret rest encrypted, under a key that dies with its run.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce for each sealing; the context (an operation's key) is
authenticated with it, so that a sealed reply can't be moved to another place.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ciflow.diagnostics import StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_NONCE = 12
_KEY = 32


class Keys:
    """Keys by run, each a file of mode 0600 beside the journal, never in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, run: str) -> Seal:
        """The run's seal; its key is made at the first call. StoreError when it can't be kept."""
        path = self._path(run)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                _create(path, os.urandom(_KEY))
            key = path.read_bytes()
        except OSError as e:
            raise StoreError(f"the key of run {run} can't be kept in {self._folder}: {e.strerror}") from e
        if len(key) != _KEY:
            raise StoreError(f"the key {path} is damaged: what run {run} sealed can't be read any more")
        return Seal(run, key)

    def existing(self, run: str) -> Seal:
        """The run's seal, for a resume. StoreError when its key is gone: the sealed replies can't be read."""
        if not self._path(run).exists():
            raise StoreError(
                f"the key of run {run} is gone: replies that held secrets can't be read any more",
                help="start a new run; what was done converges again",
            )
        return self.of(run)

    def forget(self, run: str) -> None:
        """At the run's end: what it sealed can't be read by anybody from now on."""
        path = self._path(run)
        for left in (path, *path.parent.glob(f".{glob.escape(path.name)}-*")):  # and of who was killed while making it
            left.unlink(missing_ok=True)

    def _path(self, run: str) -> Path:
        if not _NAME.fullmatch(run) or run.startswith("."):
            raise ValueError(f"not a run id: {run!r}")
        return self._folder / f"{run}.key"


def _create(path: Path, key: bytes) -> None:
    """Whole or not at all; of two creators the first wins."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()


class Seal:
    """Seals and opens with one run's key. The text form is base64, safe in JSON."""

    def __init__(self, run: str, key: bytes) -> None:
        self._run = run
        self.key = key

    @cached_property
    def _cipher(self) -> AESGCM:
        """Loaded with the first secret: most runs have none."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self.key)

    @property
    def digest_key(self) -> bytes:
        """For keyed digests of operations: without it a digest tells nothing of a guessable content."""
        return hashlib.blake2b(b"operations", key=self.key, digest_size=32).digest()

    def seal(self, content: bytes, context: str) -> str:
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, content, context.encode("utf-8", "surrogateescape"))
        return base64.b64encode(sealed).decode("ascii")

    def open(self, sealed: str, context: str) -> bytes:
        """StoreError when it was sealed with another key or for another context, or was changed since."""
        from cryptography.exceptions import InvalidTag

        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], context.encode("utf-8", "surrogateescape"))
        except (InvalidTag, ValueError) as e:
            raise StoreError(f"a sealed reply of run {self._run} doesn't open: it was changed or moved") from e
