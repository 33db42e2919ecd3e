"""Which files a crate reads that don't lie in its folder, from all that can tell without compiling it.

After a build its dep-info says so (`target/*/deps/*.d`, what `include_str!` and its like took), and the output of its
build script (`cargo::rerun-if-changed`, the Cargo book, "Build Scripts"). Its sources are searched too, for texts with
a `..` in a path: they tell of what no build has seen yet. What none of these can tell makes a crate unsure.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from ciflow.cargo.graph import Crate, Graph
from ciflow.dataclass import dataclass

_WORD = re.compile(r"(?:[^\s\\]|\\.)+")
_HASH = re.compile(r"-[0-9a-f]{16}$")
_TAKES = re.compile(r"include|path *=|rerun-if-changed")
_JOINS = re.compile(r'concat!|include\w*!|join\(r?#*"\.\.')
_PATTERN = re.compile(r"[*{$]")
_FETCHED = ("/registry/src/", "/git/checkouts/", "/toolchains/")  # pinned by Cargo.lock and the toolchain


@dataclass(frozen=True)
class Reading:
    """`crate`, an id, reads `path` (absolute) or what lies under it; `how` is a sentence that lacks the file. One that
    is not `certain` is a text that may be anything."""

    path: str
    crate: str
    how: str
    certain: bool = True


@dataclass(frozen=True)
class Doubt:
    """Why nobody can say what a crate reads; `always`: whether it changed can't be seen even where nothing else did."""

    why: str
    always: bool = False


@dataclass(frozen=True)
class Place:
    """A project: its graph, the top of its checkout, and what git ignores there (absolute, folders as a whole)."""

    graph: Graph
    top: str
    ignored: frozenset[str] = frozenset()

    def owner(self, path: str) -> Crate | None:
        """The crate whose folder holds a path, the innermost."""
        return next((self.graph.folders[up] for up in ancestors(path) if up in self.graph.folders), None)


@dataclass(frozen=True)
class Ignored:
    """Files of which somebody says that nobody reads them: `patterns`, from the top of the checkout. Whoever is wrong
    loses nothing where it is known: what is `read` counts all the same."""

    patterns: tuple[str, ...] = ()
    read: frozenset[str] = frozenset()

    def has(self, path: str, place: Place) -> bool:
        if not self.patterns or path in self.read:
            return False
        relative = posixpath.relpath(path, place.top)
        return any(fnmatchcase(relative, pattern) for pattern in self.patterns)


NOTHING = Ignored()


def ancestors(path: str) -> Iterator[str]:
    """The path itself and every folder above it, the nearest first."""
    while True:
        yield path
        above = posixpath.dirname(path)
        if above == path:
            return
        path = above


def mentions(text: str, place: Place) -> Iterator[Reading]:
    """From `git grep -z` for lines of Rust that may name a file elsewhere: `path NUL line` each."""
    lines = [line.partition("\0")[::2] for line in text.splitlines()]
    joining = {path for path, said in lines if _JOINS.search(said)}
    for name, said in lines:
        path = posixpath.join(place.top, name)
        if (crate := place.owner(path)) is None:
            continue
        shown = posixpath.relpath(path, crate.folder)
        if "WORKSPACE_" in said:  # a variable that holds the root, as cargo's `[env]` can make one
            yield Reading(place.top, crate.id, f"{shown} has a variable for the workspace, so it may read")
        for parts in _paths(said):
            if set(parts) == {".."} or parts[-1:] == [".."]:  # it goes on elsewhere, nobody knows where to
                if name in joining:
                    yield Reading(place.top, crate.id, f"{shown} puts a path with `..` together, so it may read")
                continue
            for start in (posixpath.dirname(path), crate.folder):
                found = posixpath.normpath(posixpath.join(start, *parts))
                yield Reading(found, crate.id, f"{shown} names", certain=bool(_TAKES.search(said)))


def _paths(line: str) -> Iterator[list[str]]:
    """The texts of a line that lead upwards, in parts: `include_str!("../x")` has [.., x]."""
    for piece in line.replace("\\\\", "/").split('"'):
        parts = [part for part in piece.replace("\\", "/").split("/") if part not in ("", ".")]
        if ".." in parts:
            yield _until_pattern(_after_variables(parts))


def _after_variables(parts: list[str]) -> list[str]:
    """`$CARGO_MANIFEST_DIR/../x` is `../x`."""
    before = parts[: parts.index("..")]
    return parts[len(before) :] if any(_PATTERN.search(part) for part in before) else parts


