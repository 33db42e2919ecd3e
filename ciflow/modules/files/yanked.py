"""Which crates were yanked, as far as cargo on this machine has heard: its cache of the index of crates.io.

The form is that of cargo's `sources/registry/index/cache.rs`, version 3: a byte with that number, four bytes, the
index's own mark, then versions and their JSON by turns, each with a NUL behind it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ciflow.supply.contents import Part

_LARGEST = 64 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def yanked(parts: Iterable[Part], home: Path | None = None) -> tuple[frozenset[str], int]:
    """(refs of the yanked, number of crates of crates.io that cargo here knows nothing of)."""
    caches = [str(one) for one in sorted((home or _home()).glob("registry/index/index.crates.io-*/.cache"))]
    found, unknown = set(), 0
    for part in parts:
        if part.ecosystem == "crates.io" and part.registry == "":
            match _said(caches, part.name, part.version):
                case None:
                    unknown += 1
                case True:
                    found.add(part.ref)
    return frozenset(found), unknown


def _home() -> Path:
    return Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")


def _said(caches: Sequence[str], name: str, version: str) -> bool | None:
    """What the first cache that has the crate says of a version; None where none does, or in another form."""
    if not _NAME.fullmatch(name):
        return None
    for cache in caches:
        try:
            with open(f"{cache}/{_place(name)}", "rb") as file:  # noqa: PTH123  (a Path for each crate takes longer)
                content = file.read() if os.fstat(file.fileno()).st_size <= _LARGEST else b""
        except FileNotFoundError:
            continue
        return _is_yanked(content, version) if content[:1] == b"\3" else None
    return None


def _place(name: str) -> str:
    """The Cargo book, "Registry Index", "Index files"."""
    name = name.lower()
    folders = {1: "1", 2: "2", 3: f"3/{name[:1]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    return f"{folders}/{name}"


def _is_yanked(content: bytes, version: str) -> bool:
    """Newer versions are behind older ones, and the newer are more often asked for."""
    mark = b"\0%s\0" % version.encode()
    at = content.rfind(mark)
    line = content[at + len(mark) : content.find(b"\0", at + len(mark))] if at >= 0 else b""
    if b"true" not in line:
        return False
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("yanked") is True
