"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole(path: Path, mode: int | None = None, *, durable: bool = False) -> Iterator[BinaryIO]:
    """What is written here takes `path`'s place at the end, with `mode`, or as the umask has it for a new file.

    Nobody sees half of it. When it fails, what was there stays, and nothing else is left behind. Folders above are
    made. A device or a pipe is no file that another could take the place of: it is written into. `durable`: also a
    power cut leaves the old or the new.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name[:40]}-{os.urandom(6).hex()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            if mode is not None:
                os.fchmod(descriptor, mode)
            if durable:
                file.flush()
                os.fsync(descriptor)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes, mode: int | None = None, *, durable: bool = False) -> None:
    """The same with all of it at hand."""
    with whole(path, mode, durable=durable) as file:
        file.write(content)
