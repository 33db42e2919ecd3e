"""SPDX 3.0.1 as JSON-LD: https://spdx.github.io/spdx-spec/v3.0.1/, profiles core, software and simpleLicensing.

Files that are handed out are described as BSI TR-03183-2 v2.1 (8.2) has it: a `software_File` at the end of
`hasDistributionArtifact`, whose further purposes say whether it is executable, an archive, structured.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.supply import licenses, spdx
from ciflow.supply.canonical import content_uuid, to_bytes
from ciflow.supply.model import (
    Bom,
    Completeness,
    Component,
    Creation,
    Dependency,
    Deployable,
    Hash,
    Kind,
    Party,
    Phase,
    ReferenceKind,
    Scope,
)

VERSION = "3.0.1"
CONTEXT = f"https://spdx.org/rdf/{VERSION}/spdx-context.jsonld"
NONE_ELEMENT = f"https://spdx.org/rdf/{VERSION}/terms/Core/NoneElement"
CC0 = "https://spdx.org/licenses/CC0-1.0"
PURPOSE = {
    Kind.APPLICATION: "application",
    Kind.FRAMEWORK: "framework",
    Kind.LIBRARY: "library",
    Kind.OPERATING_SYSTEM: "operatingSystem",
    Kind.DEVICE: "device",
    Kind.FILE: "file",
    Kind.CONTAINER: "container",
    Kind.FIRMWARE: "firmware",
    Kind.DEVICE_DRIVER: "deviceDriver",
    Kind.PLATFORM: "platform",
    Kind.MODEL: "model",
    Kind.DATA: "data",
}
LINKS = {
    ReferenceKind.VCS: "vcs",
    ReferenceKind.ISSUES: "issueTracker",
    ReferenceKind.WEBSITE: "altWebPage",
    ReferenceKind.DOCUMENTATION: "documentation",
    ReferenceKind.DISTRIBUTION: "binaryArtifact",
    ReferenceKind.LICENCE: "license",
    ReferenceKind.SOURCE: "sourceArtifact",
    ReferenceKind.OTHER: "other",
}
PHASES = {
    Phase.DESIGN: "design",
    Phase.PRE_BUILD: "source",
    Phase.BUILD: "build",
    Phase.POST_BUILD: "analyzed",
    Phase.OPERATIONS: "deployed",
    Phase.DISCOVERY: "runtime",
}
COMPLETENESS = {
    Completeness.COMPLETE: "complete",
    Completeness.INCOMPLETE: "incomplete",
    Completeness.UNKNOWN: "noAssertion",
}
_ALGORITHMS = {
    "MD5": "md5", "SHA-1": "sha1", "SHA-224": "sha224", "SHA-256": "sha256", "SHA-384": "sha384",
    "SHA-512": "sha512", "SHA3-256": "sha3_256", "SHA3-384": "sha3_384", "SHA3-512": "sha3_512",
    "BLAKE2b-256": "blake2b256", "BLAKE2b-384": "blake2b384", "BLAKE2b-512": "blake2b512", "BLAKE3": "blake3",
}  # fmt: skip
ALGORITHMS = {word: name for name, word in _ALGORITHMS.items()}
SCOPE, PHASE, GROUP = "ciflow:scope", "ciflow:phase", "ciflow:group"
DECLARED, CONCLUDED = "ciflow:licence:declared", "ciflow:licence:concluded"


def emit(bom: Bom, creation: Creation) -> bytes:
    """The document. Its namespace is made of its content, so equal inputs give equal bytes."""
    draft = _Graph(bom, creation, "urn:ciflow:draft")
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", bom.subject.name)
    namespace = f"https://spdx.org/spdxdocs/{name}-{content_uuid(draft.document())}"
    return to_bytes(_Graph(bom, creation, namespace).document())


class _Graph:
    """Elements of one document. `namespace` begins the id of each."""

    def __init__(self, bom: Bom, creation: Creation, namespace: str) -> None:
        self._bom, self._creation, self._namespace = bom, creation, namespace
        self._elements: dict[str, dict[str, Any]] = {}
        self._ids = {component.ref: self._id(spdx.identifier(component)) for component in bom.everything()}

    def document(self) -> dict[str, Any]:
        info = self._info()
        for component in self._bom.everything():
            self._package(component)
        self._relations()
        sbom = self._add(
            "software_Sbom",
            "SPDXRef-Sbom",
            {
                "rootElement": [self._ids[self._bom.subject.ref]],
                "element": sorted(self._elements),
                "software_sbomType": [PHASES[self._bom.phase]] if self._bom.phase in PHASES else None,
                "profileConformance": ["core", "software", "simpleLicensing", "extension"],
                "extension": _extension(self._document_notes()),
            },
        )
        self._add(
            "SpdxDocument",
            "SPDXRef-DOCUMENT",
            {
                "name": " ".join(filter(None, (self._bom.subject.name, self._bom.subject.version))),
                "rootElement": [sbom],
                "element": sorted(self._elements),
                "dataLicense": self._expression("CC0-1.0"),
                "profileConformance": ["core", "software", "simpleLicensing", "extension"],
            },
        )
        return {"@context": CONTEXT, "@graph": [info, *(self._elements[id_] for id_ in sorted(self._elements))]}

    def _document_notes(self) -> list[tuple[str, str]]:
        supplier, phase = self._creation.supplier, self._bom.phase
        notes = [(spdx.SUPPLIED, spdx.contact(supplier))] if supplier else []
        return notes + ([(PHASE, phase.value)] if phase and phase not in PHASES else [])

    def _id(self, name: str) -> str:
        return f"{self._namespace}#{name}"

    def _add(self, kind: str, name: str, fields: Mapping[str, Any]) -> str:
        id_ = self._id(name)
        kept = {key: value for key, value in fields.items() if value not in (None, "", [], ())}
        self._elements[id_] = {"type": kind, "spdxId": id_, "creationInfo": "_:creationinfo", **kept}
        return id_

    def _info(self) -> dict[str, Any]:
        made = self._creation
        tool = "-".join(filter(None, (made.tool, made.tool_version)))
        authors = [self._agent(author, "Person") for author in made.authors]
        if not authors:
            authors = [self._add("SoftwareAgent", "SPDXRef-Agent", {"name": tool or "unknown"})]
        return {
            "type": "CreationInfo",
            "@id": "_:creationinfo",
            "specVersion": VERSION,
            "created": made.timestamp() or "1970-01-01T00:00:00Z",
            "createdBy": authors,
            "createdUsing": [self._add("Tool", "SPDXRef-Tool", {"name": tool})] if tool else [],
        }

    def _agent(self, party: Party, kind: str) -> str:
        """People and organisations; the same one is one element."""
        identifiers = []
        if party.email:
            identifiers.append(_identifier("email", party.email))
        if party.url:
            identifiers.append(_identifier("urlScheme", party.url))
        digest = hashlib.sha256(f"{kind} {party.name} {party.email} {party.url}".encode()).hexdigest()[:12]
        return self._add(kind, f"SPDXRef-{kind}-{digest}", {"name": party.name, "externalIdentifier": identifiers})

    def _package(self, component: Component) -> None:
        id_ = self._ids[component.ref]
        makers = [component.manufacturer] if component.manufacturer else []
        homepage = spdx.homepage(component)
        self._add(
            "software_Package",
            id_.partition("#")[2],
            {
                "name": component.name,
                "description": component.description,
                "software_packageVersion": component.version,
                "software_packageUrl": component.purl,
                "software_primaryPurpose": PURPOSE.get(component.kind, "other"),
                "software_copyrightText": component.copyright,
                "software_homePage": homepage,
                "software_downloadLocation": component.download,
                "suppliedBy": self._agent(component.supplier, "Organization") if component.supplier else None,
                "originatedBy": [self._agent(maker, "Organization") for maker in makers],
                "verifiedUsing": _hashes(component.hashes),
                "externalIdentifier": list(_identifiers(component)),
                "externalRef": [_link(LINKS[r.kind], r.url) for r in component.references],
                "extension": _extension(_notes(component)),
            },
        )
        self._licence(id_, "hasDeclaredLicense", component.licence)
        self._licence(id_, "hasConcludedLicense", component.concluded)
        if component.file:
            self._file(id_, component, component.file)

    def _file(self, id_: str, component: Component, file: Deployable) -> None:
        purposes = ["executable"] if file.executable else []
        purposes += ["archive"] if file.archive else []
        purposes += ["container" if file.structured else "firmware"]
        fields = {
            "name": file.filename,
            "verifiedUsing": _hashes(component.hashes),
            "software_primaryPurpose": "file",
            "software_additionalPurpose": purposes,
            "comment": "software_additionalPurpose field is used to indicate the properties of BSI TR-03183-2",
        }
        file_id = self._add("software_File", f"{id_.partition('#')[2]}-file", fields)
        self._relate(id_, "hasDistributionArtifact", [file_id], "complete")

    def _licence(self, id_: str, how: str, text: str | None) -> None:
        if text is not None:
            self._relate(id_, how, [self._expression(text)], "complete")

    def _expression(self, text: str) -> str:
        """One element for each expression; words that are none stand as a text behind their reference."""
        expression = spdx.licence(text)
        digest = hashlib.sha256(expression.encode()).hexdigest()[:12]
        fields: dict[str, Any] = {"simplelicensing_licenseExpression": expression}
        if licenses.normalise(text) is None:
            words = self._add(
                "simplelicensing_SimpleLicensingText", f"SPDXRef-Text-{digest}", {"simplelicensing_licenseText": text}
            )
            entry = {"type": "DictionaryEntry", "key": expression, "value": words}
            fields["simplelicensing_customIdToUri"] = [entry]
        return self._add("simplelicensing_LicenseExpression", f"SPDXRef-Licence-{digest}", fields)

    def _relations(self) -> None:
        targets: defaultdict[tuple[str, Dependency], list[str]] = defaultdict(list)
        for relation in self._bom.relations:
            targets[relation.source, relation.kind].append(self._ids[relation.target])
        complete = COMPLETENESS[self._bom.completeness]
        for (ref, kind), ids in targets.items():
            self._relate(self._ids[ref], "dependsOn", sorted(set(ids)), complete, kind)
        for component in self._bom.everything():
            if not any((component.ref, kind) in targets for kind in Dependency):
                self._relate(self._ids[component.ref], "dependsOn", [NONE_ELEMENT], complete)

    def _relate(
        self, source: str, how: str, targets: list[str], complete: str, kind: Dependency = Dependency.NORMAL
    ) -> None:
        fields = {"from": source, "relationshipType": how, "to": targets, "completeness": complete}
        build = kind is Dependency.BUILD
        name = f"{source.partition('#')[2]}-{how}" + ("-build" if build else "")
        if build:
            self._add("LifecycleScopedRelationship", name, {**fields, "scope": "build"})
        else:
            self._add("Relationship", name, fields)


def _notes(component: Component) -> Iterable[tuple[str, str]]:
    """What the model of SPDX has no place for, as properties in the way of CycloneDX."""
    if component.ref != component.purl:
        yield spdx.REF, component.ref
    if component.scope is not Scope.REQUIRED:
        yield SCOPE, component.scope.value
    if component.group:
        yield GROUP, component.group
    for author in component.authors:
        yield spdx.AUTHOR, spdx.contact(author)
    yield from component.properties


def _extension(pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    entries = [
        {"type": "extension_CdxPropertyEntry", "extension_cdxPropName": name, "extension_cdxPropValue": value}
        for name, value in pairs
    ]
    return [{"type": "extension_CdxPropertiesExtension", "extension_cdxProperty": entries}] if entries else []


def _hashes(hashes: Iterable[Hash]) -> list[dict[str, str]]:
    known = [h for h in sorted(hashes) if h.algorithm in _ALGORITHMS]
    return [{"type": "Hash", "algorithm": _ALGORITHMS[h.algorithm], "hashValue": h.value} for h in known]


def _identifiers(component: Component) -> Iterable[dict[str, str]]:
    if component.purl:
        yield _identifier("packageUrl", component.purl)
    if component.cpe:
        yield _identifier("cpe23", component.cpe)


def _identifier(kind: str, value: str) -> dict[str, str]:
    return {"type": "ExternalIdentifier", "externalIdentifierType": kind, "identifier": value}


def _link(kind: str, url: str) -> dict[str, Any]:
    return {"type": "ExternalRef", "externalRefType": kind, "locator": [url]}
