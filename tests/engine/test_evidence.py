"""`ciflow evidence`: all that vouches for a release, in one archive that can't be changed unseen."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from ciflow.cli.app import run
from ciflow.supply.errors import SignatureError
from ciflow.supply.evidence import pack, unpack
from tests.engine.playing import Bench, Played

PLAYS = """
- name: Build
  hosts: localhost
  tasks:
    - copy: {dest: {here}/out/server, content: a program}
  artifacts: [{name: server, path: {here}/out/server}]
- name: Vouch
  hosts: localhost
  vars: {key: {here}/out/release.pem, secret: {here}/out/pass}
  tasks:
    - sign: {artifact: server, key: "{{ key }}", passphrase_file: "{{ secret }}", create_key: true, dest: {here}/out}
    - attest: {artifact: server, provenance: true, key: "{{ key }}", passphrase_file: "{{ secret }}", dest: {here}/out}
    - sbom: {chdir: {here}/crate, artifact: server, dest: {here}/out}
- name: Forget
  hosts: localhost
  tasks:
    - shell: mkdir {here}/out/kept && mv {here}/out/*.sigstore.json {here}/out/kept && rm {here}/out/server*
- name: Roll out
  hosts: localhost
  canary:
    service: shield
    version: "1.4"
    router:
      command: {set: 'echo "$CIFLOW_SHARE" > {here}/out/dial', read: cat {here}/out/dial, dir: {here}/out/router}
    slots: {a: {port: 1}, b: {port: 2}}
    steps: [100%]
    interval: 0.1s
    bake: 0s
    require: {signed_by: {here}/out/release.pem.pub, bundles: {here}/out/kept, provenance: true}
  tasks:
    - artifact: {name: server, dest: "{here}/out/deployed-{{ slot.name }}"}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One release, for all tests to look at."""
    return Bench(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def released(bench: Bench) -> Played:
    """A release whose documents nobody has left lying about."""
    if shutil.which("cargo") is None:
        pytest.skip("cargo says what is inside the crate of this test")
    bench.file("crate/Cargo.toml", '[package]\nname = "server"\nversion = "1.4.0"\nedition = "2021"\n')
    bench.file("crate/src/main.rs", "fn main() {}\n")
    bench.file("crate/Cargo.lock", 'version = 4\n\n[[package]]\nname = "server"\nversion = "1.4.0"\n')
    bench.file("out/dial", "0\n")
    done = bench.play(PLAYS)
    assert done.exit == 0, (done.errors(), done.ends())
    return done


def evidence(bench: Bench, *words: str) -> int:
    return run(["evidence", *words, "--state", str(bench.store)])


def entries(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {one.name: content.read() for one in tar if (content := tar.extractfile(one)) is not None}


def test_one_archive_has_all_that_vouches_for_a_release(bench: Bench, released: Played) -> None:
    archive = bench.folder / "e.tar"
    assert evidence(bench, "1.4", "-o", str(archive), "--policy", str(bench.out / "release.pem.pub")) == 0
    found = entries(archive)
    assert set(found) >= {
        "evidence.json",
        "gates.json",
        "journal.jsonl",
        "provenance/server.json",
        "sbom/server.cdx.json",
        "sbom/server.spdx.json",
        "signatures/server.provenance.intoto.sigstore.json",
        "signatures/server.sigstore.json",
    }
    manifest = json.loads(found["evidence.json"])
    assert manifest["release"]["service"] == "shield" and manifest["release"]["run"] == released.run
    assert [one["name"] for one in manifest["vouched"]] == ["server"]
    assert manifest["missing"] == ["scan", "tests", "approvals"]
    kinds = {json.loads(line)["kind"] for line in found["journal.jsonl"].splitlines()}
    assert {"run_started", "task_ended", "dial"} <= kinds and not kinds & {"op_sent", "op_reply", "rendered"}


def test_a_release_is_named_by_version_service_or_run_and_gives_the_same_bytes(bench: Bench, released: Played) -> None:
    names = ("1.4", "shield/1.4", released.run)
    for number, name in enumerate(names):
        assert evidence(bench, name, "-o", str(bench.folder / f"{number}.tar")) == 0
    assert len({(bench.folder / f"{number}.tar").read_bytes() for number in range(len(names))}) == 1


def test_what_does_not_hold_or_is_missing_gives_no_archive(
    bench: Bench, released: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = bench.folder / "none.tar"
    assert run(["keys", "new", str(bench.folder / "other.pem"), "--passphrase-file", str(bench.folder / "pass")]) == 0
    stranger = str(bench.folder / "other.pem.pub")
    assert evidence(bench, "1.4", "-o", str(archive), "--policy", stranger) == 3
    assert "signed by another key" in capsys.readouterr().err
    assert evidence(bench, "1.4", "-o", str(archive), "--complete") == 3
    assert "shield 1.4 has no scan" in capsys.readouterr().err
    assert evidence(bench, "1.5", "-o", str(archive)) == 3
    assert "shield/1.4" in capsys.readouterr().err
    copied = shutil.copytree(bench.store, bench.folder / "damaged")
    blob = next(event.data["sha256"] for event in released.of("evidence"))
    (copied / "blobs" / blob[:2] / blob[2:]).write_bytes(b"changed")
    assert run(["evidence", "1.4", "-o", str(archive), "--state", str(copied)]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert not archive.exists()


def test_a_signed_archive_is_checked_whole(bench: Bench, released: Played, capsys: pytest.CaptureFixture[str]) -> None:
    assert released.exit == 0
    archive, key = bench.folder / "signed.tar", str(bench.out / "release.pem")
    assert evidence(bench, "1.4", "-o", str(archive), "--key", key, "--passphrase-file", str(bench.out / "pass")) == 0
    assert evidence(bench, str(archive), "--check", "--policy", f"{key}.pub") == 0
    assert f"signed by {key}.pub" in capsys.readouterr().out
    content = bytearray(archive.read_bytes())
    content[600] ^= 1
    archive.write_bytes(content)
    assert evidence(bench, str(archive), "--check") == 4


FILES = {"a/b.json": b"{}", "c": b"x" * 700}


def test_no_byte_of_an_archive_can_be_changed_unseen() -> None:
    archive = pack({"release": {}}, FILES)
    about, files = unpack(archive)
    assert (about, files) == ({"release": {}}, FILES)
    filled = [at for at in range(len(archive)) if archive[at] or at % 31 == 0]  # most of a tar is padding
    for at in filled:
        changed = archive[:at] + bytes([archive[at] ^ 1 << at % 8]) + archive[at + 1 :]
        with pytest.raises(SignatureError):
            unpack(changed)


def test_an_archive_that_was_cut_off_is_refused() -> None:
    archive = pack({}, FILES)
    for length in range(0, len(archive), 97):
        with pytest.raises(SignatureError):
            unpack(archive[:length])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../x", b"0"), ("/x", b"0"), ("a/b/c", b"0"), ("x", tarfile.SYMTYPE), ("x", tarfile.DIRTYPE)],
)
def test_entries_that_lead_elsewhere_are_refused(name: str, kind: bytes) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
        tar.addfile(entry)
    with pytest.raises(SignatureError, match="no file of its own"):
        unpack(made.getvalue())
