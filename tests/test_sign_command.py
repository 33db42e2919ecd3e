"""`ciflow keys`, `sign`, `attest` and `verify`, as somebody types them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ciflow.cli.app import run
from tests.parts.keyless import ISSUER, JOB, services


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@dataclass
class Desk:
    """A folder with a file to sign, and a journal of its own."""

    folder: Path
    captured: pytest.CaptureFixture[str]

    def ciflow(self, *words: str) -> Done:
        self.captured.readouterr()
        code = run(words)
        said = self.captured.readouterr()
        return Done(code, said.out, said.err)

    def well(self, *words: str) -> str:
        done = self.ciflow(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def known_keys(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.well("keys", "list", "keys", "--json").splitlines()]


SECRET = ("--passphrase-file", "keys/pass")
SIGN = ("sign", "server", "--key", "keys/release.pem", *SECRET)
VERIFY = ("verify", "server", "--policy", "keys/signers.json")


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    (tmp_path / "server").write_text("a program")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.setenv("CIFLOW_STATE", str(tmp_path / ".state"))
    monkeypatch.delenv("CIFLOW_KEY_PASSPHRASE", raising=False)
    monkeypatch.chdir(tmp_path)
    desk = Desk(tmp_path, capsys)
    desk.well("keys", "new", "keys/release.pem", *SECRET)
    return desk


def test_a_file_is_signed_attested_and_verified(desk: Desk) -> None:
    (desk.folder / "server.cdx.json").write_text('{"bomFormat": "CycloneDX"}')
    desk.well(*SIGN)
    desk.well("attest", "server", "--document", "cyclonedx", "server.cdx.json", *SIGN[2:])
    told = json.loads(desk.well(*VERIFY, "--json"))
    assert told["signers"] == [desk.known_keys()[0]["name"]]
    assert told["attestations"] == ["https://cyclonedx.org/bom"]
    (desk.folder / "server").write_text("a program!")
    done = desk.ciflow(*VERIFY)
    assert done.returncode == 4 and "signature of another file" in done.stderr and "another artifact" in done.stderr


def test_nothing_signed_is_refused(desk: Desk) -> None:
    done = desk.ciflow(*VERIFY)
    assert done.returncode == 4 and "nobody vouches for server" in done.stderr


def test_a_key_lies_encrypted_and_for_nobody_else_to_read(desk: Desk) -> None:
    key = desk.folder / "keys" / "release.pem"
    assert key.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert key.stat().st_mode & 0o777 == 0o600
    assert (desk.folder / "keys" / "pass").stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    assert "can be read by others" in desk.ciflow(*SIGN).stderr


def test_the_passphrase_comes_from_the_environment_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = desk.ciflow(*SIGN[:4])
    assert nothing.returncode == 3 and "--passphrase-file" in nothing.stderr
    monkeypatch.setenv("CIFLOW_KEY_PASSPHRASE", (desk.folder / "keys" / "pass").read_text().strip())
    desk.well(*SIGN[:4])
    monkeypatch.setenv("CIFLOW_KEY_PASSPHRASE", "wrong")
    wrong = desk.ciflow("attest", "server", "--document", "spdx", "server", *SIGN[2:4])
    assert wrong.returncode == 4 and "another passphrase" in wrong.stderr


def test_after_a_rotation_both_keys_hold_until_one_is_revoked(desk: Desk) -> None:
    (desk.folder / "own.json").write_text("{}")
    desk.well("attest", "server", "--document", "https://example.org/p", "own.json", *SIGN[2:])
    desk.well("keys", "rotate", "keys/release.pem", "--kind", "ed25519", *SECRET)
    old, new = sorted(desk.known_keys(), key=lambda key: str(key["kind"]))
    assert (old["kind"], new["kind"]) == ("ecdsa-p256", "ed25519") and old["until"] and not new["until"]
    desk.well(*SIGN)
    assert json.loads(desk.well(*VERIFY, "--json"))["signers"] == sorted([old["name"], new["name"]])
    desk.well("keys", "revoke", old["name"], "--reason", "laptop stolen", "--folder", "keys")
    done = desk.ciflow(*VERIFY)
    assert done.returncode == 4 and "is revoked: laptop stolen" in done.stderr
    assert [key["state"] for key in desk.known_keys() if key["name"] == old["name"]] == ["revoked"]


def test_without_overlap_what_the_old_key_signed_is_over(desk: Desk) -> None:
    desk.well(*SIGN)
    desk.well("keys", "rotate", "keys/release.pem", "--overlap", "0s", *SECRET)
    assert "has expired" in desk.ciflow(*VERIFY).stderr


def test_mistakes_are_said_plainly(desk: Desk) -> None:
    assert "is there already" in desk.ciflow("keys", "new", "keys/release.pem", *SECRET).stderr
    assert "no key is called x" in desk.ciflow("keys", "revoke", "x", "--reason", "y", "--folder", "keys").stderr
    assert "is no time" in desk.ciflow("keys", "new", "keys/b.pem", "--until", "soon", *SECRET).stderr
    (desk.folder / "keys" / "signers.json").write_text('{"signers": {"a": {"pem": "x"}}}')
    done = desk.ciflow(*VERIFY)
    assert done.returncode == 4 and "signers.json:1:27: the signer `a`" in done.stderr


def test_a_job_of_a_ci_signs_without_a_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a local issuer, authority and log: the public ones can't be reached here."""
    with services() as local:
        for name, value in local.env.items():
            monkeypatch.setenv(name, value)
        (desk.folder / "chain.pem").write_bytes(local.authority.chain)
        (desk.folder / "log.pub").write_bytes(local.log.pem)
        (desk.folder / "server.cdx.json").write_text('{"bomFormat": "CycloneDX"}')
        where = ("--keyless", "--fulcio", local.url, "--rekor", local.url)
        assert f"signed by {JOB}" in desk.well("sign", "server", *where)
        desk.well("attest", "server", "--document", "cyclonedx", "server.cdx.json", *where)
        who = f"identity: {JOB}, issuer: {ISSUER}, certificates: chain.pem, log: log.pub"
        (desk.folder / "policy.yml").write_text(f"signers:\n  release job: {{{who}}}\n")
    told = json.loads(desk.well("verify", "server", "--policy", "policy.yml", "--json"))
    assert told["signers"] == ["release job"] and told["attestations"] == ["https://cyclonedx.org/bom"]
    (desk.folder / "policy.yml").write_text(f"signers:\n  other: {{{who.replace('main', 'other')}}}\n")
    done = desk.ciflow("verify", "server", "--policy", "policy.yml")
    assert done.returncode == 4 and f"it was signed by {JOB}" in done.stderr


def test_who_signs_is_said_once(desk: Desk) -> None:
    assert "Say --key KEY, or --keyless" in desk.ciflow("sign", "server").stderr
    assert "not both" in desk.ciflow(*SIGN, "--keyless").stderr
    for name in ("SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"):
        assert name not in os.environ
    done = desk.ciflow("sign", "server", "--keyless")
    assert done.returncode == 4 and "nobody here says who you are" in done.stderr
