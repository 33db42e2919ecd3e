"""CycloneDX trees as XML: https://cyclonedx.org/docs/1.7/xml/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.supply.bounded import Element, read_xml
from ciflow.supply.cyclonedx_fields import MESSAGES, NUMBER, REF, Field, Words
from ciflow.supply.errors import DocumentError
from ciflow.supply.xmlwriter import XmlWriter

_NAMESPACE = "http://cyclonedx.org/schema/bom/"
_LONGEST_NUMBER = 18  # digits, which protocol buffers have room for, too


def encode(tree: Mapping[str, Any]) -> bytes:
    """The document of a tree."""
    writer = XmlWriter()
    _write(writer, "bom", "bom", tree, {"xmlns": _NAMESPACE + tree["specVersion"]})
    return writer.content()


def _write(
    writer: XmlWriter, name: str, message: str, values: Mapping[str, Any], around: Mapping[str, str] | None = None
) -> None:
    """One element of a message, with its attributes, text and children."""
    fields = [field for field in MESSAGES[message] if field.key in values and field.xml]
    attributes = {**(around or {}), **{f.xml[1:]: str(values[f.key]) for f in fields if f.xml.startswith("@")}}
    text = next((str(values[f.key]) for f in fields if f.xml == "."), None)
    children = [f for f in fields if f.xml != "." and not f.xml.startswith("@")]
    if not children:
        writer.leaf(name, text, attributes)
        return
    writer.start(name, attributes)
    for field in children:
        _child(writer, field, values[field.key])
    writer.end()


def _child(writer: XmlWriter, field: Field, value: Any) -> None:
    outer, slash, inner = field.xml.rpartition("/")
    if slash:
        writer.start(outer)
    for one in value if field.many else (value,):
        if field.type == "choice":
            _choice(writer, one)
        else:
            _one(writer, inner, field, one)
    if slash:
        writer.end()


def _choice(writer: XmlWriter, choice: Mapping[str, Any]) -> None:
    """A licence is an element of its own, an expression the other one."""
    if "license" in choice:
        _write(writer, "license", "license", choice["license"])
    else:
        _write(writer, "expression", "choice", choice)


def _one(writer: XmlWriter, name: str, field: Field, value: Any) -> None:
    element, at, attribute = name.partition("@")
    if at:
        writer.leaf(element, None, {attribute: value})
    elif isinstance(field.type, str) and field.type in MESSAGES:
        _write(writer, element, field.type, value)
    else:
        writer.leaf(element, str(value))


def decode(content: bytes) -> dict[str, Any]:
    """The tree of a document. Elements that have no place in the table keep their names, so that they are told.

    Raises:
        DocumentError: no XML, or no CycloneDX; with the line.
    """
    root = read_xml(content)
    if root.local != "bom" or not root.namespace.startswith(_NAMESPACE):
        raise DocumentError(f"line {root.line}: <{root.local}> of {root.namespace or 'no namespace'} is not CycloneDX")
    return {"specVersion": root.namespace.removeprefix(_NAMESPACE), **_read(root, "bom")}


def _read(element: Element, message: str) -> dict[str, Any]:
    fields = {_called(field): field for field in MESSAGES[message]}
    values: dict[str, Any] = {}
    for name, text in element.attributes.items():
        field = fields.get(f"@{name}")
        values[field.key if field else name] = _typed(field, text, element)
    if own := fields.get("."):
        values[own.key] = element.text
    for child in element.children:
        _take(values, fields.get(child.local), child)
    return values


def _called(field: Field) -> str:
    """The name of the element that stands for a field: the outer one of two."""
    return field.xml.split("/")[0].split("@")[0] if not field.xml.startswith("@") else field.xml


def _take(values: dict[str, Any], field: Field | None, child: Element) -> None:
    if field is None:
        values[child.local] = child.text
    elif not field.many:
        if field.key in values:
            raise DocumentError(f"line {child.line}: <{child.local}> stands twice")
        values[field.key] = _value(field, child)
    elif "/" in field.xml:
        values.setdefault(field.key, []).extend(_item(field, inner) for inner in child.children)
    else:
        values.setdefault(field.key, []).append(_value(field, child))


def _item(field: Field, element: Element) -> Any:
    if field.type != "choice":
        return _value(field, element)
    if element.local == "license":
        return {"license": _read(element, "license")}
    return {**element.attributes, "expression": element.text.strip()}


def _value(field: Field, element: Element) -> Any:
    if "@" in field.xml:
        return element.attributes.get("ref", "")
    if isinstance(field.type, str) and field.type in MESSAGES:
        return _read(element, field.type)
    return _typed(field, element.text, element)


def _typed(field: Field | None, text: str, element: Element) -> Any:
    if field is None or isinstance(field.type, Words) or field.type == REF:
        return text.strip()
    if field.type != NUMBER:
        return text
    if not text.strip().isdecimal() or len(text) > _LONGEST_NUMBER:
        raise DocumentError(f"line {element.line}: {text!r} is no number")
    return int(text)
