"""A CycloneDX tree (1.4 to 1.7, from any generator) as a bill of materials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ciflow.supply import cyclonedx as cdx
from ciflow.supply.errors import DocumentError
from ciflow.supply.fields import Fields, Reading, one_of, refless
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

VERSIONS = ("1.4", "1.5", "1.6", "1.7")


def read(tree: Any) -> Reading:
    """What a tree says, and what of it there is no room for here.

    Raises:
        DocumentError: saying at which path something is not as the format has it.
    """
    top = Fields.of(tree, "")
    version = top.text("specVersion")
    if version not in VERSIONS:
        raise DocumentError(f"specVersion: CycloneDX {version} is not read; {', '.join(VERSIONS)} are")
    metadata = top.object("metadata")
    refs: dict[str, str] = {}
    subject = _subject(metadata, refs)
    components = list(_components(top, refs, subject))
    edges = list(_edges(top, {component.ref: component for component in (subject, *components)}))
    bom = Bom(subject, tuple(components), tuple(edges), _completeness(top), _phase(metadata))
    creation = _creation(metadata)
    signed, vulnerable = top.raw("signature") is not None, bool(top.raw("vulnerabilities"))
    identified = re.match(r"urn:uuid:[0-9a-fA-F-]{36}\Z", top.maybe("serialNumber") or "") is not None
    top.skip("$schema", "bomFormat", "version")
    return Reading(bom, creation, top.unread(), version, identified, signed, vulnerable)


def _subject(metadata: Fields, refs: dict[str, str]) -> Component:
    given = metadata.object("component", needed=False)
    if given is None:
        return Component("subject", Kind.APPLICATION, "unnamed", None, None)
    return _component(given, refs, ())


def _components(top: Fields, refs: dict[str, str], subject: Component) -> Iterator[Component]:
    """Nested components stand beside the one they are in; CycloneDX says that nesting is no dependency."""
    waiting = list(reversed(top.objects("components")))
    while waiting:
        given = waiting.pop()
        inside = given.objects("components")
        component = _component(given, refs, (subject.ref,))
        yield component
        waiting += reversed(inside)


def _component(given: Fields, refs: dict[str, str], taken: Iterable[str]) -> Component:
    purl, name = given.maybe("purl"), given.text("name")
    version = given.maybe("version")
    ref = given.maybe("bom-ref") or refless(purl, name, version, {*refs, *taken})
    if ref in refs:
        raise DocumentError(f"{given.path}/bom-ref: two components have the ref {ref}")
    refs[ref] = given.path
    properties = [(p.text("name"), p.maybe("value") or "") for p in given.objects("properties")]
    declared, concluded = _licences(given)
    own = dict(properties)
    return Component(
        ref=ref,
        kind=one_of(Kind, given.text("type"), given.path + "/type"),
        name=name,
        version=version,
        purl=purl,
        scope=one_of(Scope, given.maybe("scope") or "required", given.path + "/scope"),
        hashes=_hashes(given),
        licence=declared,
        concluded=concluded or own.get(cdx.CONCLUDED),
        copyright=given.maybe("copyright"),
        description=given.maybe("description"),
        supplier=_organisation(given.object("supplier", needed=False)),
        manufacturer=_organisation(given.object("manufacturer", needed=False)),
        authors=tuple(_authors(given)),
        references=tuple(_references(given)),
        download=own.get(cdx.DOWNLOAD),
        cpe=given.maybe("cpe"),
        file=file_of(own),
        properties=tuple((key, value) for key, value in properties if not key.startswith(OURS)),
        group=given.maybe("group"),
    )


OURS = ("bsi:component:", cdx.CONCLUDED, cdx.DOWNLOAD)


def _authors(given: Fields) -> Iterator[Party]:
    """`authors` since 1.6; before it, one text."""
    for author in given.objects("authors"):
        author.skip("bom-ref", "phone")
        yield Party(author.maybe("name") or "", author.maybe("email"))
    if text := given.maybe("author"):
        yield Party(text)


def _licences(given: Fields) -> tuple[str | None, str | None]:
    """(declared, concluded) as expressions; several that were declared all hold."""
    said: dict[str, list[str]] = {"declared": [], "concluded": []}
    for choice in given.objects("licenses"):
        inner = choice.object("license", needed=False)
        how = (inner or choice).maybe("acknowledgement") or "declared"
        text = choice.maybe("expression") if inner is None else inner.maybe("id") or inner.maybe("name")
        choice.skip("bom-ref")
        if inner is not None:
            inner.skip("url", "text", "bom-ref")
        if text:
            said.setdefault(how, []).append(text)
    return _joined(said["declared"]), _joined(said["concluded"])


def _joined(texts: list[str]) -> str | None:
    unique = list(dict.fromkeys(texts))
    if len(unique) < 2:
        return unique[0] if unique else None
    return " AND ".join(f"({text})" if " OR " in text else text for text in unique)


def _hashes(given: Fields) -> tuple[Hash, ...]:
    return tuple(sorted(Hash(h.text("alg"), h.text("content").lower()) for h in given.objects("hashes")))


def _organisation(given: Fields | None) -> Party | None:
    if given is None:
        return None
    urls = given.texts("url")
    contacts = [(c.maybe("name"), c.maybe("email")) for c in given.objects("contact")]
    email = next((email for _, email in contacts if email), None)
    name = given.maybe("name") or next((name for name, _ in contacts if name), "")
    given.skip("bom-ref", "address")
    return Party(name, email, urls[0] if urls else None)


def _references(given: Fields) -> Iterator[Reference]:
    known = {kind.value: kind for kind in ReferenceKind}
    for link in given.objects("externalReferences"):
        kind = known.get(link.text("type"), ReferenceKind.OTHER)
        yield Reference(kind, link.text("url"), _hashes(link))


def file_of(properties: Mapping[str, str]) -> Deployable | None:
    """What BSI's properties say of the file that a component is handed out as."""
    if cdx.FILENAME not in properties:
        return None
    return Deployable(
        properties[cdx.FILENAME],
        properties.get(cdx.EXECUTABLE) == "executable",
        properties.get(cdx.ARCHIVE) == "archive",
        properties.get(cdx.STRUCTURED) == "structured",
    )


