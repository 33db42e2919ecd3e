"""One bill of materials of several: a release of many parts, or an image with what is inside its programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom, Completeness, Component, Kind, Relation, Scope
from ciflow.supply.purls import purl


def merge(boms: Sequence[Bom], name: str, version: str | None) -> Bom:
    """A new subject that has the subjects of all.

    Components of one ref become one when they are the same thing; what one of them doesn't say another may.

    Raises:
        SupplyError: two have one ref and a hash of one algorithm that differs: one of them lies.
    """
    own = purl("generic", name, version)
    parts: dict[str, Component] = {}
    for bom in boms:
        for component in bom.everything():
            known = parts.get(component.ref)
            parts[component.ref] = component if known is None else _joined(known, component)
    if own in parts:
        raise SupplyError(f"{own} is already in one of them: choose another name")
    subject = Component(own, Kind.APPLICATION, name, version, own)
    tops = [Relation(own, ref) for ref in sorted({bom.subject.ref for bom in boms})]
    relations = sorted({r for bom in boms for r in bom.relations}, key=lambda r: (r.source, r.target, r.kind.value))
    return Bom(
        subject,
        tuple(sorted(parts.values(), key=lambda c: c.ref)),
        (*tops, *relations),
        _completeness(boms),
        boms[0].phase if len({bom.phase for bom in boms}) == 1 else None,
    )


def _completeness(boms: Sequence[Bom]) -> Completeness:
    said = {bom.completeness for bom in boms}
    if said == {Completeness.COMPLETE}:
        return Completeness.COMPLETE
    return Completeness.INCOMPLETE if Completeness.INCOMPLETE in said else Completeness.UNKNOWN


def _joined(one: Component, other: Component) -> Component:
    for algorithm, value in ((h.algorithm, h.value) for h in one.hashes):
        if other.hash(algorithm) not in (None, value):
            raise SupplyError(f"{one.ref} has two different {algorithm}: {value} and {other.hash(algorithm)}")
    required = Scope.REQUIRED in (one.scope, other.scope)
    return replace(
        one,
        scope=Scope.REQUIRED if required else one.scope,
        hashes=tuple(sorted({*one.hashes, *other.hashes})),
        licence=one.licence or other.licence,
        concluded=one.concluded or other.concluded,
        copyright=one.copyright or other.copyright,
        description=one.description or other.description,
        supplier=one.supplier or other.supplier,
        manufacturer=one.manufacturer or other.manufacturer,
        authors=one.authors or other.authors,
        references=tuple(dict.fromkeys((*one.references, *other.references))),
        download=one.download or other.download,
        cpe=one.cpe or other.cpe,
        file=one.file or other.file,
        properties=tuple(dict.fromkeys((*one.properties, *other.properties))),
    )
