"""What a shell's pipe knows: of its host, by the hello, and of each operation on its way."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.targets.sh_words import Steps, raw, text

_HELLO = ("pid", "uid", "user", "groups", "home", "base", "session", "raw", "missing", "boot", "namespace", "init",
          "pod", "booted")  # fmt: skip


def short_hash(value: str, key: bytes = b"") -> str:
    """The names that the Python agent gives as well: both see one token of a project."""
    return hashlib.blake2b(raw(value), key=key, digest_size=16).hexdigest()


def hello_from(lines: list[bytes]) -> dict[str, str]:
    """What agent.sh says of its host, by name; the rest of its lines is /proc/1/cgroup, as `cgroup`."""
    values = [text(line) for line in lines]
    cgroup = "".join(line + "\n" for line in values[len(_HELLO) :])
    return {**dict(zip(_HELLO, values, strict=False)), "cgroup": cgroup}


def epoch_of(said: Mapping[str, str]) -> str:
    """The name of this life of the host, as the Python agent makes it (`epoch` in agent.py)."""
    namespace = said["namespace"].partition("[")[2].rstrip("]")
    return short_hash("\n".join([said["boot"], namespace, said["init"], said["cgroup"], said["pod"]]))


@dataclass(slots=True)
class Flight:
    """One operation on its way, by the number of its stream; `steps` is None for a question."""

    number: int
    key: str
    lane: str = ""
    message: Mapping[str, Any] = field(default_factory=dict)
    steps: Steps | None = None
    runs: bool = False  # an Exec is under way: its output is looked at
    seen: list[int] = field(default_factory=lambda: [0, 0])
    content: bytes | None = None  # of a Stage; None: the session's
    sent: int = 0  # bytes of it that have left or lay there before
    there: int = 0  # bytes of it that the host has
    size: int = 0
