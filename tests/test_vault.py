"""`ciflow vault`, as somebody types it; what it leaves on the disk; and that ansible-vault agrees."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.parts import ansible as ansible_part
from tests.parts.process import wait_for
from tests.security.tool import Tool

TEXT = "password: S3cr3t-in-a-file\n"


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    made = Tool(tmp_path)
    made.write("pw", "one\n")
    made.write("new", "two\n")
    made.write("vars.yml", TEXT).chmod(0o640)
    return made


def script(tool: Tool, name: str, text: str) -> Path:
    path = tool.write(name, f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def with_editor(tool: Tool, editor: str, *args: str) -> subprocess.Popen[bytes]:
    env = {**tool.env, "EDITOR": editor}
    env.pop("VISUAL", None)
    return subprocess.Popen([sys.executable, "-m", "ciflow", "vault", *args], cwd=tool.folder, env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_encrypted_shown_and_decrypted_again(tool: Tool) -> None:
    path = tool.folder / "vars.yml"
    assert tool.run("vault", "encrypt", "--vault-id", "dev@pw", "vars.yml").code == 0
    assert path.read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;dev\n")
    assert mode(path) == 0o640
    shown = tool.run("vault", "view", "--vault-password-file", "pw", "vars.yml")
    assert (shown.code, shown.out.decode()) == (0, TEXT)
    assert tool.run("vault", "decrypt", "--vault-password-file", "pw", "vars.yml").code == 0
    assert (path.read_text(), mode(path)) == (TEXT, 0o600)
    assert sorted(entry.name for entry in tool.folder.iterdir()) == ["home", "new", "pw", "vars.yml"]


def test_a_wrong_password_changes_nothing_and_is_an_error_with_a_place(tool: Tool) -> None:
    tool.run("vault", "encrypt", "--vault-id", "dev@pw", "vars.yml")
    before = (tool.folder / "vars.yml").read_bytes()
    for command in ("decrypt", "view", "edit"):
        said = tool.run("vault", command, "--vault-password-file", "new", "vars.yml")
        assert said.code == 3
        assert "CF0017" in said.text
        assert "vars.yml:1:1" in said.text
    assert (tool.folder / "vars.yml").read_bytes() == before


def test_what_is_encrypted_already_is_not_encrypted_again_and_what_is_not_is_not_decrypted(tool: Tool) -> None:
    assert "is not encrypted" in tool.run("vault", "decrypt", "--vault-id", "a@pw", "vars.yml").text
    tool.run("vault", "encrypt", "--vault-id", "a@pw", "vars.yml")
    assert "is encrypted already" in tool.run("vault", "encrypt", "--vault-id", "a@pw", "vars.yml").text


def test_of_several_passwords_one_must_be_named_to_encrypt(tool: Tool) -> None:
    ids = ("--vault-id", "a@pw", "--vault-id", "b@new")
    said = tool.run("vault", "encrypt", *ids, "vars.yml")
    assert (said.code, "several vault ids: a, b" in said.text) == (3, True)
    assert tool.run("vault", "encrypt", *ids, "--encrypt-vault-id", "b", "vars.yml").code == 0
    assert (tool.folder / "vars.yml").read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;b\n")


def test_another_password_opens_a_rekeyed_file_and_the_old_one_does_not(tool: Tool) -> None:
    tool.run("vault", "encrypt", "--vault-id", "dev@pw", "vars.yml")
    said = tool.run("vault", "rekey", "--vault-id", "dev@pw", "--new-vault-id", "prod@new", "vars.yml")
    assert said.code == 0, said.text
    assert tool.run("vault", "view", "--vault-password-file", "new", "vars.yml").out.decode() == TEXT
    assert tool.run("vault", "view", "--vault-password-file", "pw", "vars.yml").code == 3
    assert (tool.folder / "vars.yml").read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;prod\n")


def test_values_in_a_file_are_rekeyed_and_the_rest_of_it_stays(tool: Tool) -> None:
    values = [tool.run("vault", "encrypt-string", "--vault-id", f"{label}@pw", "-n", f"k_{label}", f"Inline-{label}")
              .out.decode() for label in ("dev", "default")]  # fmt: skip
    before = "# !vault of both\nplain:   1  # kept\nused: [&a yes, *a]\n"
    path = tool.write("play.yml", f"{before}{values[0]}between: 'x'\n{values[1]}")
    said = tool.run("vault", "rekey", "--vault-id", "dev@pw", "--new-vault-password-file", "new", "play.yml")
    assert said.code == 0, said.text
    text = path.read_text()
    assert text.startswith(before + "k_dev: !vault |\n          $ANSIBLE_VAULT;1.2;AES256;dev\n")
    assert "\nbetween: 'x'\nk_default: !vault |\n          $ANSIBLE_VAULT;1.1;AES256\n" in text
    tool.write(
        "site.yml",
        "- hosts: localhost\n  vars_files: [play.yml]\n  tasks:\n"
        "    - assert: {that: [k_dev == 'Inline-dev', k_default == 'Inline-default', between == 'x']}\n",
    )
    assert tool.run("apply", "site.yml", "--vault-password-file", "new").code == 0
    assert tool.run("apply", "site.yml", "--vault-password-file", "pw").code == 3


def test_a_value_that_cannot_be_rekeyed_is_said_and_no_file_is_written(tool: Tool) -> None:
    block = tool.run("vault", "encrypt-string", "--vault-id", "dev@pw", "-n", "k", "Inline").out.decode()
    header, *lines = (line.strip() for line in block.splitlines()[1:])
    quoted = '"' + "\\n".join([header, *lines]) + '"'
    wrong = {f"{block}other: !vault {quoted}\n": "not every `!vault` value", "a: 1\n": "nothing in this file",
             "a: [\n": "error[CF0010]", block.replace(lines[1], lines[1][::-1]): "CF0017"}  # fmt: skip
    for text, why in wrong.items():
        first, path = tool.write("first.yml", block), tool.write("second.yml", text)
        files = ("first.yml", "second.yml")
        said = tool.run("vault", "rekey", "--vault-id", "dev@pw", "--new-vault-password-file", "new", *files)
        assert (said.code, why in said.text) == (3, True), said.text
        assert (first.read_text(), path.read_text()) == (block, text)


def test_an_encrypted_value_is_pasted_into_a_playbook_and_works(tool: Tool) -> None:
    said = tool.run("vault", "encrypt-string", "--vault-id", "dev@pw", "--name", "secret", "Pasted-Secret")
    assert said.out.startswith(b"secret: !vault |\n          $ANSIBLE_VAULT;1.2;AES256;dev\n")
    play = "- hosts: localhost\n  tasks:\n    - assert: {that: secret == 'Pasted-Secret'}\n  vars:\n"
    tool.write("play.yml", play + "".join(f"    {line}\n" for line in said.out.decode().splitlines()))
    assert tool.run("apply", "play.yml", "--vault-id", "dev@pw").code == 0
    without = tool.run("apply", "play.yml")
    assert without.code == 3
    assert "CF0017" in without.text


def test_an_editor_sees_plain_text_in_memory_and_leaves_nothing_behind(tool: Tool) -> None:
    tool.run("vault", "encrypt", "--vault-id", "dev@pw", "vars.yml")
    editor = script(tool, "ed", f'stat -c "%a %n" "$1" > {tool.folder}/seen; stat -f -c %T "$1" >> {tool.folder}/seen; '
                                'cp "$1" "$1~"; echo "more: 1" >> "$1"')  # fmt: skip
    process = with_editor(tool, str(editor), "edit", "--vault-id", "dev@pw", "vars.yml")
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    seen, kind = (tool.folder / "seen").read_text().splitlines()
    name = Path(seen.split()[1])
    assert (seen.split()[0], name.name) == ("600", "vars.yml")
    assert kind == "tmpfs" or not os.access("/dev/shm", os.W_OK)
    assert not name.parent.exists()
    shown = tool.run("vault", "view", "--vault-id", "dev@pw", "vars.yml")
    assert shown.out.decode() == TEXT + "more: 1\n"


def test_an_editor_that_fails_changes_nothing(tool: Tool) -> None:
    tool.run("vault", "encrypt", "--vault-id", "dev@pw", "vars.yml")
    before = (tool.folder / "vars.yml").read_bytes()
    editor = script(tool, "ed", 'echo junk > "$1"; exit 1')
    process = with_editor(tool, str(editor), "edit", "--vault-id", "dev@pw", "vars.yml")
    _, err = process.communicate(timeout=90)
    assert (process.returncode, b"the editor ended with 1" in err) == (3, True)
    same = with_editor(tool, "true", "edit", "--vault-id", "dev@pw", "vars.yml")
    assert b"nothing was changed" in same.communicate(timeout=90)[1]
    assert (tool.folder / "vars.yml").read_bytes() == before


def test_a_signal_while_editing_leaves_no_plain_text(tool: Tool) -> None:
    tool.run("vault", "encrypt", "--vault-id", "dev@pw", "vars.yml")
    editor = script(tool, "ed", f'echo "$1" > {tool.folder}/seen.new; mv {tool.folder}/seen.new {tool.folder}/seen; '
                                'exec sleep 600')  # fmt: skip
    process = with_editor(tool, str(editor), "edit", "--vault-id", "dev@pw", "vars.yml")
    wait_for((tool.folder / "seen").exists)
    plain = Path((tool.folder / "seen").read_text().strip())
    assert plain.exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=90) == 143
    assert not plain.parent.exists()


def test_a_password_is_never_asked_for_without_a_terminal(tool: Tool) -> None:
    tool.run("vault", "encrypt", "--vault-id", "a@pw", "vars.yml")
    said = subprocess.run([sys.executable, "-m", "ciflow", "vault", "view", "vars.yml"], cwd=tool.folder,
                          env=tool.env, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # fmt: skip
    assert said.returncode == 3
    assert b"there is no terminal to ask on" in said.stderr


@pytest.mark.parametrize("words", [("view",), ("decrypt",), ("edit",), ("rekey", "--new-vault-password-file", "new")])
def test_that_a_file_is_not_encrypted_is_said_before_a_password_is_asked_for(
    words: tuple[str, ...], tool: Tool
) -> None:
    """Nothing names a password here, and there is no terminal to ask for one on."""
    said = tool.run("vault", *words, "vars.yml")
    assert said.code == 3
    assert "encrypted" in said.text
    assert "no terminal" not in said.text


@pytest.mark.slow
def test_ansible_vault_opens_what_the_command_made(tool: Tool, start: Start) -> None:
    peer = start(ansible_part.ansible(tool.folder / "ansible"))
    tool.run("vault", "encrypt", "--vault-id", "dev@pw", "vars.yml")
    assert peer.run("ansible-vault", "view", "--vault-id", "dev@pw", "vars.yml", folder=tool.folder).decode() == TEXT
    peer.run("ansible-vault", "rekey", "--vault-id", "dev@pw", "--new-vault-id", "x@new", "vars.yml",
             folder=tool.folder)  # fmt: skip
    assert tool.run("vault", "view", "--vault-id", "x@new", "vars.yml").out.decode() == TEXT
