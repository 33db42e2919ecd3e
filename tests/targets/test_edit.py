"""Edits in place mean what Ansible's lineinfile, blockinfile and replace make of the same arguments.

The cases in ansible_edits.json are what the modules of ansible-core 2.19.14 made of random arguments and files.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from ciflow.model import Edit
from ciflow.targets import Connection
from tests.targets.conftest import reach
from tests.targets.parley import Parley


@pytest.fixture(params=["local", "ssh", pytest.param("busybox", marks=pytest.mark.slow)])
def connection(request: pytest.FixtureRequest) -> Connection:
    return reach(request.param, request)


CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("ansible_edits.json").read_text())


def test_each_edit_gives_ansibles_file_and_ansibles_words(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    for case in CASES:
        path.write_bytes(case["before"].encode())
        reply = host(Edit(path=str(path), kind=case["kind"], spec=case["spec"]))
        got = (path.read_bytes().decode(), reply.changed, reply.data["msg"])
        assert got == (case["after"], case["changed"], case["msg"]), case
    print(f"{len(CASES)} edits tried")


def test_a_second_edit_changes_nothing(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    specs: list[tuple[str, dict[str, Any]]] = [
        ("line", {"regexp": "^port=", "line": "port=80"}),
        ("block", {"block": "a\nb", "insertbefore": "BOF"}),
        ("replace", {"regexp": "http:", "replace": "https:"}),
    ]
    for kind, spec in specs:
        path.write_text("port=1\nurl=http://x\n")
        operation = Edit(path=str(path), kind=kind, spec=spec, mode="0600")
        assert [host(operation).changed, host(operation).changed] == [True, False]
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_edit_keeps_bytes_that_are_no_text(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xff\xfe name=old\r\n\x80\n")
    assert host(Edit(path=str(path), kind="replace", spec={"regexp": "old", "replace": "new"})).changed
    assert path.read_bytes() == b"\xff\xfe name=new\r\n\x80\n"


def test_an_edit_predicts_with_a_diff_and_leaves_the_file(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a\n")
    reply = host(Edit(path=str(path), kind="line", spec={"line": "b"}, diff=True), check=True)
    assert (reply.changed, reply.data["diff"]) == (True, ["a\n", "a\nb\n"])
    assert path.read_text() == "a\n"


def test_a_missing_file_is_made_only_when_asked_for(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    missing = host(Edit(path=str(path), kind="line", spec={"line": "b"}))
    assert (missing.ok, missing.errno) == (False, "ENOENT")
    assert host(Edit(path=str(path), kind="line", spec={"line": "b", "state": "absent"})).ok
    assert host(Edit(path=str(path), kind="line", spec={"line": "b"}, create=True)).changed
    assert path.read_text() == "b\n"


def test_an_edit_that_fails_its_check_is_not_kept(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("good\n")
    spec = {"regexp": "good", "line": "bad"}
    assert not host(Edit(path=str(path), kind="line", spec=spec, validate=("grep", "good", "%s"))).ok
    assert path.read_text() == "good\n"


@pytest.mark.parametrize("kind", ["line", "replace"])
def test_a_wrong_regular_expression_is_told(host: Parley, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "f"
    path.write_text("x\n")
    reply = host(Edit(path=str(path), kind=kind, spec={"regexp": "(", "line": "y"}))
    assert not reply.ok
    assert "regular expression" in reply.error
