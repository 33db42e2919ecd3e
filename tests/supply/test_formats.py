"""Every format: written, judged by the format's own validators, read back to the same bill."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ciflow.supply import formats, spdx3
from ciflow.supply.errors import SupplyError, UnsupportedError
from ciflow.supply.model import Bom, Creation, Scope
from tests.supply.bills import CREATION, full

NAMES = [f"{name}@{version}" for name, form in formats.FORMATS.items() for version in form.versions]
CDX_PROTO = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ciflow/parts/cdxproto-2.2.0"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back_without_loss(name: str) -> None:
    content = formats.emit(full(), CREATION, name)
    known, reading = formats.read(content)
    assert known == name.partition("@")[0]
    assert reading.bom == full()
    assert reading.creation == CREATION
    assert (reading.left_out, reading.version, reading.identified) == ((), name.partition("@")[2], True)


@pytest.mark.parametrize("name", NAMES)
def test_the_bill_of_a_real_workspace_survives_every_format(name: str, bom: Bom, creation: Creation) -> None:
    reading = formats.read(formats.emit(bom, creation, name))[1]
    assert set(reading.bom.everything()) == set(bom.everything())
    assert set(reading.bom.relations) == set(bom.relations)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bill_gives_the_same_bytes(name: str) -> None:
    assert formats.emit(full(), CREATION, name) == formats.emit(full(), CREATION, name)


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_cyclonedx_xml_is_valid_by_its_schema(version: str, bom: Bom, creation: Creation) -> None:
    validation = pytest.importorskip("cyclonedx.validation.xml")
    pytest.importorskip("lxml")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.XmlValidator(schema.SchemaVersion[f"V{version.replace('.', '_')}"])
    for one, made in ((full(), CREATION), (bom, creation)):
        assert validator.validate_str(formats.emit(one, made, f"cyclonedx-xml@{version}").decode()) is None


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_protocol_buffers_mean_the_same_to_another_implementation(version: str, tmp_path: Path) -> None:
    if shutil.which("node") is None or not CDX_PROTO.exists():
        pytest.skip("cdx-proto decodes protocol buffers: tests/parts/install cdxproto")
    (tmp_path / "bom.bin").write_bytes(formats.emit(full(), CREATION, f"cyclonedx-proto@{version}"))
    program = CDX_PROTO / "node_modules" / ".bin" / "cdx-proto"
    argv = [str(program), "convert", str(tmp_path / "bom.bin"), str(tmp_path / "bom.json")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    theirs = json.loads((tmp_path / "bom.json").read_bytes())
    ours = json.loads(formats.emit(full(), CREATION, f"cyclonedx-json@{version}"))
    assert theirs["serialNumber"] == ours["serialNumber"]
    assert [c["purl"] for c in theirs["components"]] == [c["purl"] for c in ours["components"]]
    assert [c["hashes"] for c in theirs["components"]] == [c["hashes"] for c in ours["components"]]
    assert theirs["metadata"]["component"]["name"] == "server"
    assert theirs["compositions"][0]["aggregate"] == "complete"


@pytest.mark.parametrize("name", [name for name in formats.FORMATS if name.startswith("spdx-")])
def test_spdx_passes_the_full_validation_in_every_form(name: str, tmp_path: Path, bom: Bom, creation: Creation) -> None:
    parser = pytest.importorskip("spdx_tools.spdx.parser.parse_anything")
    validator = pytest.importorskip("spdx_tools.spdx.validation.document_validator")
    suffix = {"spdx-rdf": "rdf.xml"}.get(name, formats.FORMATS[name].suffix)
    for number, (one, made) in enumerate(((full(), CREATION), (bom, creation))):
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(formats.emit(one, made, name))
        document = parser.parse_file(str(path))
        assert validator.validate_full_spdx_document(document) == []
        purls = {p.external_references[0].locator for p in document.packages}
        assert purls == {c.purl for c in one.everything()}


def test_spdx_3_is_valid_by_the_model_of_its_authors(tmp_path: Path, bom: Bom, creation: Creation) -> None:
    """The bindings that the SPDX project makes from its own model check types, words and how many there may be."""
    model = pytest.importorskip("spdx_python_model").v3_0_1
    for number, (one, made) in enumerate(((full(), CREATION), (bom, creation))):
        path = tmp_path / f"{number}.spdx3.json"
        path.write_bytes(formats.emit(one, made, "spdx3-json"))
        objects = model.SHACLObjectSet()
        with path.open("rb") as file:
            model.JSONLDDeserializer().read(file, objects)
        packages = list(objects.foreach_type(model.software_Package))
        assert {package.software_packageUrl for package in packages} == {c.purl for c in one.everything()}
        # writing checks what must be there, and how often; an individual of the model is no element of the document
        model.JSONLDSerializer().write(objects, io.BytesIO())
        assert {str(id_) for id_ in objects.missing_ids} <= {spdx3.NONE_ELEMENT}


def test_a_format_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnsupportedError, match="there are cyclonedx-json, cyclonedx-xml"):
        formats.chosen("swid")
    with pytest.raises(UnsupportedError, match=r"not written in version 1\.2"):
        formats.chosen("cyclonedx-json@1.2")


def test_what_there_is_no_room_for_is_told_by_its_path() -> None:
    document = json.loads(formats.emit(full(), CREATION, "cyclonedx-json"))
    document["services"] = [{"name": "db"}]
    document["components"][0]["evidence"] = {"copyright": []}
    document["components"][1]["pedigree"] = {"notes": "a fork"}
    left_out = formats.read(json.dumps(document).encode())[1].left_out
    assert left_out == ("/components/*/evidence", "/components/*/pedigree", "/services")


# Documents as other generators write them


def test_an_old_cyclonedx_with_nested_components_and_bare_tools_is_read() -> None:
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.4",
        "metadata": {"timestamp": "2024-05-06T07:08:09.123+02:00", "tools": [{"name": "old", "version": "3"}]},
        "components": [
            {"type": "library", "name": "a", "version": "1", "author": "Somebody", "components": [
                {"type": "library", "name": "b", "bom-ref": "b", "licenses": [
                    {"license": {"id": "MIT"}}, {"license": {"name": "Own words"}}]}]},
        ],
    }  # fmt: skip
    reading = formats.read(json.dumps(document).encode())[1]
    assert [(c.ref, c.name) for c in reading.bom.components] == [("a@1", "a"), ("b", "b")]
    assert reading.bom.components[0].authors[0].name == "Somebody"
    assert reading.bom.components[1].licence == "MIT AND Own words"
    assert (reading.creation.tool, reading.creation.tool_version) == ("old", "3")
    assert reading.creation.epoch == 1714972089  # date -ud '2024-05-06T05:08:09Z' +%s


def test_an_spdx_that_describes_several_packages_gets_a_subject_of_its_name() -> None:
    document = {
        "spdxVersion": "SPDX-2.2",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "two things",
        "documentDescribes": ["SPDXRef-a", "SPDXRef-b"],
        "creationInfo": {"created": "2024-01-01T00:00:00Z", "creators": ["Organization: Us ()", "Tool: gen-1.2"]},
        "packages": [
            {"SPDXID": f"SPDXRef-{name}", "name": name, "downloadLocation": "NONE", "licenseDeclared": "NOASSERTION"}
            for name in "ab"
        ],
    }
    reading = formats.read(json.dumps(document).encode())[1]
    assert (reading.bom.subject.name, [c.name for c in reading.bom.components]) == ("two things", ["a", "b"])
    assert {r.source for r in reading.bom.relations} == {reading.bom.subject.ref}
    assert reading.creation.tool_version == "1.2"
    assert reading.bom.components[0].licence is None


@pytest.mark.parametrize("first", formats.FORMATS)
@pytest.mark.parametrize("second", formats.FORMATS)
def test_any_format_converts_into_any_other(first: str, second: str) -> None:
    once = formats.read(formats.emit(full(), CREATION, first))[1]
    twice = formats.read(formats.emit(once.bom, once.creation, second))[1]
    assert (twice.bom, twice.creation) == (full(), CREATION)


def test_a_component_for_the_build_stays_one() -> None:
    for name in formats.FORMATS:
        bom = formats.read(formats.emit(full(), CREATION, name))[1].bom
        assert [c.name for c in bom.components if c.scope is Scope.EXCLUDED] == ["builder"]


def test_a_document_without_a_date_says_none_where_the_format_lets_it() -> None:
    undated = replace(CREATION, epoch=None)
    assert formats.read(formats.emit(full(), undated, "cyclonedx-json"))[1].creation.epoch is None


def damaged(change: Any) -> bytes:
    document = json.loads(formats.emit(full(), CREATION, "cyclonedx-json"))
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d["components"].append(d["components"][0]), "/components/2/bom-ref: two components have the ref"),
        (lambda d: d["dependencies"][1]["dependsOn"].append("ghost"), "/dependencies/1: ghost is no component"),
        (lambda d: d["dependencies"].append(d["dependencies"][0]), "/dependencies/3/ref: the dependencies of"),
        (lambda d: d["components"][1].update(type="gadget"), "/components/1/type: 'gadget' is none of application"),
        (lambda d: d["components"][1].pop("name"), "/components/1/name: it is missing"),
        (lambda d: d["components"][0].update(hashes={}), "/components/0/hashes: a list is needed here"),
        (lambda d: d["metadata"].update(timestamp="yesterday"), "/metadata/timestamp: 'yesterday' is no time"),
        (lambda d: d.update(specVersion="2.0"), "specVersion: CycloneDX 2.0 is not read"),
    ],
)
def test_what_is_wrong_in_a_document_is_told_by_its_path(change: Any, place: str) -> None:
    with pytest.raises(SupplyError, match=place):
        formats.read(damaged(change))
