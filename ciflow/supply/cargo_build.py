"""From Cargo's own texts to a bill of materials.

`cargo metadata` lists every dependency of every kind; what is delivered is less. A package counts as required
when a chain of normal dependencies of this platform leads to it, none of them a procedural macro; what only
build scripts and procedural macros need runs on the build host and is excluded; what only tests need is left out.

Limits: features are as `cargo metadata` resolved them (over the whole workspace, resolver 1 fashion), so an
optional dependency that one member enables counts for all. Binaries have no component here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ciflow.dataclass import dataclass
from ciflow.supply import crates
from ciflow.supply.crates import Edge, Graph, Lock, Package
from ciflow.supply.errors import LockError, MetadataError
from ciflow.supply.model import (
    Bom,
    Component,
    Dependency,
    Hash,
    Kind,
    Party,
    Reference,
    ReferenceKind,
    Relation,
    Scope,
    purl,
)
from ciflow.supply.platform import Target


@dataclass(frozen=True)
class Subject:
    """What the user says of the document's subject; the workspace answers what is left out.

    `roots` are package names, by default the members that make something to deploy (a binary, a C library), and
    all default members where none does.
    """

    roots: tuple[str, ...] = ()
    name: str | None = None
    version: str | None = None
    supplier: Party | None = None


def from_metadata(
    metadata_json: str,
    lock_toml: str,
    *,
    subject: Subject | None = None,
    target: Target | None = None,
    host: Target | None = None,
    sha512: Mapping[str, str] | None = None,
) -> Bom:
    """The bill of what a workspace builds.

    Args:
        metadata_json: output of `cargo metadata --locked --format-version 1`, filtered by platform or not.
        lock_toml: the workspace's Cargo.lock.
        subject: what the document is about.
        target: the platform built for; needed when a dependency depends on it.
        host: the platform built on, by default `target`.
        sha512: SHA-512 of `.crate` files by their SHA-256, where the caller has the files.

    Raises:
        MetadataError, LockError, UnsupportedError: all ValueError.
    """
    subject = subject or Subject()
    graph = crates.parse_metadata(metadata_json)
    lock = crates.parse_lock(lock_toml)
    roots = _roots(graph, subject.roots)
    walk = _Walk(graph, target, host or target)
    states = walk.states(roots)
    scopes = _scopes(states)
    refs = _refs(graph, scopes)
    describe = _Describer(refs, lock, sha512 or {}, subject.supplier)
    parts = {id_: describe.component(graph.packages[id_], scope) for id_, scope in scopes.items()}
    chosen = [parts[id_] for id_ in roots]
    return _assemble(graph, subject, chosen, parts.values(), walk.relations(states, refs))


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

    def relations(self, states: Iterable[tuple[str, bool]], refs: Mapping[str, str]) -> set[Relation]:
        edges = ((id_, edge) for id_, on_host in states for edge, _ in self._edges(id_, on_host))
        return {Relation(refs[id_], refs[edge.target], edge.kind) for id_, edge in edges}

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
    purls = {id_: graph.packages[id_].purl() for id_ in ids}
    count = Counter(purls.values())

    def mark(id_: str) -> str:
        return "#" + hashlib.sha256(graph.packages[id_].place().encode()).hexdigest()[:12]

    return {id_: text if count[text] == 1 else text + mark(id_) for id_, text in purls.items()}


@dataclass(frozen=True)
class _Describer:
    refs: Mapping[str, str]
    lock: Lock
    sha512: Mapping[str, str]
    supplier: Party | None

    def component(self, package: Package, scope: Scope) -> Component:
        return Component(
            ref=self.refs[package.id],
            kind=Kind.APPLICATION if package.has_binary else Kind.LIBRARY,
            name=package.name,
            version=package.version,
            purl=package.purl(),
            scope=scope,
            hashes=self._hashes(package),
            licence=package.licence,
            description=package.description,
            supplier=Party(package.origin.supplier) if package.origin.supplier else self.supplier,
            authors=package.authors,
            references=tuple(_references(package)),
            download=package.download(),
            properties=tuple(_properties(package)),
        )

    def _hashes(self, package: Package) -> tuple[Hash, ...]:
        locked = self.lock.find(package)
        if not package.origin.is_registry:
            return ()
        if locked.checksum is None:
            raise LockError(f"Cargo.lock has no checksum for {package.name} {package.version}")
        hashes = [Hash("SHA-256", locked.checksum)]
        if locked.checksum in self.sha512:
            hashes.append(Hash("SHA-512", self.sha512[locked.checksum]))
        return tuple(hashes)


def _references(package: Package) -> Iterable[Reference]:
    if package.origin.is_registry:
        if url := package.download():
            yield Reference(ReferenceKind.SOURCE, url)
        if package.repository:
            yield Reference(ReferenceKind.VCS, package.repository)
    elif url := package.download() or package.repository:
        yield Reference(ReferenceKind.VCS, url)
    if package.homepage:
        yield Reference(ReferenceKind.WEBSITE, package.homepage)
    if package.documentation:
        yield Reference(ReferenceKind.DOCUMENTATION, package.documentation)


def _properties(package: Package) -> Iterable[tuple[str, str]]:
    if package.features:
        yield "cargo:features", ",".join(package.features)
    if package.path is not None:
        yield "cargo:path", package.path


def _assemble(
    graph: Graph,
    subject: Subject,
    roots: Sequence[Component],
    parts: Iterable[Component],
    relations: Iterable[Relation],
) -> Bom:
    """One root is itself the subject; several are parts of an application named after the workspace."""
    ordered = sorted(relations, key=lambda r: (r.source, r.target, r.kind.value))
    if len(roots) == 1:
        only = roots[0]
        root = replace(only, name=subject.name or only.name, version=subject.version or only.version)
        rest = sorted((part for part in parts if part.ref != root.ref), key=lambda c: c.ref)
        return Bom(root, tuple(rest), tuple(ordered))
    versions = {root.version for root in roots}
    version = subject.version or (versions.pop() if len(versions) == 1 else None)
    licences = {root.licence for root in roots}
    name = subject.name or graph.workspace_name
    whole = Component(
        ref=purl("generic", name, version),
        kind=Kind.APPLICATION,
        name=name,
        version=version,
        purl=purl("generic", name, version),
        licence=licences.pop() if len(licences) == 1 else None,
        supplier=subject.supplier,
    )
    ordered = [Relation(whole.ref, ref) for ref in sorted(root.ref for root in roots)] + ordered
    return Bom(whole, tuple(sorted(parts, key=lambda c: c.ref)), tuple(ordered))
