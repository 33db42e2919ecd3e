"""SPDX 2.3 as a tree of plain values: https://spdx.github.io/spdx-spec/v2.3/.

JSON, YAML and XML write the tree as it is; `spdx_tag.py` and `spdx_rdf.py` write the same one in their ways.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.supply import licenses
from ciflow.supply.canonical import content_uuid, named
from ciflow.supply.cyclonedx import DOWNLOAD, file_properties
from ciflow.supply.model import (
    Bom,
    Completeness,
    Component,
    Creation,
    Dependency,
    Kind,
    Party,
    ReferenceKind,
    Relation,
    Scope,
)

NONE = "NOASSERTION"
PURPOSE = {
    Kind.APPLICATION: "APPLICATION",
    Kind.FRAMEWORK: "FRAMEWORK",
    Kind.LIBRARY: "LIBRARY",
    Kind.CONTAINER: "CONTAINER",
    Kind.OPERATING_SYSTEM: "OPERATING-SYSTEM",
    Kind.DEVICE: "DEVICE",
    Kind.FIRMWARE: "FIRMWARE",
    Kind.FILE: "FILE",
}
BUILD_ONLY = "takes part in the build, is not delivered"
OPTIONAL = "may be delivered"
# What the format has no field for stands in annotations, as `key=value`.
REF, AUTHOR, REACH, COMPLETE = "ciflow:ref", "ciflow:author", "ciflow:reached-at", "ciflow:completeness"
SUPPLIED = "ciflow:supplier"
PHASE = "lifecycle phase: "


def emit(bom: Bom, creation: Creation) -> bytes:
    """The document as JSON."""
    return named(_tree(bom, creation), "documentNamespace", _namespace(bom))


def document(bom: Bom, creation: Creation) -> dict[str, Any]:
    """The tree. Its namespace is made of its content, so equal inputs give equal bytes."""
    tree = _tree(bom, creation)
    return {**tree, "documentNamespace": _namespace(bom) + content_uuid(tree)}


def _namespace(bom: Bom) -> str:
    return f"https://spdx.org/spdxdocs/{re.sub(r'[^A-Za-z0-9.-]+', '-', bom.subject.name)}-"


def _tree(bom: Bom, creation: Creation) -> dict[str, Any]:
    ids = {component.ref: identifier(component) for component in bom.everything()}
    everything = sorted(bom.everything(), key=lambda c: ids[c.ref])
    tool = "-".join(filter(None, (creation.tool, creation.tool_version)))
    info = {
        "created": creation.timestamp() or "1970-01-01T00:00:00Z",
        "creators": [*([f"Tool: {tool}"] if tool else []), *(party(author, "Person") for author in creation.authors)],
        "comment": PHASE + bom.phase.value if bom.phase else None,
    }
    notes = _Notes(str(info["created"]), f"Tool: {tool or 'ciflow'}")
    known = [(COMPLETE, bom.completeness.value)] if bom.completeness is not Completeness.UNKNOWN else []
    if creation.supplier:
        known.append((SUPPLIED, contact(creation.supplier)))
    tree = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": " ".join(filter(None, (bom.subject.name, bom.subject.version))),
        "creationInfo": {key: value for key, value in info.items() if value is not None},
        "packages": [_package(c, ids[c.ref], notes) for c in everything],
        "relationships": list(_relationships(bom, ids)),
        "annotations": notes.of(known),
        "hasExtractedLicensingInfos": _extracted(everything),
    }
    return {key: value for key, value in tree.items() if value != []}


def identifier(component: Component) -> str:
    """Letters, digits, `.` and `-` only (clause 7.2); the hash keeps `a_b` and `a-b` apart."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", f"{component.name}-{component.version or ''}").strip("-")
    return f"SPDXRef-{readable}-{hashlib.sha256(component.ref.encode()).hexdigest()[:12]}"


