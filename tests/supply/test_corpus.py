"""The corpus, through the module and the real cargo: components, scopes, relations and features are right."""

from __future__ import annotations

import os
import shutil
import socket
from collections import Counter
from pathlib import Path

import pytest

from ciflow.cli.asking import answered
from ciflow.model import Context, Outcome
from ciflow.modules import sbom
from ciflow.supply import formats
from ciflow.supply.model import Bom, Creation
from tests.supply.corpus import CASES, Case
from tests.supply.lay import Laid, lay

DEFAULTS = {
    "packages": [], "features": [], "all_features": False, "default_features": True, "built": [], "sha512": True,
    "authors": [],
}  # fmt: skip


def bill_of(root: Path, **args: object) -> Bom:
    given = DEFAULTS | {"chdir": str(root)} | args
    told = answered(sbom.ask(given, Context(environment={"CARGO_NET_OFFLINE": "true"})), lambda: None)
    assert not isinstance(told, Outcome), told.msg
    assert told.units is not None, "cargo plans the build"
    return sbom.bill(given, told)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name.replace(" ", "_"))
def laid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Laid, Bom]:
    if shutil.which("cargo") is None or shutil.which("git") is None:
        pytest.skip("cargo and git make the workspaces of the corpus")
    case = request.param
    done = lay(case, tmp_path_factory.mktemp("corpus"))
    return case, done, bill_of(done.root)


def test_exactly_what_is_built_is_listed_with_its_scope(laid: tuple[Case, Laid, Bom]) -> None:
    _, done, bom = laid
    listed = Counter((component.purl, component.scope.value) for component in bom.everything())
    assert listed == Counter((purl.strip(), scope) for purl, scope in done.right.items())


def test_who_depends_on_whom_is_right(laid: tuple[Case, Laid, Bom]) -> None:
    case, _, bom = laid
    names = {component.ref: f"{component.name} {component.version}" for component in bom.everything()}
    if case.edges:
        assert {(names[r.source], names[r.target]) for r in bom.relations} == case.edges
    led_to = {relation.target for relation in bom.relations}
    assert led_to == {component.ref for component in bom.components}


def test_features_are_those_it_is_delivered_with(laid: tuple[Case, Laid, Bom]) -> None:
    case, _, bom = laid
    found = {c.name: dict(c.properties).get("cargo:features", "") for c in bom.everything()}
    assert {name: found[name] for name in case.features} == case.features


def test_nothing_of_this_machine_gets_in(laid: tuple[Case, Laid, Bom]) -> None:
    """But the address of a repository, which is a folder here."""
    case, done, bom = laid
    if not case.repositories:
        said = formats.emit(bom, Creation(0, "1"), "cyclonedx-json").decode()
        assert str(done.root.parent) not in said
        assert str(Path.home()) not in said
        assert socket.gethostname() not in said


def test_the_same_workspace_elsewhere_gives_the_same_bytes(tmp_path: Path) -> None:
    if shutil.which("cargo") is None:
        pytest.skip("cargo makes the workspaces of the corpus")
    case = next(case for case in CASES if case.name == "only for the build, only for tests")
    first, second = (bill_of(lay(case, tmp_path / name).root) for name in ("here", "there"))
    for name in formats.FORMATS:
        assert formats.emit(first, Creation(0, "1"), name) == formats.emit(second, Creation(0, "1"), name)


def test_what_cargo_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    if shutil.which("cargo") is None:
        pytest.skip("cargo makes the workspaces of the corpus")
    root = lay(CASES[0], tmp_path).root
    args = DEFAULTS | {"chdir": str(root), "packages": ["nobody"]}
    told = answered(sbom.ask(args, Context(environment=dict(os.environ))), lambda: None)
    assert isinstance(told, Outcome)
    assert "nobody" in told.msg


def test_a_program_that_was_built_is_named_with_its_hashes(tmp_path: Path) -> None:
    if shutil.which("cargo") is None:
        pytest.skip("cargo makes the workspaces of the corpus")
    root = lay(CASES[0], tmp_path).root
    (root / "app").write_bytes(b"abc")
    subject = bill_of(root, built=["app"]).subject
    assert subject.file is not None
    assert (subject.file.filename, subject.file.executable) == ("app", True)
    # FIPS 180-4, examples for "abc"
    assert subject.hash("SHA-256") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert str(subject.hash("SHA-512")).startswith("ddaf35a193617abacc417349ae204131")
