"""The content of a large Write on its way to the agent: hash first, content only when asked for, within credit."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.encoding import encode_operation
from ciflow.model import Operation, Write
from ciflow.targets import wire

INLINE = 32 * 1024  # bytes of content that travel with the operation itself


@dataclass(slots=True)
class Upload:
    """Content from memory, or from the controller's file `source`. `sha256` is empty until it was measured."""

    content: bytes = b""
    source: str = ""
    size: int = 0
    sha256: str = ""
    offset: int = -1  # next byte to send; negative: the agent has not asked
    credit: int = wire.CREDIT
    fell_short: bool = False
    _file: int = -1

    def measure(self) -> None:
        """Size and hash. OSError when the file can't be read."""
        if not self.source:
            self.size, self.sha256 = len(self.content), hashlib.sha256(self.content).hexdigest()
            return
        with Path(self.source).open("rb") as f:
            self.sha256 = hashlib.file_digest(f, "sha256").hexdigest()
            self.size = f.tell()

    def next(self, limit: int) -> bytes:
        """The next piece that may be sent now, or b"". A file that became shorter since sets `fell_short`."""
        amount = min(limit, self.credit, self.size - self.offset)
        if self.offset < 0 or amount <= 0:
            return b""
        piece = self._read(amount)
        self.fell_short = not piece
        self.offset += len(piece)
        self.credit -= len(piece)
        return piece

    def _read(self, amount: int) -> bytes:
        if not self.source:
            return self.content[self.offset : self.offset + amount]
        try:
            if self._file < 0:
                self._file = os.open(self.source, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._file, amount, self.offset)
        except OSError:
            return b""

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@dataclass(slots=True)
class Gated:
    """An operation that waits for the hash of a large file, its own or that of one before it in its lane."""

    key: str
    message: dict[str, Any]
    upload: Upload | None

    def measure(self) -> str:
        """Hash the file, where there is one; what went wrong in plain words, or ""."""
        if self.upload is None:
            return ""
        try:
            self.upload.measure()
        except OSError as e:
            return f"cannot read {self.upload.source}: {e.strerror}"
        self.message.update(size=self.upload.size, sha256=self.upload.sha256)
        return ""


def pack(operation: Operation, check: bool) -> tuple[dict[str, Any], Upload | None]:
    """(the start of its message, what is to be sent apart): a large content is announced by size and hash."""
    encoded = encode_operation(operation)
    if check:
        encoded["check"] = True
    if not isinstance(operation, Write) or (not operation.source and len(operation.content) <= INLINE):
        return {"op": encoded}, None
    encoded.pop("content", None)
    upload = Upload(content=operation.content, source=operation.source)
    if operation.source:
        return {"op": encoded}, upload
    upload.measure()
    return {"op": encoded, "size": upload.size, "sha256": upload.sha256}, upload
