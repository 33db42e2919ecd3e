"""An SPDX tree (2.2 or 2.3, from any generator) as a bill of materials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.supply import spdx
from ciflow.supply.cyclonedx import DOWNLOAD
from ciflow.supply.cyclonedx_read import OURS, file_of, moment
from ciflow.supply.errors import DocumentError
from ciflow.supply.fields import Fields, Reading
from ciflow.supply.model import (
    Bom,
    Completeness,
    Component,
    Creation,
    Dependency,
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

VERSIONS = ("SPDX-2.2", "SPDX-2.3")
_SOURCE_NEEDS = {"DEPENDS_ON": Dependency.NORMAL, "CONTAINS": Dependency.NORMAL}
_TARGET_NEEDS = {
    "DEPENDENCY_OF": Dependency.NORMAL,
    "RUNTIME_DEPENDENCY_OF": Dependency.NORMAL,
    "CONTAINED_BY": Dependency.NORMAL,
    "BUILD_DEPENDENCY_OF": Dependency.BUILD,
    "BUILD_TOOL_OF": Dependency.BUILD,
    "DEV_DEPENDENCY_OF": Dependency.BUILD,
    "OPTIONAL_DEPENDENCY_OF": Dependency.NORMAL,
}
_UNKNOWN = ("", spdx.NONE, "NONE")


def read(tree: Any) -> Reading:
    """What a tree says, and what of it there is no room for here.

    Raises:
        DocumentError: saying at which path something is not as the format has it.
    """
    top = Fields.of(tree, "")
    version = top.text("spdxVersion")
    if version not in VERSIONS:
        raise DocumentError(f"spdxVersion: {version} is not read; {', '.join(VERSIONS)} are")
    info = top.object("creationInfo")
    texts = {e.text("licenseId"): e.maybe("extractedText") for e in top.objects("hasExtractedLicensingInfos")}
    for extracted in top.objects("hasExtractedLicensingInfos"):
        extracted.skip("name", "seeAlsos", "comment")
    notes = dict(_notes(top))
    parts = _parts(top, texts)
    links = list(_links(top))
    subject = _subject(top, links, parts)
    found = dict.fromkeys(_relations(links, parts, subject))
    relations = tuple(sorted(found, key=lambda r: (r.source, r.target, r.kind.value)))
    components = tuple(part for part in parts.values() if part.ref != subject.ref)
    known = {c.value: c for c in Completeness}
    completeness = known.get(notes.get(spdx.COMPLETE, ""), Completeness.UNKNOWN)
    bom = Bom(subject, components, relations, completeness, _phase(info))
    creation = replace(_creation(info), supplier=parse_party(notes.get(spdx.SUPPLIED, "")))
    identified = "://" in (top.maybe("documentNamespace") or "")
    top.skip("SPDXID", "name", "dataLicense")
    return Reading(bom, creation, top.unread(), version.removeprefix("SPDX-"), identified)


def _notes(given: Fields) -> Iterator[tuple[str, str]]:
    """Annotations of the form `key=value`; others are told as left out."""
    for note in given.objects("annotations"):
        key, equals, value = (note.raw("comment") or "").partition("=")
        if equals and ":" in key and " " not in key:
            note.all_read()
            yield key, value


def _parts(top: Fields, texts: Mapping[str, str | None]) -> dict[str, Component]:
    """Components by SPDXID. Where purls are unique, they are the refs."""
    parts: dict[str, Component] = {}
    for given in top.objects("packages"):
        id_ = given.text("SPDXID")
        if id_ in parts:
            raise DocumentError(f"{given.path}/SPDXID: two packages have the id {id_}")
        parts[id_] = _component(given, id_, texts)
    count = Counter(part.ref for part in parts.values())
    return {id_: part if count[part.ref] == 1 else replace(part, ref=id_) for id_, part in parts.items()}


def _component(given: Fields, id_: str, texts: Mapping[str, str | None]) -> Component:
    notes = list(_notes(given))
    own = dict(notes)
    identifiers, references = _external(given)
    hashes = tuple(sorted(_hashes(given)))
    homepage = _said(given, "homepage")
    if homepage and homepage not in {reference.url for reference in references}:
        references.append(Reference(ReferenceKind.WEBSITE, homepage))
    purl = identifiers.get("purl")
    authors = tuple(party for key, value in notes if key == spdx.AUTHOR and (party := parse_party(value)))
    given.skip("filesAnalyzed", "packageVerificationCode", "hasFiles", "sourceInfo", "licenseInfoFromFiles")
    file = file_of(own)
    given.raw("packageFileName")
    return Component(
        ref=own.get(spdx.REF) or purl or id_,
        kind=_kind(given.maybe("primaryPackagePurpose")),
        name=given.text("name"),
        version=_said(given, "versionInfo"),
        purl=purl,
        scope=_scope(given),
        hashes=hashes,
        licence=_licence(_said(given, "licenseDeclared"), texts),
        concluded=_licence(_said(given, "licenseConcluded"), texts),
        copyright=_said(given, "copyrightText"),
        description=given.maybe("description"),
        supplier=_with_page(party_of(_said(given, "supplier")), own.get(spdx.SUPPLIED)),
        manufacturer=_with_page(party_of(_said(given, "originator")), own.get(spdx.REACH)),
        authors=authors,
        references=tuple(replace(r, hashes=hashes if r.kind is ReferenceKind.DISTRIBUTION else ()) for r in references),
        download=_said(given, "downloadLocation") or own.get(DOWNLOAD),
        cpe=identifiers.get("cpe23Type"),
        file=file,
        properties=tuple((k, v) for k, v in notes if not k.startswith((*OURS, "ciflow:"))),
    )


def _said(given: Fields, name: str) -> str | None:
    value = given.maybe(name)
    return None if value is None or value in _UNKNOWN else value


def _with_page(party: Party | None, page: str | None) -> Party | None:
    if page is None:
        return party
    if party is None:
        return Party("", url=page)
    return replace(party, name="" if party.name == page else party.name, url=page)


def _scope(given: Fields) -> Scope:
    comment = given.maybe("comment")
    return {spdx.BUILD_ONLY: Scope.EXCLUDED, spdx.OPTIONAL: Scope.OPTIONAL}.get(comment or "", Scope.REQUIRED)


def _kind(purpose: str | None) -> Kind:
    """Most generators don't say; what others are made of is a library."""
    words = {word: kind for kind, word in spdx.PURPOSE.items()} | {"OPERATING_SYSTEM": Kind.OPERATING_SYSTEM}
    return words.get(purpose or "", Kind.LIBRARY)


