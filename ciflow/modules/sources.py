"""Files on the controller that a module brings to a host: where they are looked up, and how they are carried."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.lang.vault import HEADER, is_vaulted
from ciflow.model import At, Context, Probe, Read, Render, Reply, Stat, Step
from ciflow.modules.replies import well

# What a Write carries inside its own frame (agent.md); larger files are streamed from the controller's disk.
INLINE_LIMIT = 32 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A file or directory found on the controller. `sha1` is Ansible's `checksum`, empty for a directory."""

    path: str
    directory: bool = False
    size: int = 0
    sha1: str = ""
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """No candidate exists, or one can't be looked at (`reason`): all that were tried, for the message."""

    name: str
    tried: tuple[str, ...]
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"Could not access '{self.name}' on the controller: {self.reason}"
        places = "".join(f"\n  {path}" for path in self.tried)
        return f"Could not find or access '{self.name}' on the controller. Looked at:{places}"


def candidates(name: str, context: Context, subfolder: str) -> tuple[str, ...]:
    """Where `name` may lie, nearest first: in each search folder its `files/` or `templates/`, then itself."""
    if posixpath.isabs(name) or name.startswith("~"):
        return (name,)
    folders = context.search or (".",)
    return tuple(posixpath.join(folder, *part, name) for folder in folders for part in ((subfolder,), ()))


def find(
    name: str, context: Context, subfolder: str = "files", *, checksum: bool = False
) -> Generator[Step, Reply, Source | Missing]:
    """The first candidate that exists on the controller, with its `checksum` only for who tells it."""
    digest = "sha1" if checksum else ""
    tried = candidates(name, context, subfolder)
    for path in tried:
        reply = yield At("controller", Probe(Stat(path=path.rstrip("/") or "/", hash=digest, follow=True)))
        if not well(reply):
            return Missing(name, tried, reply.error or "nobody can say whether it is there")
        if reply.data.get("exists"):
            return _source(path, reply.data)
    return Missing(name, tried)


def _source(path: str, data: Mapping[str, Any]) -> Source:
    directory = data.get("kind") == "directory"
    mode = str(data.get("mode", ""))
    return Source(path, directory, int(data.get("size", 0)), str(data.get("hash", "")), mode)


def read(path: str, *, decrypt: bool = True) -> Generator[Step, Reply, Reply]:
    """The bytes of a controller's file, in reply.stdout; what ansible-vault has encrypted is opened: data {vaulted}."""
    reply = yield At("controller", Probe(Read(path=path)))
    return (yield from opened(path)) if decrypt and is_vaulted(reply.stdout) else reply


def opened(path: str) -> Generator[Step, Reply, Reply]:
    """The plain bytes of a file that ansible-vault has encrypted."""
    return (yield Render(path, plain=True))


def begins_vaulted(path: str) -> Generator[Step, Reply, bool]:
    """Whether a controller's file is encrypted by ansible-vault, seen from its first bytes."""
    reply = yield At("controller", Probe(Read(path=path, length=len(HEADER))))
    return is_vaulted(reply.stdout)


def md5(content: bytes) -> str:
    """Ansible's `md5sum` of a text."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sha1(content: bytes) -> str:
    """Ansible's `checksum` of a text."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
