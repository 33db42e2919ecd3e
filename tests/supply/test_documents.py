"""CycloneDX and SPDX documents, read back by the libraries of the two projects."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ciflow.supply import cyclonedx, licenses, spdx
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom, Component, Creation, Kind, Relation, Scope
from tests.supply.workspace import checksum


@pytest.fixture(scope="module")
def cdx(bom: Bom, creation: Creation) -> dict[str, Any]:
    return json.loads(cyclonedx.emit(bom, creation))


@pytest.fixture(scope="module")
def spdx_file(bom: Bom, creation: Creation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spdx") / "bom.spdx.json"
    path.write_bytes(spdx.emit(bom, creation))
    return path


def by_ref(document: dict[str, Any], ref: str) -> dict[str, Any]:
    return next(c for c in document["components"] if c["bom-ref"] == ref)


# CycloneDX


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_cyclonedx_passes_the_strict_schema(bom: Bom, creation: Creation, version: str) -> None:
    assert schema_fault(cyclonedx.emit(bom, creation, version), version) is None


def schema_fault(content: bytes, version: str) -> object:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    known = schema.SchemaVersion[f"V{version.replace('.', '_')}"]
    return validation.JsonStrictValidator(known).validate_str(content.decode())


def test_cyclonedx_means_the_same_to_its_own_library(bom: Bom, cdx: dict[str, Any]) -> None:
    model = pytest.importorskip("cyclonedx.model.bom")
    read = model.Bom.from_json(cdx)
    assert {str(c.purl) for c in read.components} == {c.purl for c in bom.components}
    graph = {(str(d.ref.value), str(t.ref.value)) for d in read.dependencies for t in d.dependencies}
    assert graph == {(r.source, r.target) for r in bom.relations}
    assert read.metadata.component.name == "app"


def test_cyclonedx_says_when_by_whom_and_with_what(cdx: dict[str, Any]) -> None:
    metadata = cdx["metadata"]
    assert metadata["timestamp"] == "2023-11-14T22:13:20Z"  # date -u -d @1700000000
    assert metadata["tools"]["components"] == [{"type": "application", "name": "ciflow", "version": "0.1.0"}]
    assert metadata["authors"] == [{"name": "Release Team", "email": "release@example.org"}]
    assert metadata["lifecycles"] == [{"phase": "pre-build"}]
    assert metadata["licenses"] == [{"license": {"id": "CC0-1.0"}}]


def test_cyclonedx_keeps_scope_hash_and_licence(cdx: dict[str, Any]) -> None:
    alpha = by_ref(cdx, "pkg:cargo/alpha@1.2.3")
    assert alpha["hashes"] == [{"alg": "SHA-256", "content": checksum("alpha", "1.2.3")}]
    assert alpha["licenses"] == [
        {"expression": "Apache-2.0 OR MIT", "acknowledgement": "declared"},
        {"expression": "Apache-2.0 OR MIT", "acknowledgement": "concluded"},
    ]
    assert (alpha["scope"], by_ref(cdx, "pkg:cargo/builder@1.0.0")["scope"]) == ("required", "excluded")
    assert by_ref(cdx, "pkg:cargo/common@1.0.0")["licenses"][0]["license"]["name"] == "see COPYING"


def test_metadata_alone_is_said_to_be_incomplete_knowledge(cdx: dict[str, Any]) -> None:
    refs = {c["bom-ref"] for c in cdx["components"]} | {cdx["metadata"]["component"]["bom-ref"]}
    assert {d["ref"] for d in cdx["dependencies"]} == refs
    assert cdx["compositions"] == [{"aggregate": "incomplete", "dependencies": sorted(refs)}]


# SPDX


def test_spdx_passes_the_full_validation(spdx_file: Path) -> None:
    parser = pytest.importorskip("spdx_tools.spdx.parser.parse_anything")
    validator = pytest.importorskip("spdx_tools.spdx.validation.document_validator")
    assert validator.validate_full_spdx_document(parser.parse_file(str(spdx_file))) == []


def test_spdx_means_the_same_to_its_own_library(bom: Bom, spdx_file: Path) -> None:
    parser = pytest.importorskip("spdx_tools.spdx.parser.parse_anything")
    read = parser.parse_file(str(spdx_file))
    purls = {package.spdx_id: package.external_references[0].locator for package in read.packages}
    assert sorted(purls.values()) == sorted(c.purl for c in bom.everything())
    kinds = [r.relationship_type.name for r in read.relationships]
    assert kinds.count("DESCRIBES") == 1
    edges = set(_edges(read.relationships, purls))
    assert edges == {(r.source, r.target) for r in bom.relations}


def _edges(relationships: list[Any], purls: dict[str, str]) -> Iterator[tuple[str, str]]:
    for relation in relationships:
        source, target = purls.get(relation.spdx_element_id), purls[relation.related_spdx_element_id]
        if relation.relationship_type.name == "DEPENDS_ON":
            yield str(source), target
        if relation.relationship_type.name == "BUILD_DEPENDENCY_OF":
            yield target, str(source)


def test_spdx_keeps_download_place_supplier_and_licence(spdx_file: Path) -> None:
    packages = {(p["name"], p["versionInfo"]): p for p in json.loads(spdx_file.read_text())["packages"]}
    alpha, delta = packages["alpha", "1.2.3"], packages["delta", "0.1.0"]
    assert alpha["licenseDeclared"] == "Apache-2.0 OR MIT"
    assert alpha["originator"] == "Person: A. Maker (a@example.org)"
    assert alpha["supplier"] == "Organization: crates.io"
    assert alpha["checksums"] == [{"algorithm": "SHA256", "checksumValue": checksum("alpha", "1.2.3")}]
    assert delta["downloadLocation"] == "NOASSERTION"
    assert packages["common", "1.0.0"]["licenseDeclared"] == "LicenseRef-see-COPYING"
    assert packages["local", "0.3.0"]["licenseDeclared"] == "LicenseRef-Own"


def test_spdx_names_a_repository_and_commit(creation: Creation) -> None:
    fetched = replace(part("a"), download="git+https://example.org/a.git@0123abcd")
    packages = json.loads(spdx.emit(Bom(fetched, (), ()), creation))["packages"]
    assert packages[0]["downloadLocation"] == "git+https://example.org/a.git@0123abcd"


# Both


@pytest.mark.parametrize("emit", [cyclonedx.emit, spdx.emit])
def test_the_same_content_gives_the_same_bytes_in_any_order(emit: Any, bom: Bom, creation: Creation) -> None:
    turned = replace(bom, components=bom.components[::-1], relations=bom.relations[::-1])
    assert emit(turned, creation) == emit(bom, creation)
    later = replace(creation, epoch=creation.epoch + 1)
    assert emit(bom, later) != emit(bom, creation)


def test_another_content_has_another_serial_number(bom: Bom, creation: Creation) -> None:
    fewer = Bom(bom.subject, (), ())
    serials = {json.loads(cyclonedx.emit(b, creation))["serialNumber"] for b in (bom, fewer)}
    assert len(serials) == 2
    assert all(uuid.UUID(serial.removeprefix("urn:uuid:")).version == 5 for serial in serials)


def test_awkward_names_pass_both_validators(creation: Creation, tmp_path: Path) -> None:
    parser = pytest.importorskip("spdx_tools.spdx.parser.parse_anything")
    spdx_validation = pytest.importorskip("spdx_tools.spdx.validation.document_validator")
    parts = [part(name) for name in ("a_b", "a-b", "ü & <x>", "x" * 200)]
    bom = Bom(part("root"), tuple(parts), tuple(Relation("root", p.ref) for p in parts))
    assert schema_fault(cyclonedx.emit(bom, creation, "1.6"), "1.6") is None
    (tmp_path / "b.spdx.json").write_bytes(spdx.emit(bom, creation))
    read = parser.parse_file(str(tmp_path / "b.spdx.json"))
    assert spdx_validation.validate_full_spdx_document(read) == []


def test_a_relation_to_nowhere_is_refused() -> None:
    with pytest.raises(SupplyError, match="names ghost"):
        Bom(part("root"), (), (Relation("root", "ghost"),))


def test_a_ref_that_is_twice_there_is_refused() -> None:
    with pytest.raises(SupplyError, match="two components have the ref a"):
        Bom(part("root"), (part("a"), part("a")), ())


def part(name: str) -> Component:
    return Component(name, Kind.LIBRARY, name, None, "pkg:generic/x", Scope.REQUIRED, licence="Some words, (c) me")


# Licences


def test_other_words_for_a_licence_never_share_a_name() -> None:
    texts = ["MIT License", "MIT License!", "MIT License?", "日本", "", "x" * 80, "x" * 81]
    names = {licenses.custom(text) for text in texts}
    assert len(names) == len(texts)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("Apache-2.0/MIT", "Apache-2.0 OR MIT"),
        ("MIT / Apache-2.0", "MIT OR Apache-2.0"),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"),
        ("(MIT or Apache-2.0) and Unicode-3.0", "(MIT OR Apache-2.0) AND Unicode-3.0"),
        ("GPL-2.0+", "GPL-2.0+"),
        ("LGPL-2.1+ AND (BSD-3-Clause)", "LGPL-2.1+ AND (BSD-3-Clause)"),
        ("LicenseRef-Own", "LicenseRef-Own"),
        ("MIT License", None),
        ("MIT OR", None),
        ("(MIT", None),
        ("MIT WITH no-such-exception", None),
        ("", None),
        ("Proprietary", None),
        ("(" * 5000 + "MIT" + ")" * 5000, None),
    ],
)
def test_licences_become_expressions_or_nothing(text: str, expression: str | None) -> None:
    assert licenses.normalise(text) == expression


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "MIT OR Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "MIT AND Zlib OR Apache-2.0 WITH LLVM-exception",
        "LicenseRef-Own AND (GPL-2.0+ OR MIT OR Zlib)",
    ],
)
def test_an_expression_taken_apart_is_put_together_with_the_brackets_it_needs(expression: str) -> None:
    assert licenses.text(licenses.tree(expression)) == expression
    assert licenses.text(licenses.tree(f"({expression})")) == expression


def test_the_reference_library_knows_every_licence_of_ours() -> None:
    library = pytest.importorskip("license_expression").get_spdx_licensing()
    for text in ("Apache-2.0/MIT", "(MIT or Apache-2.0) and Unicode-3.0", "Apache-2.0 WITH LLVM-exception"):
        expression = licenses.normalise(text)
        assert expression is not None
        assert library.validate(expression).errors == []
