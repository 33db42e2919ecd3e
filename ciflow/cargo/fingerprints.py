"""A digest of everything that decides what a crate is built of: equal digests, equal inputs.

It has the files of the crate, what it reads elsewhere, its features, what it needs (of the project by their own
digests, of others by source and version), and what settles how all is built: files outside every package, toolchain,
flags.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import blake2b

from ciflow.cargo.graph import Crate
from ciflow.cargo.reads import NOTHING, Doubt, Ignored, Place, Reading, ancestors, within
from ciflow.dataclass import dataclass

Files = Mapping[str, str]  # mode and git's digest of each file of a checkout, by absolute path


@dataclass(frozen=True)
class Fingerprint:
    """`why` says what keeps inputs from being known; then there is no digest."""

    digest: str = ""
    why: str = ""


@dataclass(frozen=True)
class Inputs:
    """What digests are made of. `settled` stands for toolchain and flags."""

    place: Place
    files: Files
    settled: str
    ignore: Ignored = NOTHING

    @cached_property
    def whole(self) -> str:
        """Of the whole checkout, ignored files left out."""
        return _digest([self.settled, *self._lines(self._counted)])

    @cached_property
    def _counted(self) -> list[str]:
        return sorted(path for path in self.files if not self.ignore.has(path, self.place))

    @cached_property
    def _by_crate(self) -> dict[str, list[str]]:
        """Files by the crate in whose folder they lie, "" for those of the workspace that lie in none."""
        found: dict[str, list[str]] = {}
        lock = posixpath.join(self.place.graph.root, "Cargo.lock")
        for path in self._counted:
            owner = self.place.owner(path)
            if owner is not None:
                found.setdefault(owner.id, []).append(path)
            elif path != lock and self._settles(path):
                found.setdefault("", []).append(path)
        for name in ("Cargo.toml", "rust-toolchain", "rust-toolchain.toml"):  # also where a package lies there
            found.setdefault("", []).extend(p for p in [posixpath.join(self.place.graph.root, name)] if p in self.files)
        return found

    def _settles(self, path: str) -> bool:
        """Whether a file of no crate may matter to all: it lies in the workspace, or in a folder above it."""
        folder = posixpath.dirname(path)
        above = folder if posixpath.basename(folder) != ".cargo" else posixpath.dirname(folder)
        return within(path, self.place.graph.root) or within(self.place.graph.root, above)

    def _lines(self, paths: Iterable[str]) -> list[str]:
        return [f"{posixpath.relpath(path, self.place.top)}\0{self.files[path]}" for path in sorted(set(paths))]

    def named(self, patterns: Sequence[str]) -> str:
        """Of files that match patterns, from the top of the checkout."""
        top = self.place.top
        paths = [p for p in self.files if any(fnmatchcase(posixpath.relpath(p, top), one) for one in patterns)]
        return _digest(self._lines(paths))

    def of(self, crates: Iterable[Crate], readings: Iterable[Reading], doubts: Mapping[str, Doubt]) -> Fingerprint:
        """Of some crates with their tests. A crate of which nobody can say what it reads takes the whole checkout."""
        wanted = list(crates)
        tree = _Tree(self, list(readings), doubts)
        reached = self.place.graph.below(crate.id for crate in wanted)
        for id in sorted(reached & doubts.keys()):
            if doubts[id].always:
                return Fingerprint(why=f"{self.place.graph.crates[id].name}: {doubts[id].why}")
        lines = [self.settled, *self._lines(self._by_crate.get("", ())), *(tree.tests(crate.id) for crate in wanted)]
        return Fingerprint(_digest(lines))


class _Tree:
    """Digests of crates, each made once."""

    def __init__(self, inputs: Inputs, readings: list[Reading], doubts: Mapping[str, Doubt]) -> None:
        self.inputs, self.doubts = inputs, doubts
        self.readings: dict[str, set[str]] = {}
        for one in readings:
            self.readings.setdefault(one.path, set()).add(one.crate)
        self.reads: dict[str, list[str]] = {}
        for path in inputs.files:
            for up in ancestors(path):
                for crate in self.readings.get(up, ()):
                    self.reads.setdefault(crate, []).append(path)
        self._libraries: dict[str, str] = {}

    def tests(self, id: str) -> str:
        """Of a crate with all that it and its tests need."""
        needs = self.inputs.place.graph.needs.get(id, {})
        return _digest([self.library(id), *(self.library(one) for one in sorted(needs) if not needs[one])])

    def library(self, id: str) -> str:
        """Of a crate as others use it. The order of what needs what has no end otherwise: tests may need each other."""
        waiting = [id]
        while waiting:
            one = waiting[-1]
            below = [n for n, built in self.inputs.place.graph.needs.get(one, {}).items() if built]
            missing = [n for n in below if n not in self._libraries]
            if missing:
                waiting.extend(missing)
            else:
                self._libraries[one] = self._own(one, below)
                waiting.pop()
        return self._libraries[id]

    def _own(self, id: str, below: list[str]) -> str:
        inputs, crate = self.inputs, self.inputs.place.graph.crates[id]
        lines = [crate.name, crate.version, crate.source, *crate.features, *sorted(self._libraries[n] for n in below)]
        if crate.local:
            lines += inputs._lines([*inputs._by_crate.get(id, ()), *self.reads.get(id, ())])
            lines.append(inputs.whole if id in self.doubts else "")
        return _digest(lines)


def foreseen(scanned: Iterable[Reading], built: Iterable[Reading], doubted: Iterable[str]) -> bool:
    """Whether sources alone told all that a build then read: only then are they enough for a digest."""
    known: dict[str, set[str]] = {}
    for one in scanned:
        known.setdefault(one.crate, set()).add(one.path)
    free = set(doubted)
    return all(one.crate in free or any(up in known.get(one.crate, ()) for up in ancestors(one.path)) for one in built)


def _digest(lines: Iterable[str]) -> str:
    made = blake2b(digest_size=20)
    for line in lines:
        made.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return made.hexdigest()
