"""All formats by name: how a bill of materials is written in each, and read back.

A name may say the version behind an `@` (`cyclonedx-json@1.6`); without it, it is the newest.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ciflow.dataclass import dataclass
from ciflow.supply.errors import DocumentError, UnsupportedError
from ciflow.supply.fields import Reading
from ciflow.supply.model import Bom, Creation


@dataclass(frozen=True)
class Format:
    """`suffix` is what files of it are called, behind the first dot."""

    suffix: str
    emit: Callable[[Bom, Creation, str], bytes]
    read: Callable[[bytes], Reading]
    versions: tuple[str, ...]


def _cyclonedx_json(bom: Bom, creation: Creation, version: str) -> bytes:
    from ciflow.supply.cyclonedx import emit

    return emit(bom, creation, version)


def _cyclonedx_xml(bom: Bom, creation: Creation, version: str) -> bytes:
    from ciflow.supply import cyclonedx, cyclonedx_xml

    return cyclonedx_xml.encode(cyclonedx.document(bom, creation, version))


def _cyclonedx_proto(bom: Bom, creation: Creation, version: str) -> bytes:
    from ciflow.supply import cyclonedx, cyclonedx_proto

    return cyclonedx_proto.encode(cyclonedx.document(bom, creation, version))


def _read_cyclonedx_json(content: bytes) -> Reading:
    from ciflow.supply import bounded, cyclonedx_read

    return cyclonedx_read.read(bounded.read_json(content))


def _read_cyclonedx_xml(content: bytes) -> Reading:
    from ciflow.supply import cyclonedx_read, cyclonedx_xml

    return cyclonedx_read.read(cyclonedx_xml.decode(content))


def _read_cyclonedx_proto(content: bytes) -> Reading:
    from ciflow.supply import cyclonedx_proto, cyclonedx_read

    return cyclonedx_read.read(cyclonedx_proto.decode(content))


def _spdx_json(bom: Bom, creation: Creation, _version: str) -> bytes:
    from ciflow.supply.spdx import emit

    return emit(bom, creation)


def _spdx_tag(bom: Bom, creation: Creation, _version: str) -> bytes:
    from ciflow.supply import spdx, spdx_tag

    return spdx_tag.encode(spdx.document(bom, creation))


def _spdx_xml(bom: Bom, creation: Creation, _version: str) -> bytes:
    from ciflow.supply import spdx, spdx_plain

    return spdx_plain.to_xml(spdx.document(bom, creation))


def _spdx_yaml(bom: Bom, creation: Creation, _version: str) -> bytes:
    from ciflow.supply import spdx, spdx_plain

    return spdx_plain.to_yaml(spdx.document(bom, creation))


def _spdx_rdf(bom: Bom, creation: Creation, _version: str) -> bytes:
    from ciflow.supply import spdx, spdx_rdf

    return spdx_rdf.encode(spdx.document(bom, creation))


def _read_spdx_rdf(content: bytes) -> Reading:
    from ciflow.supply import spdx_rdf, spdx_read

    return spdx_read.read(spdx_rdf.decode(content))


def _spdx3(bom: Bom, creation: Creation, _version: str) -> bytes:
    from ciflow.supply.spdx3 import emit

    return emit(bom, creation)


def _read_spdx3(content: bytes) -> Reading:
    from ciflow.supply import bounded, spdx3_read

    return spdx3_read.read(bounded.read_json(content))


def _read_spdx_json(content: bytes) -> Reading:
    from ciflow.supply import bounded, spdx_read

    return spdx_read.read(bounded.read_json(content))


def _read_spdx_tag(content: bytes) -> Reading:
    from ciflow.supply import spdx_read, spdx_tag

    return spdx_read.read(spdx_tag.decode(content))


def _read_spdx_xml(content: bytes) -> Reading:
    from ciflow.supply import spdx_plain, spdx_read

    return spdx_read.read(spdx_plain.from_xml(content))


def _read_spdx_yaml(content: bytes) -> Reading:
    from ciflow.supply import spdx_plain, spdx_read

    return spdx_read.read(spdx_plain.from_yaml(content))


_CYCLONEDX = ("1.7", "1.6")
FORMATS: dict[str, Format] = {
    "cyclonedx-json": Format("cdx.json", _cyclonedx_json, _read_cyclonedx_json, _CYCLONEDX),
    "cyclonedx-xml": Format("cdx.xml", _cyclonedx_xml, _read_cyclonedx_xml, _CYCLONEDX),
    "cyclonedx-proto": Format("cdx.bin", _cyclonedx_proto, _read_cyclonedx_proto, _CYCLONEDX),
    "spdx-json": Format("spdx.json", _spdx_json, _read_spdx_json, ("2.3",)),
    "spdx-tag": Format("spdx", _spdx_tag, _read_spdx_tag, ("2.3",)),
    "spdx-xml": Format("spdx.xml", _spdx_xml, _read_spdx_xml, ("2.3",)),
    "spdx-yaml": Format("spdx.yaml", _spdx_yaml, _read_spdx_yaml, ("2.3",)),
    "spdx-rdf": Format("spdx.rdf", _spdx_rdf, _read_spdx_rdf, ("2.3",)),
    "spdx3-json": Format("spdx3.json", _spdx3, _read_spdx3, ("3.0.1",)),
}


def chosen(name: str) -> tuple[Format, str]:
    """The format and version of a name such as `cyclonedx-json@1.6`.

    Raises:
        UnsupportedError: no such format or version; says which there are.
    """
    known, _, version = name.partition("@")
    form = FORMATS.get(known)
    if form is None:
        raise UnsupportedError(f"{known!r} is no format; there are {', '.join(FORMATS)}")
    if version and version not in form.versions:
        raise UnsupportedError(f"{known} is not written in version {version}; in {', '.join(form.versions)} it is")
    return form, version or form.versions[0]


def emit(bom: Bom, creation: Creation, name: str) -> bytes:
    """The document in a format by name; equal inputs give equal bytes."""
    form, version = chosen(name)
    return form.emit(bom, creation, version)


def read(content: bytes) -> tuple[str, Reading]:
    """The name of a document's format, and what it says.

    Raises:
        DocumentError: it is of no known format, or damaged; with the place.
    """
    name = detected(content)
    return name, FORMATS[name].read(content)


def detected(content: bytes) -> str:
    """The format by what stands at the beginning.

    Raises:
        DocumentError: none of those that are read.
    """
    head = content[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise DocumentError("byte 1: the document is empty")
    if head.startswith(b"{"):
        return _json(content)
    if head.startswith(b"<"):
        return _xml(head)
    if head.startswith(b"SPDXVersion:"):
        return "spdx-tag"
    if re.search(rb"^spdxVersion\s*:", content, re.MULTILINE):
        return "spdx-yaml"
    if content[0] == 0x0A and content[2:4] in (b"1.", b"2."):
        return "cyclonedx-proto"
    raise DocumentError("byte 1: neither CycloneDX nor SPDX begins so")


def _json(content: bytes) -> str:
    marks = {b'"bomFormat"': "cyclonedx-json", b'"spdxVersion"': "spdx-json", b"spdx.org/rdf/3.": "spdx3-json"}
    for mark, name in marks.items():
        if mark in content:
            return name
    raise DocumentError("line 1: JSON, but neither bomFormat nor spdxVersion nor an SPDX context is in it")


def _xml(head: bytes) -> str:
    marks = {b"cyclonedx.org/schema/bom": "cyclonedx-xml", b"spdx.org/rdf/terms": "spdx-rdf", b"<Document": "spdx-xml"}
    for mark, name in marks.items():
        if mark in head:
            return name
    raise DocumentError("line 1: XML, but neither of CycloneDX nor of SPDX")
