"""Where a command's document goes: to a file, or to the standard output."""

from __future__ import annotations

import sys
from pathlib import Path

from ciflow.diagnostics import CiflowError


def put(content: bytes, output: Path | None) -> None:
    """The file is written whole or not at all."""
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    from ciflow.whole import write_whole

    try:
        write_whole(output, content)
    except OSError as error:
        raise CiflowError(f"{output} can't be written: {error.strerror}") from error
