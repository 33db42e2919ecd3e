"""A file system of a few kilobytes, for tests of what happens when a disk is full."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.parts.process import MissingPart


@contextlib.contextmanager
def tinyfs(folder: Path, size_kib: int = 256) -> Iterator[Path]:
    """A tmpfs of `size_kib` mounted on `folder`. Raises MissingPart where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k,mode=0700", "cf-tiny", str(folder)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        raise MissingPart(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return filler