def _external(given: Fields) -> tuple[dict[str, str], list[Reference]]:
    known = {kind.value: kind for kind in ReferenceKind}
    identifiers: dict[str, str] = {}
    references = []
    for link in given.objects("externalRefs"):
        kind, place = link.text("referenceType"), link.text("referenceLocator")
        link.skip("referenceCategory")
        if kind in ("purl", "cpe23Type"):
            identifiers.setdefault(kind, place)
        else:
            references.append(Reference(known.get(kind, ReferenceKind.OTHER), place))
    return identifiers, references


def _hashes(given: Fields) -> Iterator[Hash]:
    for checksum in given.objects("checksums"):
        name = checksum.text("algorithm")
        plain = name.startswith("SHA") and not name.startswith("SHA3")
        yield Hash("SHA-" + name[3:].lstrip("-") if plain else name, checksum.text("checksumValue").lower())


def _licence(text: str | None, texts: Mapping[str, str | None]) -> str | None:
    """A reference to a text that only names a licence is that name."""
    extracted = texts.get(text or "")
    return extracted if extracted and "\n" not in extracted else text


def party_of(text: str | None) -> Party | None:
    """Clause 6.8: `Person: name (e-mail)`."""
    if text is None:
        return None
    name, _, email = text.partition(": ")[2].removesuffix(")").partition(" (")
    return Party(name.replace("[", "(").replace("]", ")"), email or None)


def _links(top: Fields) -> Iterator[tuple[str, str, str, str]]:
    """(path, source, kind, target); `documentDescribes` is an older way to say the first of them."""
    for one in top.objects("relationships"):
        yield one.path, one.text("spdxElementId"), one.text("relationshipType"), one.text("relatedSpdxElement")
    for target in top.texts("documentDescribes"):
        yield "/documentDescribes", "SPDXRef-DOCUMENT", "DESCRIBES", target


def _subject(top: Fields, links: list[tuple[str, str, str, str]], parts: dict[str, Component]) -> Component:
    """What is described; where that is nothing or several, a subject of the document's name that has them all."""
    described = [target for _, _, kind, target in links if kind == "DESCRIBES"]
    described += [source for _, source, kind, _ in links if kind == "DESCRIBED_BY"]
    known = list(dict.fromkeys(id_ for id_ in described if id_ in parts))
    if len(known) == 1:
        return parts[known[0]]
    return Component("SPDXRef-DOCUMENT", Kind.APPLICATION, top.maybe("name") or "unnamed", None, None)


def _relations(
    links: list[tuple[str, str, str, str]], parts: dict[str, Component], subject: Component
) -> Iterator[Relation]:
    for path, source, kind, target in links:
        if kind == "DESCRIBES" and target in parts and parts[target].ref != subject.ref:
            yield Relation(subject.ref, parts[target].ref)
        how, first, second = _SOURCE_NEEDS.get(kind), source, target
        if how is None:
            how, first, second = _TARGET_NEEDS.get(kind), target, source
        if how is None:
            continue
        lost = [id_ for id_ in (first, second) if id_ not in parts]
        if any(id_.startswith("SPDXRef-") for id_ in lost) and not _files(lost):
            raise DocumentError(f"{path}: {lost[0]} is no package of this document")
        if not lost:
            yield Relation(parts[first].ref, parts[second].ref, how)


def _files(ids: list[str]) -> bool:
    """Generators relate packages to their files, which are not read here, and to the document itself."""
    return all("File" in id_ or "DOCUMENT" in id_ for id_ in ids)


def _phase(info: Fields) -> Phase | None:
    comment = info.maybe("comment") or ""
    known = {spdx.PHASE + phase.value: phase for phase in Phase}
    return known.get(comment)


def _creation(info: Fields) -> Creation:
    creators = info.texts("creators")
    tools = [creator.removeprefix("Tool: ") for creator in creators if creator.startswith("Tool:")]
    authors = [party_of(creator) for creator in creators if not creator.startswith("Tool:")]
    name, dash, version = tools[0].rpartition("-") if tools else ("", "", "")
    info.skip("licenseListVersion")
    return Creation(
        moment(info.maybe("created"), "/creationInfo/created"),
        version or None if dash else None,
        tuple(author for author in authors if author and author.name),
        (name if dash else version) or None,
    )
