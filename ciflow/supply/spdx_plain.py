"""SPDX trees as XML and YAML, which write the tree of JSON field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.supply.bounded import Element, read_xml, text_of
from ciflow.supply.errors import DocumentError
from ciflow.supply.xmlwriter import XmlWriter

# Fields that are lists, however many elements there are.
_LISTS = {
    "annotations", "checksums", "creators", "documentDescribes", "externalDocumentRefs", "externalRefs", "files",
    "hasExtractedLicensingInfos", "hasFiles", "licenseInfoFromFiles", "packages", "relationships", "seeAlsos",
    "snippets", "attributionTexts", "crossRefs",
}  # fmt: skip


def to_xml(tree: Mapping[str, Any]) -> bytes:
    """The document; elements of a list stand one after the other under its name."""
    writer = XmlWriter()
    _element(writer, "Document", tree)
    return writer.content()


def _element(writer: XmlWriter, name: str, value: Any) -> None:
    if isinstance(value, list):
        for one in value:
            _element(writer, name, one)
    elif isinstance(value, dict):
        writer.start(name)
        for key, inner in value.items():
            _element(writer, key, inner)
        writer.end()
    else:
        writer.leaf(name, str(value).lower() if isinstance(value, bool) else str(value))


def from_xml(content: bytes) -> dict[str, Any]:
    """The tree of a document.

    Raises:
        DocumentError: no XML, or not of SPDX; with the line.
    """
    root = read_xml(content)
    if root.local != "Document":
        raise DocumentError(f"line {root.line}: <{root.local}> is not an SPDX document")
    return _object(root)


def _object(element: Element) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for child in element.children:
        value = _object(child) if child.children else child.text
        if child.local in _LISTS:
            values.setdefault(child.local, []).append(value)
        elif child.local in values:
            raise DocumentError(f"line {child.line}: <{child.local}> stands twice")
        else:
            values[child.local] = value == "true" if child.local == "filesAnalyzed" else value
    return values


def to_yaml(tree: Mapping[str, Any]) -> bytes:
    """The document; texts are quoted as in JSON, which YAML 1.2 reads alike."""
    return ("\n".join(_lines(tree, "")) + "\n").encode()


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            first, *rest = _lines(one, indent + "  ")
            yield indent + "- " + first[len(indent) + 2 :]
            yield from rest
    elif isinstance(value, dict):
        for key in sorted(value):
            inner = value[key]
            if isinstance(inner, (list, dict)):
                yield f"{indent}{key}:"
                yield from _lines(inner, indent + "  ")
            else:
                yield f"{indent}{key}: {json.dumps(inner, ensure_ascii=True)}"
    else:
        yield indent + json.dumps(value, ensure_ascii=True)


def from_yaml(content: bytes) -> Any:
    """The tree of a document. Tags of YAML, depth and aliases that would grow are refused.

    Raises:
        DocumentError: with the line.
    """
    from ciflow.lang.yamltext import load_data

    try:
        values = load_data(text_of(content))
    except ValueError as e:
        raise DocumentError(str(e)) from e
    if len(values) != 1:
        raise DocumentError(f"line 1: {len(values)} YAML documents; one is needed")
    return values[0]
