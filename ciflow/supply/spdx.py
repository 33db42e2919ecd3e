"""SPDX 2.3 as JSON: https://spdx.github.io/spdx-spec/v2.3/."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.supply import licenses
from ciflow.supply.canonical import content_uuid, to_bytes
from ciflow.supply.model import (
    Bom,
    Component,
    Creation,
    Dependency,
    Kind,
    Party,
    ReferenceKind,
    Relation,
    Scope,
)

_NONE = "NOASSERTION"
_PURPOSE = {Kind.APPLICATION: "APPLICATION", Kind.LIBRARY: "LIBRARY"}


def emit(bom: Bom, creation: Creation) -> bytes:
    """The document. Its namespace is made of its content, so equal inputs give equal bytes."""
    document = _document(bom, creation)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", bom.subject.name)
    namespace = f"https://spdx.org/spdxdocs/{name}-{content_uuid(document)}"
    return to_bytes({**document, "documentNamespace": namespace})


def _document(bom: Bom, creation: Creation) -> dict[str, Any]:
    ids = {component.ref: _id(component) for component in bom.everything()}
    everything = sorted(bom.everything(), key=lambda c: ids[c.ref])
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": " ".join(filter(None, (bom.subject.name, bom.subject.version))),
        "creationInfo": {
            "created": creation.timestamp(),
            "creators": [f"Tool: {creation.tool}-{creation.tool_version}", *map(_party, creation.authors)],
        },
        "packages": [_package(c, ids[c.ref]) for c in everything],
        "relationships": list(_relationships(bom, ids)),
    }
    extracted = _extracted(everything)
    return {**document, "hasExtractedLicensingInfos": extracted} if extracted else document


def _id(component: Component) -> str:
    """Letters, digits, `.` and `-` only (clause 7.2); the hash keeps `a_b` and `a-b` apart."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", f"{component.name}-{component.version or ''}").strip("-")
    return f"SPDXRef-{readable}-{hashlib.sha256(component.ref.encode()).hexdigest()[:12]}"


def _package(component: Component, id_: str) -> dict[str, Any]:
    locator = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": component.purl}
    fields = {
        "SPDXID": id_,
        "name": component.name,
        "versionInfo": component.version,
        "description": component.description,
        "primaryPackagePurpose": _PURPOSE[component.kind],
        "supplier": f"Organization: {component.supplier.name}" if component.supplier else _NONE,
        "originator": _party(component.authors[0]) if component.authors else None,
        "downloadLocation": _download(component),
        "homepage": _first(component, ReferenceKind.WEBSITE),
        "filesAnalyzed": False,
        "checksums": [
            {"algorithm": h.algorithm.replace("-", ""), "checksumValue": h.value} for h in sorted(component.hashes)
        ],
        "licenseDeclared": _licence(component.licence),
        "licenseConcluded": _NONE,
        "copyrightText": _NONE,
        "externalRefs": [locator],
        "comment": "takes part in the build, is not delivered" if component.scope is Scope.EXCLUDED else None,
    }
    return {key: value for key, value in fields.items() if value not in (None, [])}


def _download(component: Component) -> str:
    """Clause 7.7 has no form for a repository that is a directory."""
    place = component.download
    return _NONE if place is None or place.startswith("git+file:") else place


def _party(party: Party) -> str:
    """Clause 6.8; round brackets would end the name."""
    name = party.name.replace("(", "[").replace(")", "]")
    return f"Person: {name} ({party.email})" if party.email else f"Person: {name}"


def _first(component: Component, kind: ReferenceKind) -> str | None:
    return next((r.url for r in component.references if r.kind is kind), None)


def _licence(text: str | None) -> str:
    if text is None:
        return _NONE
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
        for reference in licenses.references(_licence(component.licence)):
            texts.setdefault(reference, component.licence or reference)
    return [{"licenseId": ref, "name": ref, "extractedText": text} for ref, text in sorted(texts.items())]
