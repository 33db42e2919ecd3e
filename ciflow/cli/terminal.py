"""Whoever sits at this process's terminal: questions, and what is typed in answer."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

from ciflow.diagnostics import CiflowError, ExitCode


class Gone(CiflowError):
    """The terminal has no more to read: whoever sat there has left (Ctrl-D)."""

    exit_code = ExitCode.INTERRUPTED


class Terminal:
    """Asks one question at a time. `hushed` keeps other lines off the screen while somebody types."""

    def __init__(
        self, keys: int, screen: TextIO, hushed: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._keys = keys
        self._screen = screen
        self._hushed = hushed
        self._turn = asyncio.Lock()

    async def ask(self, question: str, *, secret: bool = False) -> str:
        """What is typed up to the end of the line; unseen if `secret`. Can be cancelled. Raises Gone."""
        async with self._turn:
            with self._hushed(), self._unseen() if secret else nullcontext():
                self._say(question)
                try:
                    typed = await self._line()
                finally:
                    if secret:
                        self._say("\n")
        return typed.rstrip("\r\n")

    def say(self, text: str) -> None:
        """A line beside the questions, such as why one is asked again."""
        with self._hushed():
            self._say(text + "\n")

    def ask_first(self, question: str, *, secret: bool = False) -> str:
        """The same before anything runs, where there is no loop yet."""
        return asyncio.run(self.ask(question, secret=secret))

    # --- private -----------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self._screen.write(text)
        self._screen.flush()

    async def _line(self) -> str:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[bytes] = loop.create_future()

        def ready() -> None:
            if not found.done():
                found.set_result(os.read(self._keys, 64 * 1024))  # a terminal gives one line at a time

        loop.add_reader(self._keys, ready)
        try:
            typed = await found
        finally:
            loop.remove_reader(self._keys)
        if not typed:
            raise Gone("nobody answers at the terminal any more")
        return typed.decode("utf-8", "surrogateescape")

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        before = termios.tcgetattr(self._keys)
        changed = [*before]
        changed[3] &= ~termios.ECHO
        termios.tcsetattr(self._keys, termios.TCSADRAIN, changed)
        try:
            yield
        finally:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, before)


def terminal(*, no_input: bool, hushed: Callable[[], AbstractContextManager[None]] = nullcontext) -> Terminal | None:
    """The terminal of this process, where a person can see a question and answer it; None where nobody can.

    A process in the background would be stopped by its first question, so it has nobody to ask either.
    """
    if no_input or not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        return None
    keys = sys.stdin.fileno()
    try:
        if os.tcgetpgrp(keys) != os.getpgrp():
            return None
    except OSError:
        return None  # not the terminal that controls this process
    return Terminal(keys, sys.stderr, hushed)


class Keys:
    """Single keys, unseen and without Enter."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def wait(self, seconds: float) -> str:
        """The next key; "" when none came in that time. Whoever has left is taken for somebody who quits."""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            return ""
        return os.read(self._descriptor, 1).decode("latin-1") or "q"


@contextmanager
def keys(stream: TextIO) -> Iterator[Keys]:
    """Ctrl-C still interrupts."""
    descriptor = stream.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    try:
        yield Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def each_key(stream: TextIO, pressed: Callable[[str], None]) -> Iterator[None]:
    """Tells of each key as it is pressed, from a thread of its own."""
    over = threading.Event()

    def follow(typed: Keys) -> None:
        while not over.is_set():
            if key := typed.wait(0.2):
                pressed(key)
                if key == "q":  # which is also what comes, without end, from a terminal that is gone
                    return

    with keys(stream) as typed:
        thread = threading.Thread(target=follow, args=(typed,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
