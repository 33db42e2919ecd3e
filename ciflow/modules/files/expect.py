"""Runs a program on a terminal of its own and answers its questions. One file of the standard library (Python >= 3.7).

Its standard input is a JSON object: {argv, responses: [[pattern, answer or [answers]]], timeout (seconds without a
question, or null), echo}. Its standard output is one too: {output, rc, problem}.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sys
import termios
import time
from typing import Any


class Talk:
    """One program under way: what it said, and what was answered."""

    def __init__(self, wish: dict[str, Any]) -> None:
        self.wish = wish
        self.patterns = [re.compile(pattern.encode("utf-8", "surrogateescape")) for pattern, _ in wish["responses"]]
        self.answers = [[one] if isinstance(one, str) else list(one) for _, one in wish["responses"]]
        self.said = b""
        self.seen = 0  # up to here questions are answered
        self.pid, self.fd = start(wish["argv"], wish["echo"])

    def run(self) -> tuple[int | None, str]:
        """(exit code, what went wrong instead)."""
        problem = self.talk()
        if problem:
            end(self.pid)
            os.waitpid(self.pid, 0)
            return None, problem
        status = ended(self.pid)
        if status is None:
            end(self.pid)
            os.waitpid(self.pid, 0)
            return None, "it closed its terminal and did not end"
        if os.WIFSIGNALED(status):
            return None, f"ended by signal {os.WTERMSIG(status)}"
        return os.WEXITSTATUS(status), ""

    def talk(self) -> str:
        """Until it ends; what went wrong, or nothing. Its time begins anew with each answer, as pexpect has it."""
        limit = self.wish["timeout"]
        until = time.monotonic() + limit if limit is not None else None
        while True:
            left = max(0.0, until - time.monotonic()) if until is not None else None
            ready, _, _ = select.select([self.fd], [], [], left)
            if not ready:
                return "command exceeded timeout"
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the terminal's other end is closed
                data = b""
            if not data:
                return ""
            self.said += data
            answered, problem = self.answer()
            if problem:
                return problem
            if answered and limit is not None:
                until = time.monotonic() + limit

    def answer(self) -> tuple[bool, str]:
        """Answer all questions that have come, each by the pattern that matches first in what was said."""
        answered = False
        while True:
            found = [(match.start(), number, match) for number, match in enumerate(self.matches()) if match]
            if not found:
                return answered, ""
            _, number, match = min(found, key=lambda one: one[:2])
            self.seen, answered = match.end(), True
            if not self.answers[number]:
                return answered, f"No remaining responses for {self.wish['responses'][number][0]!r}"
            several = not isinstance(self.wish["responses"][number][1], str)
            text = self.answers[number].pop(0) if several else self.answers[number][0]
            os.write(self.fd, text.rstrip("\n").encode("utf-8", "surrogateescape") + b"\n")

    def matches(self) -> list[Any]:
        """Of each pattern where it matches next, if anywhere; nothing is no question."""
        found = [pattern.search(self.said, self.seen) for pattern in self.patterns]
        return [one if one and one[0] else None for one in found]


def start(argv: list[str], echo: bool) -> tuple[int, int]:
    """(process, descriptor of its terminal). A program that can't be run ends with 127, and says so."""
    pid, fd = pty.fork()
    if pid:
        return pid, fd
    settings = termios.tcgetattr(0)
    if not echo:
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, settings)
    try:
        os.execvp(argv[0], argv)
    except OSError as e:
        os.write(2, f"cannot run {argv[0]}: {e.strerror}\n".encode("utf-8", "surrogateescape"))
    os._exit(127)


def ended(pid: int) -> int | None:
    """Its status; None when it is still there a while after its terminal was closed."""
    for _ in range(100):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        time.sleep(0.05)
    return None


def end(pid: int) -> None:
    """First politely: the terminal is gone."""
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        time.sleep(0.1)


def main() -> None:
    wish = json.loads(sys.stdin.read())
    talk = Talk(wish)
    rc, problem = talk.run()
    told = {"output": talk.said.decode("utf-8", "surrogateescape"), "rc": rc, "problem": problem}
    print(json.dumps(told))


main()
