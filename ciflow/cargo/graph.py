"""Which crates need which: the graph that `cargo metadata --format-version 1` resolves, for all platforms."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from ciflow.cargo.errors import ToolOutputError
from ciflow.dataclass import dataclass

NEVER_BUILT = "dev"  # the one kind of dependency that the library itself is built without


@dataclass(frozen=True)
class Crate:
    """A package. `source` is empty where it lies in a folder of the project; `roots` has the path of each target's
    first file with the name rustc knows it by; `script` is that of the build script, empty where there is none."""

    id: str
    name: str
    version: str
    source: str
    folder: str
    member: bool
    roots: Mapping[str, str]
    script: str
    features: tuple[str, ...]

    @property
    def local(self) -> bool:
        return not self.source


@dataclass(frozen=True)
class Graph:
    """Paths are absolute. `needs` has for each crate what it needs, and whether its library does or only its tests."""

    root: str
    build_directory: str
    crates: Mapping[str, Crate]
    needs: Mapping[str, Mapping[str, bool]]

    @cached_property
    def users(self) -> dict[str, dict[str, bool]]:
        """`needs`, the other way round."""
        found: dict[str, dict[str, bool]] = {}
        for user, needed in self.needs.items():
            for one, built in needed.items():
                found.setdefault(one, {})[user] = built
        return found

    @cached_property
    def members(self) -> tuple[Crate, ...]:
        return tuple(sorted((c for c in self.crates.values() if c.member), key=lambda crate: crate.name))

    @cached_property
    def folders(self) -> dict[str, Crate]:
        """The crates that lie in the project, by folder."""
        return {crate.folder: crate for crate in self.crates.values() if crate.local}

    def named(self, names: Iterable[str]) -> tuple[Crate, ...]:
        """Members by their names. Raises ToolOutputError with those there are."""
        known = {crate.name: crate for crate in self.members}
        wanted = list(names)
        if missing := [name for name in wanted if name not in known]:
            raise ToolOutputError(f"the workspace has no package {missing[0]}; it has {', '.join(known)}")
        return tuple(known[name] for name in wanted)

    def spec(self, crate: Crate) -> str:
        """What `--package` takes for it: the name, or the whole id where another crate is called the same."""
        return crate.name if self._names[crate.name] == 1 else crate.id

    @cached_property
    def _names(self) -> dict[str, int]:
        counted: dict[str, int] = {}
        for crate in self.crates.values():
            counted[crate.name] = counted.get(crate.name, 0) + 1
        return counted

    def below(self, ids: Iterable[str]) -> set[str]:
        """These and all that they need."""
        return reach(ids, self.needs)


def reach(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    """All that can be come to from `start`, itself included."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(edges.get(one, ()))
    return found


def parse(text: str) -> Graph:
    """Of `cargo metadata`, with dependencies or (`--no-deps`) without.

    Raises:
        ToolOutputError: it is something else.
    """
    try:
        document = json.loads(text)
        return _graph(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ToolOutputError(f"the output of cargo metadata can't be read: {type(e).__name__} {e}") from e


def _graph(document: Mapping[str, Any]) -> Graph:
    nodes = {node["id"]: node for node in (document.get("resolve") or {"nodes": []})["nodes"]}
    members = set(document["workspace_members"])
    crates = [_crate(one, one["id"] in members, nodes.get(one["id"], {})) for one in document["packages"]]
    built = document.get("build_directory") or document["target_directory"]
    needs = {id: {dep["pkg"]: _is_built(dep) for dep in node["deps"]} for id, node in nodes.items()}
    return Graph(document["workspace_root"], built, {crate.id: crate for crate in crates}, needs)


def _crate(package: Mapping[str, Any], member: bool, node: Mapping[str, Any]) -> Crate:
    targets = package["targets"]
    script = next((one["src_path"] for one in targets if one["kind"] == ["custom-build"]), "")
    return Crate(
        id=package["id"],
        name=package["name"],
        version=package["version"],
        source=package["source"] or "",
        folder=posixpath.dirname(package["manifest_path"]),
        member=member,
        roots={one["src_path"]: one["name"].replace("-", "_") for one in targets},
        script=script,
        features=tuple(sorted(node.get("features", ()))),
    )


def _is_built(dependency: Mapping[str, Any]) -> bool:
    return any(kind["kind"] != NEVER_BUILT for kind in dependency["dep_kinds"])
