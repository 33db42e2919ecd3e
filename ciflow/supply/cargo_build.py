"""From Cargo's own texts to a bill of materials.

`cargo metadata` lists every dependency of every kind; what is delivered is less. What takes part says Cargo's plan
of the build (`cargo build --unit-graph`), which knows the features and platforms of each side. Without it, a package
counts as required when a chain of normal dependencies of this platform leads to it, none of them a procedural macro;
what only build scripts and procedural macros need runs on the build host and is excluded; what only tests need is
left out. Features are then as `cargo metadata` resolved them, over the whole workspace, so an optional dependency
that one member enables counts for all: such a document says of itself that it is incomplete knowledge.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ciflow.dataclass import dataclass
from ciflow.supply import crates
from ciflow.supply.cargo_parts import Built, Describer
from ciflow.supply.crates import Edge, Graph
from ciflow.supply.errors import MetadataError
from ciflow.supply.model import Bom, Completeness, Component, Dependency, Kind, Party, Phase, Relation, Scope
from ciflow.supply.platform import Target
from ciflow.supply.purls import purl
from ciflow.supply.unit_graph import Taken, UnitGraph, parse_unit_graph

T = TypeVar("T")
# What is known of dependencies, and when the build was looked at: by its metadata, and by its plan.
_METADATA, _PLAN = (Completeness.INCOMPLETE, Phase.PRE_BUILD), (Completeness.COMPLETE, Phase.BUILD)


@dataclass(frozen=True)
class Subject:
    """What the user says of the document's subject; the workspace answers what is left out.

    `roots` are package names, by default the members that make something to deploy (a binary, a C library), and
    all default members where none does. `built` are the files that are handed out.
    """

    roots: tuple[str, ...] = ()
    name: str | None = None
    version: str | None = None
    supplier: Party | None = None
    built: tuple[Built, ...] = ()


def from_metadata(
    metadata_json: str,
    lock_toml: str,
    *,
    units: str | None = None,
    subject: Subject | None = None,
    target: Target | None = None,
    host: Target | None = None,
    sha512: Mapping[str, str] | None = None,
) -> Bom:
    """The bill of what a workspace builds, by the texts that describe it: see `from_graph`."""
    return from_graph(
        crates.parse_metadata(metadata_json),
        lock_toml,
        units=None if units is None else parse_unit_graph(units),
        subject=subject,
        target=target,
        host=host,
        sha512=sha512,
    )


def from_graph(
    graph: Graph,
    lock_toml: str,
    *,
    units: UnitGraph | None = None,
    subject: Subject | None = None,
    target: Target | None = None,
    host: Target | None = None,
    sha512: Mapping[str, str] | None = None,
) -> Bom:
    """The bill of what a workspace builds.

    Args:
        graph: of the output of `cargo metadata --locked --format-version 1`, filtered by platform or not. With units,
            its edges don't count.
        lock_toml: the workspace's Cargo.lock.
        units: of the output of `cargo build --unit-graph` for the same build; without it, the metadata has to do.
        subject: what the document is about.
        target: the platform built for; needed when a dependency depends on it and there are no units.
        host: the platform built on, by default `target`.
        sha512: SHA-512 of `.crate` files by their paths (`Package.cached`), where the caller has the files.

    Raises:
        MetadataError, LockError, UnsupportedError: all ValueError.
    """
    subject = subject or Subject()
    lock = crates.parse_lock(lock_toml)
    roots = _roots(graph, subject.roots)
    taken = _Walk(graph, target, host or target).taken(roots) if units is None else _planned(units, graph, roots)
    refs = _refs(graph, taken.scopes)
    describe = Describer(refs, lock, sha512 or {}, subject.supplier)
    parts = {
        id_: describe.component(graph.packages[id_], scope, taken.features.get(id_, ()), id_ in roots)
        for id_, scope in taken.scopes.items()
    }
    relations = [Relation(refs[source], refs[target], kind) for source, target, kind in taken.edges]
    known = _METADATA if units is None else _PLAN
    return _assemble(graph, subject, [parts[id_] for id_ in roots], parts.values(), relations, known)


def _planned(units: UnitGraph, graph: Graph, roots: Sequence[str]) -> Taken:
    taken = units.taken(roots)
    unknown = sorted(set(taken.scopes) - set(graph.packages))
    if unknown:
        raise MetadataError(f"the build compiles {unknown[0]}, which cargo metadata does not know")
    unbuilt = [id_ for id_ in roots if id_ not in taken.scopes]
    if unbuilt:
        name = graph.packages[unbuilt[0]].name
        raise MetadataError(f"the build makes nothing of {name}: do its programs require features that are off?")
    return taken


def _roots(graph: Graph, names: Sequence[str]) -> list[str]:
    members = {graph.packages[id_].name: id_ for id_ in graph.members}
    unknown = [name for name in names if name not in members]
    if unknown:
        raise MetadataError(f"the workspace has no member {unknown[0]}; it has {', '.join(sorted(members))}")
    if names:
        return [members[name] for name in dict.fromkeys(names)]
    deployable = [id_ for id_ in graph.default_members if graph.packages[id_].deployable]
    return deployable or list(graph.default_members)


class _Walk:
    """Follows edges that count on the platforms at hand. A state is (package id, runs on the build host)."""

    def __init__(self, graph: Graph, target: Target | None, host: Target | None) -> None:
        self._graph, self._target, self._host = graph, target, host

    def states(self, roots: Iterable[str]) -> set[tuple[str, bool]]:
        """Every package that takes part, on each side where it does."""
        found: set[tuple[str, bool]] = set()
        waiting = [(id_, False) for id_ in roots]
        while waiting:
            state = waiting.pop()
            if state not in found:
                found.add(state)
                waiting += [(edge.target, on_host) for edge, on_host in self._edges(*state)]
        return found

    def taken(self, roots: Iterable[str]) -> Taken:
        states = self.states(roots)
        edges = {(id_, edge.target, edge.kind) for id_, on_host in states for edge, _ in self._edges(id_, on_host)}
        scopes = _scopes(states)
        return Taken(scopes, tuple(edges), {id_: self._graph.packages[id_].features for id_ in scopes})

    def _edges(self, id_: str, on_host: bool) -> Iterable[tuple[Edge, bool]]:
        for edge in self._graph.edges.get(id_, ()):
            build = edge.kind is Dependency.BUILD
            if self._counts(edge, self._host if on_host or build else self._target):
                yield edge, on_host or build or self._graph.packages[edge.target].proc_macro

    @staticmethod
    def _counts(edge: Edge, platform: Target | None) -> bool:
        if edge.condition is None:
            return True
        if platform is None:
            raise MetadataError(f"a dependency depends on the platform ({edge.condition}): say which one it is")
        return platform.matches(edge.condition)


def _scopes(states: Iterable[tuple[str, bool]]) -> dict[str, Scope]:
    """A package that is both delivered and used in building is required."""
    required = {id_ for id_, on_host in states if not on_host}
    return {id_: Scope.REQUIRED if id_ in required else Scope.EXCLUDED for id_ in sorted({id_ for id_, _ in states})}


def _refs(graph: Graph, ids: Iterable[str]) -> dict[str, str]:
    """The purl, and where two packages share it (two paths, say) a mark that tells them apart."""
    purls = {id_: graph.packages[id_].purl for id_ in ids}
    count = Counter(purls.values())

    def mark(id_: str) -> str:
        return "#" + hashlib.sha256(graph.packages[id_].place().encode()).hexdigest()[:12]

    return {id_: text if count[text] == 1 else text + mark(id_) for id_, text in purls.items()}


def _assemble(
    graph: Graph,
    subject: Subject,
    roots: Sequence[Component],
    parts: Iterable[Component],
    relations: Iterable[Relation],
    known: tuple[Completeness, Phase],
) -> Bom:
    """One root is itself the subject; several are parts of an application named after the workspace."""
    ordered = sorted(relations, key=lambda r: (r.source, r.target, r.kind.value))
    if len(roots) == 1:
        only = roots[0]
        root = replace(only, name=subject.name or only.name, version=subject.version or only.version)
        rest = sorted((part for part in parts if part.ref != root.ref), key=lambda c: c.ref)
        return _with_files(Bom(root, tuple(rest), tuple(ordered), *known), subject.built)
    version = subject.version or _common(root.version for root in roots)
    name = subject.name or graph.workspace_name
    whole = Component(
        ref=purl("generic", name, version),
        kind=Kind.APPLICATION,
        name=name,
        version=version,
        purl=purl("generic", name, version),
        licence=_common(root.licence for root in roots),
        concluded=_common(root.concluded for root in roots),
        supplier=subject.supplier,
        manufacturer=subject.supplier or _common(root.manufacturer for root in roots),
    )
    ordered = [Relation(whole.ref, ref) for ref in sorted(root.ref for root in roots)] + ordered
    bom = Bom(whole, tuple(sorted(parts, key=lambda c: c.ref)), tuple(ordered), *known)
    return _with_files(bom, subject.built)


def _common(values: Iterable[T]) -> T | None:
    """What all say, if they say the same."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def _with_files(bom: Bom, built: Sequence[Built]) -> Bom:
    """One file is the subject as it is handed out; several are parts of it."""
    if not built:
        return bom
    if len(built) == 1:
        only = built[0]
        return replace(bom, subject=replace(bom.subject, file=only.file, hashes=only.hashes))
    subject = bom.subject
    files = [
        Component(
            ref=f"{subject.ref}#{one.file.filename}",
            kind=Kind.FILE,
            name=one.file.filename,
            version=subject.version,
            purl=f"{subject.purl}#{one.file.filename}",
            hashes=one.hashes,
            licence=subject.licence,
            concluded=subject.concluded,
            supplier=subject.supplier,
            manufacturer=subject.manufacturer,
            file=one.file,
        )
        for one in sorted(built, key=lambda b: b.path)
    ]
    relations = [Relation(subject.ref, file.ref) for file in files]
    components = sorted((*bom.components, *files), key=lambda c: c.ref)
    return replace(bom, components=tuple(components), relations=(*relations, *bom.relations))