class _Notes:
    """Annotations (clause 12) of one document: all by the same tool at the same time."""

    def __init__(self, date: str, annotator: str) -> None:
        self._same = {"annotationDate": date, "annotationType": "OTHER", "annotator": annotator}

    def of(self, pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
        return [{**self._same, "comment": f"{key}={value}"} for key, value in pairs]


def _package(component: Component, id_: str, notes: _Notes) -> dict[str, Any]:
    fields = {
        "SPDXID": id_,
        "name": component.name,
        "versionInfo": component.version,
        "packageFileName": component.file.filename if component.file else None,
        "description": component.description,
        "primaryPackagePurpose": PURPOSE.get(component.kind, "OTHER"),
        "supplier": party(component.supplier, "Organization") if component.supplier else NONE,
        "originator": _originator(component),
        "downloadLocation": _download(component),
        "homepage": homepage(component),
        "filesAnalyzed": False,
        "checksums": [
            {"algorithm": _algorithm(h.algorithm), "checksumValue": h.value} for h in sorted(component.hashes)
        ],
        "licenseDeclared": licence(component.licence),
        "licenseConcluded": licence(component.concluded),
        "copyrightText": component.copyright or NONE,
        "externalRefs": list(_external(component)),
        "annotations": notes.of(_noted(component)),
        "comment": {Scope.EXCLUDED: BUILD_ONLY, Scope.OPTIONAL: OPTIONAL}.get(component.scope),
    }
    return {key: value for key, value in fields.items() if value not in (None, [])}


def _algorithm(name: str) -> str:
    """`SHA-256` is SHA256 here, and `SHA3-256` stays what it is."""
    return name.replace("SHA-", "SHA")


def _noted(component: Component) -> Iterable[tuple[str, str]]:
    if component.ref != component.purl:
        yield REF, component.ref
    if component.manufacturer and component.manufacturer.url:
        yield REACH, component.manufacturer.url
    if component.supplier and component.supplier.url:
        yield SUPPLIED, component.supplier.url
    if component.download and _download(component) == NONE:
        yield DOWNLOAD, component.download
    for author in component.authors:
        yield AUTHOR, contact(author)
    if component.file:
        yield from file_properties(component.file)
    yield from component.properties


def contact(author: Party) -> str:
    return f"{author.name} <{author.email or author.url}>" if author.email or author.url else author.name


def _external(component: Component) -> Iterable[dict[str, str]]:
    if component.purl:
        yield _locator("PACKAGE-MANAGER", "purl", component.purl)
    if component.cpe:
        yield _locator("SECURITY", "cpe23Type", component.cpe)
    for reference in component.references:
        yield _locator("OTHER", reference.kind.value, reference.url.replace(" ", "%20"))


def _locator(category: str, kind: str, place: str) -> dict[str, str]:
    return {"referenceCategory": category, "referenceType": kind, "referenceLocator": place}


def _originator(component: Component) -> str | None:
    maker = component.manufacturer or (component.authors[0] if component.authors else None)
    if maker is None or not (maker.name or maker.email):
        return None
    return party(maker, "Person" if maker in component.authors else "Organization")


def _download(component: Component) -> str:
    """Clause 7.7 has no form for a repository that is a directory."""
    place = component.download
    return NONE if place is None or place.startswith("git+file:") else place


def party(one: Party, kind: str) -> str:
    """Clause 6.8; round brackets would end the name."""
    name = (one.name or one.email or one.url or "").replace("(", "[").replace(")", "]")
    return f"{kind}: {name} ({one.email})" if one.email else f"{kind}: {name}"


def homepage(component: Component) -> str | None:
    return next((r.url for r in component.references if r.kind is ReferenceKind.WEBSITE), None)


def licence(text: str | None) -> str:
    if text is None:
        return NONE
    return licenses.normalise(text) or licenses.custom(text)


def _relationships(bom: Bom, ids: Mapping[str, str]) -> Iterable[dict[str, str]]:
    yield _relationship("SPDXRef-DOCUMENT", "DESCRIBES", ids[bom.subject.ref])
    for relation in sorted(bom.relations, key=lambda r: (ids[r.source], ids[r.target], r.kind.value)):
        yield _edge(relation, ids)


def _edge(relation: Relation, ids: Mapping[str, str]) -> dict[str, str]:
    source, target = ids[relation.source], ids[relation.target]
    if relation.kind is Dependency.BUILD:
        return _relationship(target, "BUILD_DEPENDENCY_OF", source)
    return _relationship(source, "DEPENDS_ON", target)


def _relationship(source: str, kind: str, target: str) -> dict[str, str]:
    return {"spdxElementId": source, "relationshipType": kind, "relatedSpdxElement": target}


def _extracted(components: Iterable[Component]) -> list[dict[str, str]]:
    """Clause 10: every `LicenseRef-` used must be said; all that is known is the text of its maker."""
    texts: dict[str, str] = {}
    for component in components:
        for said in (component.licence, component.concluded):
            for reference in licenses.references(licence(said)):
                texts.setdefault(reference, said or reference)
    return [{"licenseId": ref, "name": ref, "extractedText": text} for ref, text in sorted(texts.items())]
