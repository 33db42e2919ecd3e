"""A target folder that outlives its checkout: which files of a new checkout cargo may take for those it built from.

cargo calls a crate fresh where no source is younger than what was built of it, so after `git clone` none is. With the
folder goes a record of the sources; a file that is the same gets back the time it had, and every other file is as
young as the checkout. So cargo decides as it would where it had built the former checkout and the files had then been
edited into the new one. What differs from that, since cargo sees edits only by times:

- of a file that is gone nothing is younger: its package's manifest is, which build scripts that watch all files see;
- a symbolic link is as old as what it leads to: where one differs no file gets its time back;
- files that git doesn't know (ignored, or outside the checkout) have no record: crates that read such have none.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Mapping

from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.reads import ancestors
from ciflow.dataclass import dataclass

Files = Mapping[str, str]  # mode and git's digest, by path from the top of the checkout
_LINK = "120000 "


@dataclass(frozen=True)
class Times:
    """Paths from the top of the checkout, files and folders: those that get their `former` time, and the `new`."""

    former: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def changed(self) -> int:
        return len(self.new)


def record(files: Files, unsure: Collection[str]) -> dict[str, str]:
    """What is kept of the sources: all but files in folders (from the top) of crates whose inputs nobody can tell."""
    apart = set(unsure)
    return {path: said for path, said in sorted(files.items()) if not apart.intersection(_folders(path))}


def text(recorded: Mapping[str, str]) -> str:
    return json.dumps(recorded)


def read(said: str) -> dict[str, str]:
    """What `text` wrote. Raises ToolOutputError where it is something else."""
    try:
        found = json.loads(said)
        return {str(path): str(value) for path, value in found.items()}
    except (ValueError, AttributeError, RecursionError) as e:
        raise ToolOutputError(f"the record of the sources can't be read: {e}") from e


def regular(recorded: Mapping[str, str]) -> list[str]:
    """Paths of those that have a time of their own: no links, and no submodules."""
    return [path for path, said in recorded.items() if said.startswith("100")]


def times(before: Mapping[str, str], now: Files) -> Times:
    """Of a checkout as it is `now`, with what was kept of the one before."""
    same = {path for path in regular(now) if before.get(path) == now[path]}
    if _links(before) != _links(now):
        same = set()
    gone = {manifest for path in before.keys() - now.keys() if (manifest := _manifest(path, now))}
    former = same - gone
    folders = {up for path in now for up in _folders(path)}
    return Times(tuple(sorted(former)), tuple(sorted({*regular(now), *folders} - former)))


def _links(files: Mapping[str, str]) -> dict[str, str]:
    return {path: said for path, said in files.items() if said.startswith(_LINK)}


def _manifest(path: str, now: Files) -> str:
    """That of the package which holds, or held, this file."""
    beside = (posixpath.normpath(posixpath.join(up, "Cargo.toml")) for up in _folders(path))
    return next((one for one in beside if one in now), "")


def _folders(path: str) -> list[str]:
    """Those above a path, the nearest first, and `.` at last."""
    return [up or "." for up in [*ancestors(posixpath.dirname(path))]]
