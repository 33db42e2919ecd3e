"""`ciflow sbom` as people type it: exit codes, what is printed, what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ciflow.cli.app import run
from ciflow.diagnostics import ExitCode
from ciflow.supply import formats
from tests.supply.bills import CREATION, full

LOCK = """\
version = 4

[[package]]
name = "app"
version = "1.0.0"
dependencies = [
 "log 0.4.0",
 "log 1.0.0",
]

[[package]]
name = "log"
version = "0.4.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "1111111111111111111111111111111111111111111111111111111111111111"

[[package]]
name = "log"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "2222222222222222222222222222222222222222222222222222222222222222"
"""


@pytest.fixture
def document(tmp_path: Path) -> str:
    path = tmp_path / "bom.cdx.json"
    path.write_bytes(formats.emit(full(), CREATION, "cyclonedx-json"))
    return str(path)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "Cargo.lock").write_text(LOCK)
    return tmp_path / "Cargo.lock"


def test_a_lock_is_listed_without_cargo_and_twice_alike(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("a.json", "b.json"):
        assert run(["sbom", str(lock), "-o", str(tmp_path / name)]) == ExitCode.OK
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    reading = formats.read((tmp_path / "a.json").read_bytes())[1]
    assert (reading.bom.subject.name, [c.version for c in reading.bom.components]) == ("app", ["0.4.0", "1.0.0"])
    assert reading.bom.completeness.value == "unknown", "a lock is more than a build"
    assert reading.creation.epoch == 1700000000


def test_why_a_crate_is_in_is_told_version_by_version(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sbom", str(lock), "--explain", "log"]) == ExitCode.OK
    assert capsys.readouterr().out == (
        "log 0.4.0 (required)\n  app 1.0.0 needs log 0.4.0\nlog 1.0.0 (required)\n  app 1.0.0 needs log 1.0.0\n"
    )
    assert run(["sbom", str(lock), "--explain", "lgo"]) == ExitCode.INVALID
    assert "lgo is not in it; there is log" in capsys.readouterr().err


def test_a_difference_may_end_with_a_code_of_its_own(
    document: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.spdx"
    other.write_bytes(formats.emit(full(), CREATION, "spdx-tag"))
    assert run(["sbom", "diff", document, str(other), "--detailed-exitcode"]) == ExitCode.OK
    assert capsys.readouterr().out == "no difference\n"
    changed = Path(document).read_bytes().replace(b"alpha@1.0.0", b"alpha@1.0.1")
    (tmp_path / "new.json").write_bytes(changed)
    assert run(["sbom", "diff", document, str(tmp_path / "new.json"), "--detailed-exitcode", "--json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[0])["name"] == "alpha"


def test_what_is_left_out_of_a_conversion_is_told(
    document: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = json.loads(Path(document).read_bytes())
    tree["services"] = [{"name": "db"}]
    Path(document).write_text(json.dumps(tree))
    assert run(["sbom", "convert", document, "--format", "spdx3-json", "-o", str(tmp_path / "o.json")]) == ExitCode.OK
    assert "left out: /services" in capsys.readouterr().err
    assert formats.detected((tmp_path / "o.json").read_bytes()) == "spdx3-json"


def test_a_document_that_is_wrong_ends_with_3_and_the_others_are_looked_at(
    document: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.json").write_bytes(Path(document).read_bytes()[:300])
    (tmp_path / "odd.json").write_bytes(Path(document).read_bytes().replace(b"pkg:cargo/alpha", b"cargo/alpha"))
    argv = ["sbom", "validate", str(tmp_path / "cut.json"), str(tmp_path / "odd.json"), document]
    assert run(argv) == ExitCode.INVALID
    said = capsys.readouterr().out
    assert "cut.json: line" in said
    assert "is no package URL" in said
    assert "bom.cdx.json: cyclonedx-json 1.7, 2 components" in said


def test_one_command_reports_on_all_rules_and_a_required_profile_gates(
    document: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sbom", "report", document, "--require", "bsi", "--require", "ntia"]) == ExitCode.OK
    said = capsys.readouterr().out
    for title in ("NTIA minimum elements (2021): met in full", "CISA minimum elements (2025): met in full",
                  "BSI TR-03183-2 v2.1.0: met in full", "no   the document is signed"):  # fmt: skip
        assert title in said
    assert run(["sbom", "report", document, "--require", "quality"]) == ExitCode.TASK_FAILED
    assert run(["sbom", "report", document, "--profile", "nato"]) == ExitCode.INVALID


def test_several_documents_become_one(document: str, lock: Path, tmp_path: Path) -> None:
    assert run(["sbom", str(lock), "-o", str(tmp_path / "lock.json")]) == ExitCode.OK
    argv = ["sbom", "merge", document, str(tmp_path / "lock.json"), "--name", "release"]
    assert run([*argv, "-o", str(tmp_path / "all.json")]) == ExitCode.OK
    bom = formats.read((tmp_path / "all.json").read_bytes())[1].bom
    tops = {relation.target for relation in bom.relations if relation.source == bom.subject.ref}
    assert tops == {"pkg:cargo/server@2.0.0", "pkg:cargo/app@1.0.0"}


def test_what_a_document_says_never_commands_the_terminal(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = Path(document).read_bytes().replace(b'"name": "alpha"', b'"name": "al\\u001b[2Jpha"')
    Path(document).write_bytes(hostile)
    for argv in (["diff", document, document], ["report", document], ["validate", document]):
        run(["sbom", *argv])
    run(["sbom", "merge", document, "--name", "x", "-o", document])
    other = Path(document).with_name("other.json")
    other.write_bytes(formats.emit(full(), CREATION, "cyclonedx-json"))
    run(["sbom", "diff", document, str(other)])
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "[2Jpha" in out


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["nothing-here"], "there is nothing"),
        ([__file__], "is no lock file, no program and no image"),
        (["docker:"], "docker"),
    ],
)
def test_what_cannot_be_listed_is_refused_with_a_reason(
    argv: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sbom", *argv]) == ExitCode.INVALID
    assert why in capsys.readouterr().err