def _until_pattern(parts: list[str]) -> list[str]:
    """`../x/*.proto` is somewhere in `../x`."""
    return next((parts[:number] for number, part in enumerate(parts) if _PATTERN.search(part)), parts)


def links(text: str, place: Place) -> Iterator[Reading]:
    """Symbolic links that lie in a crate: lines `path TAB where it leads`, that as often as it is known in steps."""
    for line in text.splitlines():
        path, _, leads = line.partition("\t")
        path = posixpath.join(place.top, path)
        if (crate := place.owner(path)) is not None:
            end = posixpath.normpath(posixpath.join(posixpath.dirname(path), leads)) if leads else place.top
            yield Reading(end, crate.id, f"{posixpath.relpath(path, crate.folder)} is a link to")


def dep_info(lines: Iterable[str], place: Place) -> Iterator[Reading]:
    """From the `.d` files that rustc wrote: `file.d: source source ..`, relative to the workspace's root."""
    by_root: dict[str, list[Crate]] = {}
    for crate in place.graph.folders.values():
        for root in crate.roots:
            by_root.setdefault(root, []).append(crate)
    for line in lines:
        words = [word.replace("\\ ", " ") for word in _WORD.findall(line)]
        if not words or not words[0].endswith(".d:"):
            continue
        name = _HASH.sub("", posixpath.basename(words[0]).removesuffix(".d:"))
        inputs = [posixpath.normpath(posixpath.join(place.graph.root, word)) for word in words[1:]]
        crates = {c.id: c for path in inputs for c in by_root.get(path, ()) if c.roots[path] == name}
        for crate in crates.values():
            for path in inputs:
                if not _taken_for_granted(path, place):
                    yield Reading(path, crate.id, "its last build read")


def _taken_for_granted(path: str, place: Place) -> bool:
    """What a build made itself, or fetched."""
    made = path.startswith(place.graph.build_directory + "/")
    return made or any(part in path for part in _FETCHED)


def scripts(text: str, place: Place) -> tuple[list[Reading], set[str]]:
    """What build scripts said to watch, from lines `script TAB path`; and the scripts that have run, from `script`."""
    crates = {crate.script: crate for crate in place.graph.folders.values() if crate.script}
    found: list[Reading] = []
    ran: set[str] = set()
    for line in text.splitlines():
        script, _, watched = line.partition("\t")
        if (crate := crates.get(script)) is None:
            continue
        ran.add(script)
        path = posixpath.normpath(posixpath.join(crate.folder, watched))
        if watched and not _taken_for_granted(path, place):
            found.append(Reading(path, crate.id, "its build script reads"))
    return found, ran


def unsure(readings: Iterable[Reading], place: Place, ran: set[str], submodules: Iterable[str]) -> dict[str, Doubt]:
    """Crates of which nobody can say whether their inputs changed, by id."""
    found: dict[str, Doubt] = {}
    known: dict[str, str] = {}  # by folder: most of what is read lies in few of them
    for one in readings:
        folder = posixpath.dirname(one.path) if one.path != place.top else one.path
        if folder not in known:
            known[folder] = _untracked(folder, place)
        if one.certain and (why := known[folder] or _untracked(one.path, place, deep=False)):
            found.setdefault(one.crate, Doubt(f"{one.how} {_shown(one.path, place)}, which {why}", always=True))
    for crate in place.graph.folders.values():
        if any(within(crate.folder, one) for one in submodules):
            found[crate.id] = Doubt("it lies in a submodule, whose files are not looked into", always=True)
        elif crate.script and crate.script not in ran:
            why = "its build script has not run here as it is now, so what it reads is not known"
            found.setdefault(crate.id, Doubt(why))
    return found


def _untracked(path: str, place: Place, *, deep: bool = True) -> str:
    """Why git can't tell whether it changed; `deep` looks at the folders above it, too."""
    if not within(path, place.top):
        return "lies outside the checkout"
    return "git ignores" if any(up in place.ignored for up in (ancestors(path) if deep else (path,))) else ""


def elsewhere(readings: Iterable[Reading], place: Place) -> list[Reading]:
    """Those of files that the crate's own folder doesn't hold."""
    found: list[Reading] = []
    for one in readings:
        owner = place.owner(one.path)
        if owner is None or owner.id != one.crate or one.path == owner.folder:
            found.append(one)
    return found


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _shown(path: str, place: Place) -> str:
    return posixpath.relpath(path, place.top) if within(path, place.top) else path
