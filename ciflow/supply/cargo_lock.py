"""A bill of materials from Cargo.lock alone: quick, and more than any one build takes in.

A lock lists what every platform, feature and test could need, without licences. The document says so: its
completeness is unknown, its phase before the build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ciflow.supply.crates import Lock, Locked, parse_lock, parse_origin
from ciflow.supply.errors import LockError
from ciflow.supply.model import (
    Bom,
    Completeness,
    Component,
    Deployable,
    Hash,
    Kind,
    Party,
    Phase,
    Reference,
    ReferenceKind,
    Relation,
)
from ciflow.supply.purls import purl


def from_lock(text: str, name: str) -> Bom:
    """What a lock pins. `name` is what its workspace is called, for the subject where there are several roots.

    Raises:
        LockError: not a lock, or one whose edges lead nowhere.
    """
    lock = parse_lock(text)
    refs = _refs(lock)
    parts = {locked: _component(locked, refs[locked]) for locked in lock.packages}
    edges = [(locked, target) for locked in lock.packages for target in _targets(locked, lock)]
    relations = [Relation(refs[source], refs[target]) for source, target in edges]
    led_to = {target for _, target in edges}
    roots = [locked for locked in lock.packages if locked.source is None and locked not in led_to]
    if len(roots) == 1:
        subject = parts.pop(roots[0])
    else:
        own = purl("generic", name, None)
        subject = Component(own, Kind.APPLICATION, name, None, own)
        relations += [Relation(subject.ref, refs[root]) for root in roots]
    components = sorted(parts.values(), key=lambda c: c.ref)
    ordered = sorted(relations, key=lambda r: (r.source, r.target))
    return Bom(subject, tuple(components), tuple(ordered), Completeness.UNKNOWN, Phase.PRE_BUILD)


def _refs(lock: Lock) -> dict[Locked, str]:
    """The purl, which tells git and other registries apart; two paths with one name and version can't be told."""
    refs = {locked: parse_origin(locked.source).purl(locked.name, locked.version) for locked in lock.packages}
    twice = [ref for ref, count in Counter(refs.values()).items() if count > 1]
    if len(refs) != len(lock.packages) or twice:
        raise LockError(f"Cargo.lock lists {twice[0] if twice else 'a package'} twice")
    return refs


def _targets(locked: Locked, lock: Lock) -> Iterable[Locked]:
    for words in locked.dependencies:
        found = _named(lock.by_name, words)
        if found is None:
            raise LockError(f"Cargo.lock: {locked.name} {locked.version} needs {words!r}, which it does not list")
        yield found


def _named(by_name: Mapping[str, tuple[Locked, ...]], words: str) -> Locked | None:
    """`name`, `name version` or `name version (source)`, as much as tells it apart."""
    name, _, rest = words.partition(" ")
    version, _, source = rest.partition(" ")
    found = [p for p in by_name.get(name, ()) if version in ("", p.version)]
    if source:
        found = [p for p in found if p.source is not None and f"({p.source.partition('#')[0]})" == _bare(source)]
    return found[0] if len(found) == 1 else None


def _bare(source: str) -> str:
    return source.partition("#")[0].removesuffix(")") + ")"


def _component(locked: Locked, ref: str) -> Component:
    origin = parse_origin(locked.source)
    hashes = (Hash("SHA-256", locked.checksum),) if locked.checksum else ()
    place = origin.download(locked.name, locked.version)
    references: tuple[Reference, ...] = ()
    if origin.is_registry and place:
        references = (Reference(ReferenceKind.SOURCE, place), Reference(ReferenceKind.DISTRIBUTION, place, hashes))
    elif place:
        references = (Reference(ReferenceKind.VCS, place),)
    archive = Deployable(f"{locked.name}-{locked.version}.crate", archive=True, structured=True)
    return Component(
        ref=ref,
        kind=Kind.LIBRARY,
        name=locked.name,
        version=locked.version,
        purl=ref,
        hashes=hashes,
        supplier=Party(origin.supplier) if origin.supplier else None,
        references=references,
        download=place,
        file=archive if origin.is_registry else None,
    )
