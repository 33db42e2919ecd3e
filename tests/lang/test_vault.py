"""ansible-vault's format, both ways; passwords; who is told what was opened."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciflow.diagnostics import Findings, Invalid, Span
from ciflow.lang.files import Files
from ciflow.lang.passwords import nobody, read_vault
from ciflow.lang.scope import Layer, Level, Scope
from ciflow.lang.template import render
from ciflow.lang.vault import Password, Vault, encrypt, is_vaulted
from ciflow.lang.yamltext import parse
from tests.conftest import Start
from tests.parts import ansible as ansible_part

DEV = Password("dev", b"a dev password \xc3\xa9")
OTHER = Password("prod", b"another")
PLAIN = Password("default", b"plain")
HERE = Span("secret.yml", 1, 1)

# Written by ansible-vault of ansible-core 2.19.4 (`encrypt_string --vault-password-file`, the password "pw1").
WRITTEN = b"""\
$ANSIBLE_VAULT;1.2;AES256;dev
61366532313162393363633064613431323663313063633035393864353262643839653836333934
3466326538626265366536623662356263336339326264640a303535623964343232336361636137
62353662363131646137353837333539623739356562643738643139626337363530323539343166
3833613563623465390a373638363962383933613537393063666636343236646366363839303839
3663
"""


def opened(content: bytes, *passwords: Password) -> bytes:
    return Vault(passwords).open(content, HERE)


def refused(content: bytes, *passwords: Password) -> str:
    with pytest.raises(Invalid) as raised:
        opened(content, *passwords)
    found = raised.value.diagnostics[0]
    assert (found.code, found.span) == ("CF0017", HERE)
    return found.message


def test_what_ansible_vault_wrote_opens() -> None:
    assert opened(WRITTEN, Password("x", b"pw1")) == b"{{ 1 + 1 }}x"


def test_the_same_salt_gives_the_same_bytes_as_ansible_vault() -> None:
    salt = bytes.fromhex("a6e211b93cc0da4126c10cc0598d52bd89e863944f2e8bbe6e6b6b5bc3c92bdd")
    assert encrypt(b"{{ 1 + 1 }}x", Password("dev", b"pw1"), salt) == WRITTEN


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400), st.binary(min_size=1, max_size=30), st.sampled_from(["default", "dev", "a.b-c"]))
def test_whatever_is_encrypted_opens_again(plain: bytes, secret: bytes, label: str) -> None:
    password = Password(label, secret)
    hidden = encrypt(plain, password)
    assert is_vaulted(hidden)
    assert opened(hidden, password) == plain
    assert hidden.splitlines()[0] == (
        b"$ANSIBLE_VAULT;1.1;AES256" if label == "default" else f"$ANSIBLE_VAULT;1.2;AES256;{label}".encode()
    )
    assert all(len(line) <= 80 for line in hidden.splitlines())


def test_two_encryptions_of_one_text_differ() -> None:
    assert encrypt(b"x", DEV) != encrypt(b"x", DEV)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_never_gives_another_text(data: st.DataObject) -> None:
    """A digit of the inner hexadecimal may turn into its capital, which changes nothing; all else is refused."""
    body = encrypt(b"the secret", DEV)
    at = data.draw(st.integers(body.index(b"\n") + 1, len(body) - 2).filter(lambda i: body[i : i + 1] != b"\n"))
    other = data.draw(st.sampled_from(b"0123456789abcdef").filter(lambda digit: digit != body[at]))
    changed = body[:at] + bytes([other]) + body[at + 1 :]
    with contextlib.suppress(Invalid):
        assert opened(changed, DEV) == b"the secret"
        assert bytes.fromhex(b"".join(changed.splitlines()[1:]).decode()).lower() == bytes.fromhex(
            b"".join(body.splitlines()[1:]).decode()
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"$ANSIBLE_VAULT;1.0;AES\n00\n", "of the kind 1.0;AES, which is not read"),
        (b"$ANSIBLE_VAULT;1.1\n00\n", "its header is missing"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n0x\n", "damaged"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n3132\n", "no salt, HMAC and ciphertext"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n", "no salt, HMAC and ciphertext"),
        (WRITTEN[:200], "damaged"),
    ],
)
def test_damage_is_said_in_words(content: bytes, words: str) -> None:
    assert words in refused(content, DEV)


def test_a_wrong_password_and_a_missing_one_are_told_apart() -> None:
    hidden = encrypt(b"x", DEV)
    assert refused(hidden) == "this is encrypted (vault id `dev`), and no vault password is given"
    said = "no vault password that was given opens this (vault id `dev`); tried: prod, default"
    assert refused(hidden, OTHER, PLAIN) == said


def test_the_password_of_the_label_is_tried_first_and_then_all_others() -> None:
    hidden = encrypt(b"x", DEV)
    assert opened(hidden, OTHER, Password("dev", b"wrong"), Password("renamed", DEV.secret)) == b"x"
    assert Vault((OTHER, DEV)).unlock(hidden, HERE)[1] == DEV


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"", b"x", b"secret\n", b"\x00\xff bytes", b"0123456789abcdef", b"long " * 5000])
def test_ansible_vault_reads_what_we_write_and_we_read_what_it_writes(
    text: bytes, start: Start, tmp_path: Path
) -> None:
    peer = start(ansible_part.ansible(tmp_path / "ansible"))
    (tmp_path / "pw").write_bytes(b"s3cret pa\xc3\xb6ss\n")
    for label in ("default", "dev"):
        vault = read_vault((f"{label}@{tmp_path}/pw",), nobody)
        ids = ("--vault-id", f"{label}@pw")
        (tmp_path / "ours").write_bytes(encrypt(text, vault.passwords[0]))
        peer.run("ansible-vault", "decrypt", *ids, "ours", folder=tmp_path)
        assert (tmp_path / "ours").read_bytes() == text
        (tmp_path / "theirs").write_bytes(text)
        if text:  # ansible-vault refuses an empty file
            peer.run("ansible-vault", "encrypt", *ids, "theirs", folder=tmp_path)
            assert vault.open((tmp_path / "theirs").read_bytes(), HERE) == text


# --- passwords ---------------------------------------------------------------------------------------------


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_passwords_come_from_files_programs_and_people(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from a file\r\n")
    told = program(tmp_path / "told", "#!/bin/sh\necho from a program\n")
    client = program(tmp_path / "keys-client", '#!/bin/sh\necho "$1 $2"\n')
    ids = (f"{tmp_path}/file", f"a@{told}", f"b@{client}", "c@prompt", "prompt")
    asked: list[str] = []
    vault = read_vault(ids, lambda prompt: asked.append(prompt) or " typed ")  # type: ignore[func-returns-value]
    assert [(one.label, one.secret) for one in vault.passwords] == [
        ("default", b"from a file"), ("a", b"from a program"), ("b", b"--vault-id b"), ("c", b"typed"),
        ("default", b"typed"),
    ]  # fmt: skip
    assert asked == ["Vault password (c): ", "Vault password: "]
    assert "typed" not in repr(vault.passwords)


def test_a_password_that_can_not_be_had_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    failing = program(tmp_path / "failing", "#!/bin/sh\nexit 3\n")
    for one, words in (
        (f"x@{tmp_path}/none", "can't be read: no such file"),
        (f"x@{tmp_path}/empty", "is empty"),
        (f"x@{failing}", "failed"),
        ("x@prompt", "nobody to ask"),
    ):
        with pytest.raises(Invalid, match=words):
            read_vault((one,), nobody)


# --- values and files --------------------------------------------------------------------------------------


def scalar(text: str, password: Password = DEV) -> str:
    lines = encrypt(text.encode(), password).decode().splitlines()
    return "!vault |\n" + "\n".join(f"    {line}" for line in lines) + "\n"


def value(document: str, vault: Vault) -> Scope:
    place = parse(document.encode(), "v.yml", Findings(), vault=vault)
    assert place is not None
    return Scope((Layer(Level.PLAY_VARS, place.value),), render)


def test_a_vault_value_is_opened_when_it_is_used_and_is_data() -> None:
    vault = Vault((DEV,))
    told: list[str] = []
    vault.listen(told.append)
    scope = value(f"a: {scalar('{{ 1 + 1 }}')}b: ['{{{{ a }}}}!', 1]\nc: {scalar('other', OTHER)}", vault)
    assert not told
    assert scope.find("b") == ["{{ 1 + 1 }}!", 1]
    assert told == ["{{ 1 + 1 }}"]
    with pytest.raises(Invalid) as raised:
        scope.find("c")
    assert str(raised.value.diagnostics[0].span) == "v.yml:9:4"


def test_a_damaged_vault_value_is_a_fault_before_anything_runs() -> None:
    findings = Findings()
    parse(b"a:\n  b: !vault |\n    nothing\n", "v.yml", findings, vault=Vault())
    assert [(one.code, str(one.span)) for one in findings.errors] == [("CF0017", "v.yml:2:6")]


def test_an_encrypted_file_reads_as_if_it_were_plain_and_its_snapshot_stays_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "v.yml"
    path.write_bytes(encrypt(b"a: 1\n", DEV))
    files = Files.live(Vault((DEV,)))
    assert files.read(str(path)) == b"a: 1\n"
    assert files.is_secret(str(path))
    assert is_vaulted(files.snapshot()[str(path)])
    assert files.sources() == {}
    again = Files.frozen(files.snapshot(), Vault((DEV,)))
    assert again.read(str(path)) == b"a: 1\n"
    with pytest.raises(Invalid, match="no vault password is given"):
        Files.frozen(files.snapshot()).read(str(path))


def test_everything_in_an_encrypted_vars_file_is_a_secret() -> None:
    vault = Vault()
    vault.secret({"a": "text", "b": [12345, True, None], "c": {"d": 1.5}})
    told: list[str] = []
    vault.listen(told.append)
    assert told == ["text", "12345", "1.5"]


def test_sops_that_is_missing_is_said_and_one_that_is_there_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program here stands in for sops, which needs keys: what counts is how it is called and what it says."""
    path = tmp_path / "v.sops.yml"
    path.write_text("a: ENC[AES256_GCM,data:xx,type:str]\nsops:\n    mac: ENC[AES256_GCM,data:yy]\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Invalid, match="the program `sops` is not here"):
        Files.live().read(str(path))
    program(tmp_path / "sops", '#!/bin/sh\necho "a: $*"\n')
    assert Files.live().read(str(path)) == b"a: --decrypt --input-type yaml --output-type yaml /dev/stdin\n"
    program(tmp_path / "sops", "#!/bin/sh\necho no key >&2\nexit 128\n")
    with pytest.raises(Invalid, match="sops doesn't open this file: no key"):
        Files.live().read(str(path))
