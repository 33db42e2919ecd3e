"""Somebody who sits at a real terminal: starts ciflow on a pty of its own, reads what it shows, types answers."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 90.0  # seconds for one thing to be shown


class Typist:
    """One program at one terminal. `shown` is all that has come, `at` how far it was read."""

    def __init__(self, pid: int, terminal: int) -> None:
        self.pid = pid
        self.terminal = terminal
        self.shown = ""
        self.at = 0

    def sees(self, pattern: str) -> re.Match[str]:
        """Wait until something that matches is shown, behind what was waited for before."""
        until = time.monotonic() + PATIENCE
        while not (found := re.compile(pattern).search(self.shown, self.at)):
            assert time.monotonic() < until and self._read(), f"never shown: {pattern}\n{self.shown}"
        self.at = found.end()
        return found

    def types(self, line: str) -> None:
        os.write(self.terminal, line.encode() + b"\n")

    def presses(self, key: bytes) -> None:
        os.write(self.terminal, key)

    def ends(self) -> int:
        """The exit code, once the program has ended."""
        while self._read():
            continue
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        if not select.select([self.terminal], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self.terminal, 64 * 1024)
        except OSError:
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def at_a_terminal(folder: Path, *words: str) -> Iterator[Typist]:
    """`ciflow` with these words, in `folder`, with a journal and a home there."""
    env = {"HOME": str(folder), "CIFLOW_STATE": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    with typing_to([sys.executable, "-m", "ciflow", *words], folder, env) as typist:
        yield typist


@contextmanager
def typing_to(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> Iterator[Typist]:
    """Any program, with `env` and little else of this process's environment."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        os.execvpe(argv[0], list(argv), {**kept, "TERM": "xterm", "NO_COLOR": "1", **env})
    typist = Typist(pid, terminal)
    try:
        yield typist
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(terminal)
