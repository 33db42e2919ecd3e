"""CycloneDX 1.6 as JSON: https://cyclonedx.org/docs/1.6/json/."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.supply import licenses
from ciflow.supply.canonical import content_uuid, to_bytes
from ciflow.supply.model import Bom, Component, Creation, Party, Relation


def emit(bom: Bom, creation: Creation) -> bytes:
    """The document. Its serial number is made of its content, so equal inputs give equal bytes."""
    document = _document(bom, creation)
    return to_bytes({**document, "serialNumber": content_uuid(document).urn})


def _document(bom: Bom, creation: Creation) -> dict[str, Any]:
    refs = sorted(component.ref for component in bom.everything())
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": _metadata(bom.subject, creation),
        "components": [_component(c) for c in sorted(bom.components, key=lambda c: c.ref)],
        "dependencies": _dependencies(refs, bom.relations),
        "compositions": [{"aggregate": "complete", "dependencies": refs}],
    }


def _metadata(subject: Component, creation: Creation) -> dict[str, Any]:
    tool = {"type": "application", "name": creation.tool, "version": creation.tool_version}
    return _without_empty(
        {
            "timestamp": creation.timestamp(),
            "lifecycles": [{"phase": "pre-build"}],
            "tools": {"components": [tool]},
            "authors": [_contact(author) for author in creation.authors],
            "component": _component(subject),
            "supplier": _organisation(subject.supplier),
            "licenses": [{"license": {"id": "CC0-1.0"}}],
        }
    )


def _component(component: Component) -> dict[str, Any]:
    return _without_empty(
        {
            "type": component.kind.value,
            "bom-ref": component.ref,
            "name": component.name,
            "version": component.version,
            "description": component.description,
            "scope": component.scope.value,
            "hashes": [{"alg": h.algorithm, "content": h.value} for h in sorted(component.hashes)],
            "licenses": _licences(component.licence),
            "purl": component.purl,
            "supplier": _organisation(component.supplier),
            "authors": [_contact(author) for author in component.authors],
            "externalReferences": [{"type": r.kind.value, "url": r.url} for r in component.references],
            "properties": [{"name": name, "value": value} for name, value in component.properties],
        }
    )


def _licences(text: str | None) -> list[dict[str, Any]]:
    """An expression where it is one, else the words of its maker."""
    if text is None:
        return []
    expression = licenses.normalise(text)
    if expression is None:
        return [{"license": {"name": text, "acknowledgement": "declared"}}]
    return [{"expression": expression, "acknowledgement": "declared"}]


def _contact(party: Party) -> dict[str, Any]:
    return _without_empty({"name": party.name, "email": party.email})


def _organisation(party: Party | None) -> dict[str, Any] | None:
    return {"name": party.name} if party else None


def _dependencies(refs: Iterable[str], relations: Iterable[Relation]) -> list[dict[str, Any]]:
    """One entry for each component, those without dependencies too: they are known to have none."""
    targets: defaultdict[str, set[str]] = defaultdict(set)
    for relation in relations:
        targets[relation.source].add(relation.target)
    return [_without_empty({"ref": ref, "dependsOn": sorted(targets[ref])}) for ref in refs]


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value not in (None, [], {})}
