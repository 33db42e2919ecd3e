"""Cargo's own plan of a build: which packages are compiled, for which side, with which features.

`cargo build --unit-graph` (the Cargo book, "unstable features", unit-graph; version 1) says what a build compiles
without compiling it: the resolver's last word on features, platforms and optional dependencies.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.errors import MetadataError
from ciflow.supply.model import Dependency, Scope


@dataclass(frozen=True)
class Taken:
    """What takes part in a build, by package id.

    `edges` are (package, package, how), each once; `features` those that a package is delivered with, or built with
    where it only helps in building.
    """

    scopes: Mapping[str, Scope]
    edges: tuple[tuple[str, str, Dependency], ...]
    features: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Unit:
    """One call of rustc, or one run of a build script."""

    package: str
    kinds: frozenset[str]
    mode: str
    features: tuple[str, ...]
    needs: tuple[int, ...]
    file: str = ""  # that it is compiled from, on the machine that builds

    @property
    def on_host(self) -> bool:
        """Whether it is for the build alone: build scripts, and what the compiler itself loads."""
        return bool(self.kinds & {"custom-build", "proc-macro"})

    @property
    def runs(self) -> bool:
        return self.mode == "run-custom-build"


@dataclass(frozen=True)
class UnitGraph:
    units: tuple[Unit, ...]
    roots: tuple[int, ...]

    def taken(self, packages: Collection[str]) -> Taken:
        """What the roots of these packages bring along.

        A unit is delivered when a chain from a root leads to it in which nobody is a build script or a procedural
        macro; all else runs on the build host only.
        """
        delivered: dict[int, bool] = {}
        waiting = [(index, True) for index in self.roots if self.units[index].package in packages]
        while waiting:
            index, here = waiting.pop()
            if delivered.get(index, False) or delivered.get(index) == here:
                continue
            delivered[index] = here
            waiting += [(need, here and not self.units[need].on_host) for need in self.units[index].needs]
        return Taken(_scopes(self.units, delivered), self._edges(delivered), _features(self.units, delivered))

    def _edges(self, reached: Mapping[int, bool]) -> tuple[tuple[str, str, Dependency], ...]:
        edges = set()
        for index in reached:
            unit = self.units[index]
            if not unit.runs:
                build = "custom-build" in unit.kinds
                others = [other for need in unit.needs if not (other := self.units[need]).runs]
                edges.update([(unit.package, other.package, build) for other in others])
        kinds = {False: Dependency.NORMAL, True: Dependency.BUILD}
        return tuple([(source, target, kinds[build]) for source, target, build in edges if source != target])


def _scopes(units: tuple[Unit, ...], reached: Mapping[int, bool]) -> dict[str, Scope]:
    required = {units[index].package for index, here in reached.items() if here}
    everyone = sorted({units[index].package for index in reached})
    return {package: Scope.REQUIRED if package in required else Scope.EXCLUDED for package in everyone}


def _features(units: tuple[Unit, ...], reached: Mapping[int, bool]) -> dict[str, tuple[str, ...]]:
    """By package; a package that is built for both sides is told as it is delivered."""
    sides: defaultdict[tuple[str, bool], set[str]] = defaultdict(set)
    for index, here in reached.items():
        sides[units[index].package, here].update(units[index].features)
    packages = {package for package, _ in sides}
    return {p: tuple(sorted(sides[p, True] if (p, True) in sides else sides[p, False])) for p in packages}


def parse_unit_graph(text: str) -> UnitGraph:
    """Read the output of `cargo build --unit-graph`.

    Raises:
        MetadataError: not JSON, not version 1, or an index that leads nowhere.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise MetadataError(f"the output of cargo build --unit-graph is not JSON: {e}") from e
    if not isinstance(document, dict) or document.get("version") != 1:
        raise MetadataError("not the output of `cargo build --unit-graph`, version 1")
    try:
        units = tuple(_unit(raw) for raw in document["units"])
        roots = tuple(int(index) for index in document["roots"])
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise MetadataError(f"the output of cargo build --unit-graph lacks or misplaces {e}") from e
    if any(not 0 <= index < len(units) for index in (*roots, *(need for unit in units for need in unit.needs))):
        raise MetadataError("the output of cargo build --unit-graph names a unit that it does not have")
    return UnitGraph(units, roots)


def _unit(raw: Mapping[str, Any]) -> Unit:
    return Unit(
        package=raw["pkg_id"],
        kinds=frozenset(raw["target"]["kind"]),
        mode=raw["mode"],
        features=tuple(raw["features"]),
        needs=tuple([int(dependency["index"]) for dependency in raw["dependencies"]]),
        file=str(raw["target"].get("src_path", "")),
    )