def _edges(top: Fields, known: Mapping[str, Component]) -> Iterator[Relation]:
    seen: set[str] = set()
    for entry in top.objects("dependencies"):
        ref = entry.text("ref")
        if ref in seen:
            raise DocumentError(f"{entry.path}/ref: the dependencies of {ref} are said twice")
        seen.add(ref)
        for target in sorted(set(entry.texts("dependsOn"))):
            for name in (ref, target):
                if name not in known:
                    raise DocumentError(f"{entry.path}: {name} is no component of this document")
            yield Relation(ref, target, _how(known[ref], known[target]))


def _how(source: Component, target: Component) -> Dependency:
    """The format has no word for it; what is excluded under something delivered is needed to build that.

    A procedural macro is a dependency like others in Cargo's eyes, though it runs in the compiler.
    """
    outside = target.scope is Scope.EXCLUDED and source.scope is not Scope.EXCLUDED
    macro = ("cargo:proc-macro", "true") in target.properties
    return Dependency.BUILD if outside and not macro else Dependency.NORMAL


def _completeness(top: Fields) -> Completeness:
    """Complete when all that is said of completeness says so; nothing said is unknown."""
    said = {entry.text("aggregate") for entry in top.objects("compositions")}
    for entry in top.objects("compositions"):
        entry.skip("assemblies", "dependencies", "bom-ref")
    if said == {"complete"}:
        return Completeness.COMPLETE
    return Completeness.INCOMPLETE if any(word.startswith("incomplete") for word in said) else Completeness.UNKNOWN


def _phase(metadata: Fields | None) -> Phase | None:
    known = {phase.value: phase for phase in Phase}
    phases = [entry.maybe("phase") for entry in metadata.objects("lifecycles")] if metadata else []
    return next((known[phase] for phase in phases if phase in known), None)


def _creation(metadata: Fields) -> Creation:
    tool = _tool(metadata)
    authors = [Party(a.maybe("name") or "", a.maybe("email")) for a in metadata.objects("authors")]
    maker = _organisation(metadata.object("manufacturer", needed=False))
    if not authors and maker is not None:
        authors = [maker]
    metadata.skip("licenses", "manufacture")
    supplier = _organisation(metadata.object("supplier", needed=False))
    epoch = moment(metadata.maybe("timestamp"), "/metadata/timestamp")
    return Creation(epoch, tool[1], tuple(authors), tool[0], supplier)


def _tool(metadata: Fields) -> tuple[str | None, str | None]:
    """Since 1.5 tools are components; before it, a list of their own kind."""
    if isinstance(metadata.raw("tools"), list):
        tools = metadata.objects("tools")
    else:
        given = metadata.object("tools", needed=False)
        tools = given.objects("components") if given else []
    for tool in tools:
        tool.all_read()
    return (tools[0].maybe("name"), tools[0].maybe("version")) if tools else (None, None)


def moment(text: str | None, path: str) -> int | None:
    """Unix seconds of an RFC 3339 time; a time without a zone is taken for UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))
    except ValueError as e:
        raise DocumentError(f"{path}: {text!r} is no time") from e
    if found.tzinfo is None:
        found = datetime.fromisoformat(f"{found.isoformat()}+00:00")
    return int(found.timestamp())
