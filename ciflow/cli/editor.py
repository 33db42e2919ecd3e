"""A secret text in somebody's editor: on tmpfs where there is one, private, and gone afterwards whatever happens."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ciflow.diagnostics import Refused

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
_KEYS = (signal.SIGINT, signal.SIGQUIT)  # typed for the editor, which shares our terminal


def edited(plain: bytes, name: str) -> bytes:
    """What was saved. Raises Refused when the editor failed: then nothing is to be written."""
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with _private_folder() as folder:
        path = folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(plain)
        try:
            run = subprocess.run([*command, str(path)], check=False)
        except OSError as error:
            raise Refused(f"the editor `{command[0]}` did not start: {error.strerror}", help="set $EDITOR") from error
        if run.returncode != 0:
            raise Refused(f"the editor ended with {run.returncode}; the file was left as it was")
        return path.read_bytes()


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder (0700) that takes the editor's own swap and backup files too; a signal doesn't leave it behind."""
    before = {number: signal.signal(number, _end) for number in _ENDINGS}
    before |= {number: signal.signal(number, _pass) for number in _KEYS}
    folder = Path(tempfile.mkdtemp(prefix="ciflow-vault-", dir=_memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _pass(_number: int, _frame: FrameType | None) -> None:
    """Not ours to act on; and unlike one that is ignored, the editor doesn't inherit it."""


def _memory() -> str | None:
    """A folder of a file system in memory, if this account may write there; None: wherever temporary files go."""
    wanted = (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm")
    return next((one for one in wanted if one and os.access(one, os.W_OK | os.X_OK) and _is_tmpfs(one)), None)


def _is_tmpfs(folder: str) -> bool:
    """Whether the mount that holds `folder` is tmpfs (proc(5), mounts)."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if f"{folder}/".startswith(point.rstrip("/") + "/")]
    return bool(above) and max(above, key=lambda mount: len(mount[0]))[1] == "tmpfs"
