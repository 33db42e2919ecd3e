"""A ciflow command as a process of its own, whose events come back as values."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from ciflow.dataclass import dataclass
from ciflow.model import Event

DRAIN = 5.0  # seconds for what it wrote last, once it is gone


@dataclass(frozen=True, slots=True)
class Ended:
    """The process is gone; `said` is what it wrote beside its events."""

    code: int
    said: str = ""


class Child:
    """One run of `ciflow WORDS`. It has nobody to ask, and no terminal whose Ctrl-C would reach it by itself."""

    def __init__(self, words: Sequence[str], post: Callable[[Event | Ended], None]) -> None:
        self._ending = False
        # -P: a folder that one watches may hold files called like modules of Python
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ciflow", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, process_group=0,
        )  # fmt: skip
        threading.Thread(target=self._follow, args=(post,), daemon=True).start()

    def end(self, number: signal.Signals, *, again: bool = False) -> None:
        """As somebody at its terminal would end it: it takes its time to end well, and a second signal none."""
        if not self._ending or again:
            self._ending = True
            self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()

    def _follow(self, post: Callable[[Event | Ended], None]) -> None:
        said: list[str] = []

        def events() -> None:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                post(_event(line))

        def words() -> None:
            assert self._process.stderr is not None
            said.extend(line.decode("utf-8", "replace") for line in self._process.stderr)

        readers = [threading.Thread(target=read, daemon=True) for read in (events, words)]
        for reader in readers:
            reader.start()
        code = self._process.wait()
        for reader in readers:
            reader.join(DRAIN)
        post(Ended(128 - code if code < 0 else code, "".join(said).strip()))


def _event(line: bytes) -> Event:
    data = json.loads(line)
    places = {name: data.get(name, "") for name in ("play", "host", "task", "key")}
    return Event(kind=data["kind"], run=data["run"], at=data["at"], seq=data["seq"], data=data["data"], **places)
