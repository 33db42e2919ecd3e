"""A text file of the host that others write as well: read, changed by a pure function, and written back only if it is
still what was read, as `cron`, `known_hosts`, `authorized_key`, `sysctl` and `mount` share it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace

from ciflow.dataclass import dataclass
from ciflow.model import Change, Mkdir, Probe, Read, Reply, Step, Write
from ciflow.modules.replies import well

_TRIES = 100  # with so many others writing the same file at once, each of whom must have gone first
_ABSENT = ("ENOENT", "ENOTDIR")


class CannotEdit(ValueError):
    """What the task asks for makes no sense with what the file holds, in words."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What the file held (None: there was none), what it holds now, and the reply that says how it went."""

    before: str | None
    after: str
    reply: Reply


def decoded(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def encoded(content: str) -> bytes:
    return content.encode("utf-8", "surrogateescape")


def rewrite(
    wish: Write, edit: Callable[[str], str], *, folder: Mkdir | None = None, attributes: bool = True
) -> Generator[Step, Reply, Rewritten]:
    """Make the file at `wish.path` what `edit` makes of its text ("" where there is none).

    A file that somebody else has written in between is read again. `folder` is made before the file is written.
    Where the text is to stay, nothing is sent, save for attributes that `wish` names, unless `attributes` says that
    they go with new text only. Raises what `edit` raises.
    """
    result = Rewritten(None, "", Reply(status="refused", ok=False, error=f"{wish.path} is written all the time"))
    for _ in range(_TRIES):
        seen = yield Probe(Read(path=wish.path))
        there = well(seen)
        if not there and seen.errno not in _ABSENT:
            return Rewritten(None, "", seen)
        before = decoded(seen.stdout) if there else None
        after = edit(before or "")
        same = after == (before or "")
        if same and not (there and attributes and (wish.mode or wish.owner or wish.group)):
            return Rewritten(before, after, Reply())
        if folder is not None and not same:
            made = yield Change(folder)
            if made.status == "done" and not made.ok:
                return Rewritten(before, after, made)
        expected = hashlib.sha256(seen.stdout).hexdigest() if there else "absent"
        reply = yield Change(replace(wish, content=encoded(after), expect=expected))
        result = Rewritten(before, after, reply)
        if reply.status != "refused":
            break
    return result
