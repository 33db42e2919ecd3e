"""Documents that are damaged or made to hurt: refused, with a place, in bounded time and memory."""

from __future__ import annotations

import json
import random
import tracemalloc

import pytest

from ciflow.supply import bounded, formats
from ciflow.supply.errors import SupplyError
from tests.supply.bills import CREATION, full


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_document_that_was_cut_anywhere_is_refused_or_whole(name: str) -> None:
    """Nothing but SupplyError comes out; what is taken is a document that is complete in itself."""
    content = formats.emit(full(), CREATION, name)
    for end in range(0, len(content) - 2, max(1, len(content) // 60)):
        try:
            formats.read(content[:end])
        except SupplyError as error:
            assert str(error)


@pytest.mark.parametrize("name", formats.FORMATS)
def test_bytes_that_were_turned_over_raise_nothing_but_our_own_errors(name: str) -> None:
    content = formats.emit(full(), CREATION, name)
    chance = random.Random(7)
    for _ in range(80):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        try:
            formats.read(bytes(changed))
        except SupplyError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "byte 1: the document is empty"),
        (b"\x7fELF", "byte 1: neither CycloneDX nor SPDX begins so"),
        (b'{"bomFormat": "CycloneDX",\n  "specVersion": }', "line 2, column 18: Expecting value"),
        (b'{"bomFormat": "CycloneDX", "bomFormat": "CycloneDX"}', "'bomFormat' stands twice"),
        (b'{"bomFormat": "CycloneDX", "version": NaN}', "NaN is no number of JSON"),
        (b'{"bomFormat": "CycloneDX", "x": "\xff"}', "byte 34 is not UTF-8"),
        (b'{"name": "else"}', "line 1: JSON, but neither"),
        (b"<html></html>", "line 1: XML, but neither"),
        (b'<bom xmlns="http://cyclonedx.org/schema/bom/1.6">\n<components>', "line 2, column 13: no element found"),
        (b"SPDXVersion: SPDX-2.3\nno tag here", "line 2: `Tag: value` is needed here"),
        (b"SPDXVersion: SPDX-2.3\nPackageDescription: <text>never closed", "line 2: <text> is not closed"),
        (b"\x0a\x031.6\xff", "byte 5: it ends in the middle of a number"),
        (b"\x0a\x031.6\x2a\xff\xff\xff\xff\x0f", "bytes are said to follow"),
    ],
)
def test_damage_is_told_by_its_place(content: bytes, place: str) -> None:
    with pytest.raises(SupplyError) as told:
        formats.read(content)
    assert place in str(told.value)


def test_deep_json_is_refused_at_its_line() -> None:
    content = b'{"bomFormat": "CycloneDX",\n"x": ' + b"[" * 200_000
    with pytest.raises(SupplyError, match="line 2: it is nested deeper than 100 levels"):
        formats.read(content)


def test_brackets_inside_texts_are_no_depth() -> None:
    content = formats.emit(full(), CREATION, "cyclonedx-json").replace(b"The crate alpha", b"[" * 5000)
    assert formats.read(content)[1].bom.components[0].description


def test_deep_xml_is_refused_at_its_line() -> None:
    content = b'<bom xmlns="http://cyclonedx.org/schema/bom/1.6">' + b"\n<a>" * 200
    with pytest.raises(SupplyError, match="line 101: it is nested deeper than 100 levels"):
        formats.read(content)


def test_entities_are_never_expanded() -> None:
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    content = f'<?xml version="1.0"?>\n<!DOCTYPE bom [<!ENTITY e0 "ha">{bomb}]>\n'
    content += '<bom xmlns="http://cyclonedx.org/schema/bom/1.6">&e11;</bom>'
    with pytest.raises(SupplyError, match="line 2: it declares a document type"):
        formats.read(content.encode())


def test_a_file_elsewhere_is_never_read_through_an_entity() -> None:
    content = b'<!DOCTYPE Document [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document>&x;</Document>'
    with pytest.raises(SupplyError, match="it declares a document type"):
        formats.read(content)


def test_aliases_of_yaml_that_grow_are_refused() -> None:
    lines = ['spdxVersion: "SPDX-2.3"', "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(SupplyError, match="aliases expand"):
        formats.read("\n".join(lines).encode())


def test_a_document_that_is_too_large_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST_BYTES", 1000)
    for name in formats.FORMATS:
        with pytest.raises(SupplyError, match="more than 1000 are not read"):
            formats.read(formats.emit(full(), CREATION, name))


def test_protocol_buffers_that_nest_for_ever_are_refused() -> None:
    """A component (field 21) in a component, a hundred and more times."""
    inner = b"\x08\x03\x42\x01a"
    for _ in range(150):
        inner = b"\xaa\x01" + _varint(len(inner)) + inner
    content = b"\x0a\x031.6" + b"\x2a" + _varint(len(inner)) + inner
    with pytest.raises(SupplyError, match="nested deeper than 100 levels"):
        formats.read(content)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_dependencies_in_a_circle_are_read_and_written() -> None:
    """Cargo's dev-dependencies make them; nothing may run round for ever."""
    document = json.loads(formats.emit(full(), CREATION, "cyclonedx-json"))
    alpha = next(d for d in document["dependencies"] if "alpha" in d["ref"])
    alpha["dependsOn"] = ["pkg:cargo/server@2.0.0"]
    bom = formats.read(json.dumps(document).encode())[1].bom
    for name in formats.FORMATS:
        assert set(formats.read(formats.emit(bom, CREATION, name))[1].bom.relations) == set(bom.relations)


def test_a_large_document_takes_memory_in_proportion() -> None:
    """8,000 components, 2 MB: a tree of Python's takes some tens of bytes a byte, not hundreds."""
    parts = [{"type": "library", "name": f"c{n}", "version": "1.0.0", "purl": f"pkg:cargo/c{n}@1.0.0",
              "bom-ref": f"c{n}", "description": "x" * 100} for n in range(8_000)]  # fmt: skip
    content = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": parts}).encode()
    tracemalloc.start()
    try:
        assert len(formats.read(content)[1].bom.components) == 8_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * len(content)
