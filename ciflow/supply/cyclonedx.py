"""CycloneDX as a tree of plain values, versions 1.6 and 1.7: https://cyclonedx.org/docs/1.7/json/.

JSON writes the tree as it is; `cyclonedx_fields.py` says how XML and protocol buffers write the same one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.supply import licenses
from ciflow.supply.canonical import content_uuid, named
from ciflow.supply.model import Bom, Component, Creation, Deployable, Hash, Party, Relation

LATEST = "1.7"
# Properties that BSI TR-03183-2 v2.1 (8.2) has in CycloneDX; the words are its own.
FILENAME, EXECUTABLE = "bsi:component:filename", "bsi:component:executable"
ARCHIVE, STRUCTURED = "bsi:component:archive", "bsi:component:structured"
# 1.6 takes one expression for a component, so what it is handed out under stands beside it.
CONCLUDED = "ciflow:licence:concluded"
# SPDX has one place for where the source came from; CycloneDX has several kinds of links.
DOWNLOAD = "ciflow:download"
_URN = "urn:uuid:"


def emit(bom: Bom, creation: Creation, version: str = LATEST) -> bytes:
    """The document as JSON."""
    return named(_tree(bom, creation, version), "serialNumber", _URN)


def document(bom: Bom, creation: Creation, version: str = LATEST) -> dict[str, Any]:
    """The tree. Its serial number is made of its content, so equal inputs give equal bytes."""
    tree = _tree(bom, creation, version)
    return {**tree, "serialNumber": _URN + content_uuid(tree)}


def _tree(bom: Bom, creation: Creation, version: str) -> dict[str, Any]:
    refs = sorted(component.ref for component in bom.everything())
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "version": 1,
        "metadata": _metadata(bom, creation, version),
        "components": [_component(c, version) for c in sorted(bom.components, key=lambda c: c.ref)],
        "dependencies": _dependencies(refs, bom.relations),
        "compositions": [{"aggregate": bom.completeness.value, "dependencies": refs}],
    }


def _metadata(bom: Bom, creation: Creation, version: str) -> dict[str, Any]:
    tool = {"type": "application", "name": creation.tool, "version": creation.tool_version}
    return _without_empty(
        {
            "timestamp": creation.timestamp(),
            "lifecycles": [{"phase": bom.phase.value}] if bom.phase else [],
            "tools": {"components": [_without_empty(tool)]} if creation.tool else None,
            "authors": [_contact(author) for author in creation.authors],
            "component": _component(bom.subject, version),
            "manufacturer": _organisation(creation.authors[0]) if creation.authors else None,
            "supplier": _organisation(creation.supplier or bom.subject.supplier),
            "licenses": [{"license": {"id": "CC0-1.0"}}],
        }
    )


def _component(component: Component, version: str) -> dict[str, Any]:
    return _without_empty(
        {
            "type": component.kind.value,
            "bom-ref": component.ref,
            "group": component.group,
            "name": component.name,
            "version": component.version,
            "description": component.description,
            "scope": component.scope.value,
            "hashes": _hashes(component.hashes),
            "licenses": _licences(component, version),
            "copyright": component.copyright,
            "cpe": component.cpe,
            "purl": component.purl,
            "supplier": _organisation(component.supplier),
            "manufacturer": _organisation(component.manufacturer),
            "authors": [_contact(author) for author in component.authors],
            "externalReferences": [_reference(r.kind.value, r.url, r.hashes) for r in component.references],
            "properties": [{"name": name, "value": value} for name, value in _properties(component, version)],
        }
    )


def _reference(kind: str, url: str, hashes: Iterable[Hash]) -> dict[str, Any]:
    return _without_empty({"type": kind, "url": url, "hashes": _hashes(hashes)})


def _hashes(hashes: Iterable[Hash]) -> list[dict[str, str]]:
    return [{"alg": h.algorithm, "content": h.value} for h in sorted(hashes)]


def _licences(component: Component, version: str) -> list[dict[str, Any]]:
    """An expression where it is one, else the words of its maker. 1.7 keeps apart what is declared and concluded."""
    chosen = []
    if component.licence is not None:
        chosen.append(_licence(component.licence, "declared"))
    if component.concluded is not None and (version != "1.6" or not chosen):
        chosen.append(_licence(component.concluded, "concluded"))
    return chosen


def _licence(text: str, acknowledgement: str) -> dict[str, Any]:
    expression = licenses.normalise(text)
    if expression is None:
        return {"license": {"name": text, "acknowledgement": acknowledgement}}
    return {"expression": expression, "acknowledgement": acknowledgement}


def _properties(component: Component, version: str) -> Iterable[tuple[str, str]]:
    yield from component.properties
    if version == "1.6" and component.licence is not None and component.concluded is not None:
        yield CONCLUDED, component.concluded
    if component.download:
        yield DOWNLOAD, component.download
    if component.file:
        yield from file_properties(component.file)


def file_properties(file: Deployable) -> Iterable[tuple[str, str]]:
    yield ARCHIVE, "archive" if file.archive else "no archive"
    yield EXECUTABLE, "executable" if file.executable else "non-executable"
    yield FILENAME, file.filename
    yield STRUCTURED, "structured" if file.structured else "unstructured"


def _contact(party: Party) -> dict[str, Any]:
    return _without_empty({"name": party.name, "email": party.email})


def _organisation(party: Party | None) -> dict[str, Any] | None:
    if party is None:
        return None
    contact = [{"email": party.email}] if party.email else []
    return _without_empty({"name": party.name, "url": [party.url] if party.url else [], "contact": contact})


def _dependencies(refs: Iterable[str], relations: Iterable[Relation]) -> list[dict[str, Any]]:
    """One entry for each component, those without dependencies too: they are known to have none."""
    targets: defaultdict[str, set[str]] = defaultdict(set)
    for relation in relations:
        targets[relation.source].add(relation.target)
    return [_without_empty({"ref": ref, "dependsOn": sorted(targets[ref])}) for ref in refs]


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Texts, lists and dictionaries that say something; no numbers are among them."""
    return {key: value for key, value in fields.items() if value}
