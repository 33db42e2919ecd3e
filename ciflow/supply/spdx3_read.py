"""SPDX 3.0.1 in JSON-LD, from any generator that uses the official context, as a bill of materials."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.supply import spdx, spdx3
from ciflow.supply.cyclonedx_read import moment
from ciflow.supply.errors import DocumentError
from ciflow.supply.fields import Fields, Reading
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
    Reference,
    ReferenceKind,
    Relation,
    Scope,
)
from ciflow.supply.parties import parse_party

_NEEDS = ("dependsOn", "contains", "hasStaticLink", "hasDynamicLink")
_AGENTS = ("Person", "Organization", "SoftwareAgent", "Agent")
_OF_PACKAGES = ("hasDeclaredLicense", "hasConcludedLicense", "hasDistributionArtifact")


def read(tree: Any) -> Reading:
    """What a document says, and what of it there is no room for here.

    Raises:
        DocumentError: saying at which path something is not as the format has it.
    """
    top = Fields.of(tree, "")
    if not str(top.raw("@context")).startswith("https://spdx.org/rdf/3.0."):
        raise DocumentError("@context: only that of SPDX 3.0 is read")
    return _Reader(top).reading()


class _Reader:
    def __init__(self, top: Fields) -> None:
        self._top = top
        self._by_id: dict[str, Fields] = {}
        for element in top.objects("@graph"):
            id_ = element.maybe("spdxId") or element.maybe("@id")
            if id_ is None:
                raise DocumentError(f"{element.path}: an element without spdxId")
            if id_ in self._by_id:
                raise DocumentError(f"{element.path}/spdxId: two elements have the id {id_}")
            self._by_id[id_] = element
        self._links: defaultdict[tuple[str, str], list[str]] = defaultdict(list)

    def reading(self) -> Reading:
        relations = list(self._all("Relationship")) + list(self._all("LifecycleScopedRelationship"))
        for one in relations:
            if (how := one.text("relationshipType")) in _OF_PACKAGES:
                self._links[one.text("from"), how] += one.texts("to")
                one.skip("completeness", "creationInfo")
        parts = {package.text("spdxId"): self._component(package) for package in self._all("software_Package")}
        count = Counter(part.ref for part in parts.values())
        parts = {id_: part if count[part.ref] == 1 else replace(part, ref=id_) for id_, part in parts.items()}
        document = next(self._all("SpdxDocument"), None)
        sboms = list(self._all("software_Sbom"))
        subject = self._subject(document, sboms, parts)
        edges = [edge for one in relations for edge in self._edges(one, parts)]
        notes = dict(pair for sbom in sboms for pair in _notes(sbom))
        components = tuple(sorted((p for p in parts.values() if p.ref != subject.ref), key=lambda c: c.ref))
        ordered = tuple(sorted(dict.fromkeys(edges), key=lambda r: (r.source, r.target, r.kind.value)))
        bom = Bom(subject, components, ordered, _completeness(relations), _phase(sboms, notes))
        supplier = parse_party(notes.get(spdx.SUPPLIED, ""))
        identified = document is not None and ":" in document.text("spdxId")
        self._known()
        return Reading(bom, self._creation(supplier), self._top.unread(), spdx3.VERSION, identified)

    def _all(self, kind: str) -> Iterator[Fields]:
        return (element for element in self._by_id.values() if element.text("type") == kind)

    def _known(self) -> None:
        """Fields that only hold the document together."""
        for element in self._by_id.values():
            element.skip("creationInfo", "element", "profileConformance", "dataLicense", "comment")
            if element.text("type") in (*_AGENTS, "Tool", "SpdxDocument", "simplelicensing_LicenseExpression"):
                element.all_read()

    def _subject(self, document: Fields | None, sboms: list[Fields], parts: Mapping[str, Component]) -> Component:
        roots = [id_ for one in (*sboms, *([document] if document else [])) for id_ in one.texts("rootElement")]
        known = list(dict.fromkeys(id_ for id_ in roots if id_ in parts))
        if len(known) == 1:
            return parts[known[0]]
        name = document.maybe("name") if document else None
        return Component("SPDXRef-DOCUMENT", Kind.APPLICATION, name or "unnamed", None, None)

    def _component(self, given: Fields) -> Component:
        id_ = given.text("spdxId")
        notes = list(_notes(given))
        own = dict(notes)
        identifiers = _identifiers(given)
        purl = given.maybe("software_packageUrl") or identifiers.get("packageUrl")
        hashes = tuple(sorted(_hashes(given)))
        purposes = {word: kind for kind, word in spdx3.PURPOSE.items()}
        suppliers = [given.maybe("suppliedBy")] if given.maybe("suppliedBy") else []
        makers = given.texts("originatedBy")
        return Component(
            ref=own.get(spdx.REF) or purl or id_,
            kind=purposes.get(given.maybe("software_primaryPurpose") or "", Kind.LIBRARY),
            name=given.text("name"),
            version=given.maybe("software_packageVersion"),
            purl=purl,
            scope=Scope(own[spdx3.SCOPE]) if own.get(spdx3.SCOPE) in ("optional", "excluded") else Scope.REQUIRED,
            hashes=hashes,
            licence=self._licence(id_, "hasDeclaredLicense"),
            concluded=self._licence(id_, "hasConcludedLicense"),
            copyright=given.maybe("software_copyrightText"),
            description=given.maybe("description"),
            supplier=self._party(suppliers[0]) if suppliers else None,
            manufacturer=self._party(makers[0]) if makers else None,
            authors=tuple(p for key, value in notes if key == spdx.AUTHOR and (p := parse_party(value))),
            references=tuple(_references(given, hashes)),
            download=given.maybe("software_downloadLocation"),
            cpe=identifiers.get("cpe23"),
            file=self._file(id_),
            properties=tuple((key, value) for key, value in notes if not key.startswith("ciflow:")),
            group=own.get(spdx3.GROUP),
        )

    def _licence(self, id_: str, how: str) -> str | None:
        """The expression, or the words behind it where it only names a text."""
        for target in self._links[id_, how]:
            element = self._by_id.get(target)
            if element is None:
                continue
            expression = element.maybe("simplelicensing_licenseExpression")
            for entry in element.objects("simplelicensing_customIdToUri"):
                text = self._by_id.get(entry.maybe("value") or "")
                words = text.maybe("simplelicensing_licenseText") if text else None
                entry.all_read()
                if words and entry.maybe("key") == expression:
                    return words
            return expression or element.maybe("name")
        return None

    def _file(self, id_: str) -> Deployable | None:
        for target in self._links[id_, "hasDistributionArtifact"]:
            file = self._by_id.get(target)
            if file is not None:
                purposes = set(file.texts("software_additionalPurpose"))
                for digest in file.objects("verifiedUsing"):
                    digest.all_read()
                file.skip("software_primaryPurpose")
                flags = ("executable" in purposes, "archive" in purposes, "container" in purposes)
                return Deployable(file.text("name"), *flags)
        return None

    def _party(self, id_: str | None) -> Party | None:
        element = self._by_id.get(id_ or "")
        if element is None:
            return None
        identifiers = _identifiers(element)
        page = identifiers.get("urlScheme") or identifiers.get("other")
        return Party(element.maybe("name") or "", identifiers.get("email"), page)

    def _edges(self, one: Fields, parts: Mapping[str, Component]) -> Iterator[Relation]:
        if one.text("relationshipType") not in _NEEDS:
            return
        one.skip("completeness", "creationInfo")
        how = Dependency.BUILD if one.maybe("scope") in ("build", "development", "test") else Dependency.NORMAL
        source = one.text("from")
        for target in one.texts("to"):
            for id_ in (source, target):
                if id_ not in self._by_id and id_ != spdx3.NONE_ELEMENT:
                    raise DocumentError(f"{one.path}: {id_} is no element of this document")
            if source in parts and target in parts:
                yield Relation(parts[source].ref, parts[target].ref, how)

    def _creation(self, supplier: Party | None) -> Creation:
        info = next(self._all("CreationInfo"), None)
        if info is None:
            raise DocumentError("/@graph: there is no CreationInfo")
        authors = [
            party
            for id_ in info.texts("createdBy")
            if id_ in self._by_id and self._by_id[id_].text("type") != "SoftwareAgent" and (party := self._party(id_))
        ]
        tools = [self._by_id[id_].maybe("name") or "" for id_ in info.texts("createdUsing") if id_ in self._by_id]
        name, dash, version = tools[0].rpartition("-") if tools else ("", "", "")
        info.skip("specVersion", "@id")
        epoch = moment(info.maybe("created"), f"{info.path}/created")
        tool = (name if dash else version) or None
        return Creation(epoch, version if dash else None, tuple(authors), tool, supplier)


def _identifiers(given: Fields) -> dict[str, str]:
    found = {}
    for one in given.objects("externalIdentifier"):
        one.skip("type", "identifierLocator", "issuingAuthority")
        found[one.text("externalIdentifierType")] = one.text("identifier")
    return found


def _notes(given: Fields) -> Iterator[tuple[str, str]]:
    for extension in given.objects("extension"):
        if extension.text("type") == "extension_CdxPropertiesExtension":
            for entry in extension.objects("extension_cdxProperty"):
                entry.skip("type")
                yield entry.text("extension_cdxPropName"), entry.maybe("extension_cdxPropValue") or ""


def _hashes(given: Fields) -> Iterator[Hash]:
    for one in given.objects("verifiedUsing"):
        if one.text("type") == "Hash":
            word = one.text("algorithm")
            yield Hash(spdx3.ALGORITHMS.get(word, word), one.text("hashValue").lower())


def _references(given: Fields, hashes: tuple[Hash, ...]) -> Iterator[Reference]:
    kinds = {word: kind for kind, word in spdx3.LINKS.items()}
    seen = set()
    for link in given.objects("externalRef"):
        link.skip("type")
        kind = kinds.get(link.maybe("externalRefType") or "", ReferenceKind.OTHER)
        for place in link.texts("locator"):
            seen.add(place)
            yield Reference(kind, place, hashes if kind is ReferenceKind.DISTRIBUTION else ())
    homepage = given.maybe("software_homePage")
    if homepage and homepage not in seen:
        yield Reference(ReferenceKind.WEBSITE, homepage)


def _completeness(relations: list[Fields]) -> Completeness:
    said = {one.maybe("completeness") for one in relations if one.text("relationshipType") == "dependsOn"}
    if said == {"complete"}:
        return Completeness.COMPLETE
    return Completeness.INCOMPLETE if "incomplete" in said else Completeness.UNKNOWN


def _phase(sboms: list[Fields], notes: Mapping[str, str]) -> Phase | None:
    words = {word: phase for phase, word in spdx3.PHASES.items()}
    said = [word for sbom in sboms for word in sbom.texts("software_sbomType")]
    known = {phase.value: phase for phase in Phase}
    return next((words[word] for word in said if word in words), known.get(notes.get(spdx3.PHASE, "")))
