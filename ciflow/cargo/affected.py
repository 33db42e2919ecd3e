"""Which crates a change touches. Never one too few: where that can't be told it is more of them, or all, and why.

A crate is touched when a file of its folder changed, or one that it reads elsewhere, or when what Cargo.lock or a
manifest says of it, or of anything it needs, did. What needs a touched crate is touched; what only its tests need
touches the crate, but not those that need it.
"""

from __future__ import annotations

import posixpath
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ciflow.cargo import lockfile
from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.graph import Crate, Graph
from ciflow.cargo.reads import NOTHING, Doubt, Ignored, Place, Reading, ancestors, within
from ciflow.dataclass import dataclass, field

LOCK, MANIFEST = "Cargo.lock", "Cargo.toml"
_TOOLS = ("rust-toolchain", "rust-toolchain.toml")
_DEPENDENCIES = ("dependencies", "dev-dependencies", "build-dependencies", "dev_dependencies", "build_dependencies")


@dataclass(frozen=True)
class Change:
    """A file that differs. `path` is absolute; `status` git's letter: A, M, D, T, or `?` for what git doesn't know.
    What git says of a folder only, it says of all that is in it."""

    path: str
    status: str = "M"


@dataclass(frozen=True)
class Versions:
    """Texts of lock file and manifests at the base and now, by absolute path; "" where there is none."""

    before: Mapping[str, str] = field(default_factory=dict)
    now: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Affected:
    """`crates` has for each member that is touched, by id, why: a chain, its cause first. `everything` is why all are,
    "" where it is not for one reason."""

    crates: Mapping[str, tuple[str, ...]]
    everything: str = ""


def all_of(graph: Graph, why: str) -> Affected:
    """Every member, for one reason."""
    return Affected({crate.id: (why,) for crate in graph.members}, why)


def affected(
    place: Place, changes: Sequence[Change], readings: Iterable[Reading], unsure: Mapping[str, Doubt],
    versions: Versions, ignore: Ignored = NOTHING,
) -> Affected:  # fmt: skip
    """The members that `changes` touch."""
    relevant = [one for one in changes if not ignore.has(one.path, place)]
    judge = _Judge(place, list(readings), relevant, versions)
    try:
        seeds = dict(judge.seeds(unsure))
    except _Everything as e:
        return all_of(place.graph, str(e))
    return Affected(_spread(place.graph, seeds))


def texts_wanted(changes: Iterable[Change], place: Place) -> list[str]:
    """Paths of which both versions are needed: the lock file and manifests of crates, where they differ."""
    lock = posixpath.join(place.graph.root, LOCK)
    return [one.path for one in changes if one.path == lock or posixpath.basename(one.path) == MANIFEST]


class _Everything(Exception):
    """All crates may be touched, for this reason."""


