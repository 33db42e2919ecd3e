"""A command of one's own on the controller: the last line that it prints is the number."""

from __future__ import annotations

import shlex

from ciflow.model import Exec, Reply
from ciflow.rollout.metrics.answers import SHOWN, Ask, NoNumber, number
from ciflow.rollout.thresholds import Sample


def request(ask: Ask) -> Exec:
    argv = ask.options["argv"]
    words = shlex.split(argv) if isinstance(argv, str) else [str(word) for word in argv]
    environment = {str(name): str(value) for name, value in (ask.options.get("env") or {}).items()}
    return Exec(argv=tuple(words), env=environment, timeout=ask.timeout)


def answer(_ask: Ask, reply: Reply) -> Sample:
    if not reply.ok:
        said = reply.error or reply.stderr.decode("utf-8", "replace").strip()[-SHOWN:]
        raise NoNumber(f"the command ended with {reply.rc}" + (f": {said}" if said else ""))
    lines = reply.stdout.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return Sample((number(last),)) if last else Sample(())