class _Judge:
    """Looks at one change after the other."""

    def __init__(self, place: Place, readings: list[Reading], changes: list[Change], versions: Versions) -> None:
        self.place = place
        self.graph = place.graph
        self.changes = changes
        self.versions = versions
        self.readings: dict[str, list[Reading]] = {}
        for one in readings:
            self.readings.setdefault(one.path, []).append(one)
        manifests = [one for one in changes if posixpath.basename(one.path) == MANIFEST]
        self.fresh = {posixpath.dirname(one.path) for one in manifests if one.status in "A?"}
        self.gone = {posixpath.dirname(one.path) for one in manifests if one.status == "D"} - set(self.graph.folders)

    def seeds(self, unsure: Mapping[str, Doubt]) -> Iterator[tuple[str, str]]:
        """Ids of crates that are touched themselves, and by what; the same may come again. Raises _Everything."""
        found: dict[str, str] = {}
        for change in self.changes:
            for id, why in self._of(change):
                found.setdefault(id, why)
        for id, doubt in unsure.items():
            if self.changes or doubt.always:
                found.setdefault(id, doubt.why)
        yield from found.items()

    def _of(self, change: Change) -> Iterator[tuple[str, str]]:
        shown = posixpath.relpath(change.path, self.place.top)
        word = {"A": "is new", "?": "is new", "D": "is gone"}.get(change.status, "has changed")
        said = f"{shown} {word}"
        self._check_for_all(change.path, said)
        if change.path == posixpath.join(self.graph.root, LOCK):
            yield from self._of_lock(change.path, said)
            return
        owners = list(self._owners(change.path))
        yield from ((crate.id, said) for crate in owners if crate is not None)
        if owners and posixpath.basename(change.path) == MANIFEST:
            yield from self._of_manifest(change.path, said)
        for reading in self._readings(change.path):
            yield reading.crate, f"{reading.how} {shown}, which {word}"
        if not owners and within(change.path, self.graph.root):
            raise _Everything(f"{said}, and lies in no package's folder")

    def _check_for_all(self, path: str, said: str) -> None:
        """What changes how everything is built."""
        folder, name = posixpath.split(path)
        config = posixpath.basename(folder) == ".cargo" and name in ("config", "config.toml")
        around = posixpath.dirname(folder) if config else folder
        holds = within(self.graph.root, around)
        if config and (holds or within(around, self.graph.root)):
            raise _Everything(f"{said}, which settles how cargo builds")
        if name in _TOOLS and (holds or within(around, self.graph.root)):
            raise _Everything(f"{said}, which settles the toolchain")
        if name == MANIFEST and holds:
            raise _Everything(f"{said}, which is the workspace's own")

    def _readings(self, path: str) -> Iterator[Reading]:
        for up in ancestors(path):
            yield from self.readings.get(up, ())
        if path not in self.graph.folders:  # where git names a folder, whatever is read in it
            yield from (one for under, some in self.readings.items() if under.startswith(path + "/") for one in some)

    def _owners(self, path: str) -> Iterator[Crate | None]:
        """Whose folder holds it, now and before; None stands for a crate that is gone."""
        folders = self.graph.folders
        now = next((up for up in ancestors(path) if up in folders), None)
        old = self.gone | (folders.keys() - self.fresh)
        before = next((up for up in ancestors(path) if up in old), None)
        for folder in {now, before} - {None}:
            yield folders.get(folder or "")
        yield from (crate for up, crate in folders.items() if up.startswith(path + "/"))

    # --- manifests and the lock file -------------------------------------------------------------------------

    def _of_manifest(self, path: str, said: str) -> Iterator[tuple[str, str]]:
        """Another choice of features, or of what is needed, changes how the needed crates are built, too."""
        crate = self.graph.folders.get(posixpath.dirname(path))
        if crate is None:
            return  # its entry has left Cargo.lock
        before, now = (_manifest(texts.get(path, ""), path) for texts in (self.versions.before, self.versions.now))
        if _needing(before) == _needing(now):
            return
        names = _changed_names(before, now)
        needed = self.graph.needs.get(crate.id, {})
        chosen = [id for id in needed if names is None or self.graph.crates[id].name in names]
        for id in sorted(self.graph.below(chosen)):
            yield id, f"{said}, and with it what {crate.name} wants of {self.graph.crates[id].name}"

    def _of_lock(self, path: str, said: str) -> Iterator[tuple[str, str]]:
        before, now = self.versions.before.get(path, ""), self.versions.now.get(path, "")
        if not before or not now:
            raise _Everything(f"{said}: there is nothing to compare it with")
        ids: dict[str, list[str]] = {}
        for one in self.graph.crates.values():
            ids.setdefault(lockfile.key_of(one.name, one.version, one.source), []).append(one.id)
        try:
            found = lockfile.differing(lockfile.parse(before), lockfile.parse(now))
        except ToolOutputError as e:
            raise _Everything(str(e)) from e
        yield from ((id, why) for key, why in found.items() for id in ids.get(key, ()))


def _manifest(text: str, path: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise _Everything(f"{path} can't be read: {e}") from e


def _needing(manifest: Mapping[str, Any]) -> list[Any]:
    """What of it says what is needed, and how."""
    package = manifest.get("package", {})
    return [manifest.get(name) for name in (*_DEPENDENCIES, "target", "features")] + [package.get("resolver")]


def _changed_names(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str] | None:
    """Packages that are wanted otherwise; None: any may be."""
    if any(before.get(name) != now.get(name) for name in ("target", "features", "package")):
        return None
    found: set[str] = set()
    for table in _DEPENDENCIES:
        old, new = before.get(table, {}), now.get(table, {})
        for name in old.keys() | new.keys():
            if old.get(name) != new.get(name):
                found |= {_package(name, side.get(name)) for side in (old, new)}
    return found


def _package(name: str, wanted: Any) -> str:
    return str(wanted["package"]) if isinstance(wanted, dict) and "package" in wanted else name


# --- what needs what is touched --------------------------------------------------------------------------------


def _spread(graph: Graph, seeds: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Breadth first, so that each chain is a shortest one."""
    chains: dict[str, tuple[str, ...]] = {}
    passed: set[str] = set()
    waiting: list[tuple[str, tuple[str, ...], bool]] = [
        (id, (f"{graph.crates[id].name}: {why}",), True) for id, why in sorted(seeds.items())
    ]
    while waiting:
        following: list[tuple[str, tuple[str, ...], bool]] = []
        for id, chain, built in waiting:
            chains.setdefault(id, chain)
            if not built or id in passed:
                continue
            passed.add(id)
            for user, as_library in sorted(graph.users.get(id, {}).items()):
                word = "needs" if as_library else "needs for its tests"
                said = f"{graph.crates[user].name} {word} {graph.crates[id].name}"
                following.append((user, (*chain, said), as_library))
        waiting = following
    members = {crate.id for crate in graph.members}
    return {id: chain for id, chain in chains.items() if id in members}
