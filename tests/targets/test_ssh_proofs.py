"""How we prove who we are: keys in files and in agents, certificates, passwords, answers to questions."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest

from ciflow.model import Exec
from ciflow.targets.ssh_login import _key_files
from ciflow.targets.ssh_options import Route
from tests.conftest import Start
from tests.parts import process
from tests.parts.accounts import Accounts
from tests.parts.process import wait_for
from tests.parts.sshd import Sshd
from tests.parts.sshd import sshd as start_sshd
from tests.security.tool import Tool
from tests.targets.conftest import ssh_connection
from tests.targets.parley import PROJECT, Parley
from tests.targets.test_ssh import failure, own, says_hello, success

NOWHERE = Route(address="", port=22, user="", keys=None, known_hosts=(), strict="yes")
PROMPTS = """
#include <stdlib.h>
struct message { int style; const char *text; };
struct response { char *text; int code; };
struct conversation { int (*ask)(int, const struct message **, struct response **, void *); void *with; };
int pam_get_item(const void *handle, int item, const void **found);
int pam_sm_authenticate(void *handle, int flags, int argc, const char **argv) {
    const struct conversation *conversation = 0;
    struct message question = { argv[0][0] == 'e' ? 2 : 1, argv[1] };
    const struct message *questions = &question;
    struct response *answers = 0;
    if (pam_get_item(handle, 5, (const void **)&conversation) || !conversation) return 4;
    if (conversation->ask(1, &questions, &answers, conversation->with) || !answers) return 7;
    return answers->text && answers->text[0] == '4' ? 0 : 7;
}
int pam_sm_setcred(void *handle, int flags, int argc, const char **argv) { return 0; }
"""


def key_pair(path: Path, passphrase: str = "") -> Path:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path


@contextlib.contextmanager
def ssh_agent(folder: Path, *keys: Path) -> Iterator[Path]:
    """The socket of an agent that holds these keys; it gets their passphrase from a program."""
    path = folder / "agent"
    with process.run("ssh-agent", ["ssh-agent", "-D", "-a", str(path)], folder, lambda: process.listens(path)):
        ask = folder / "ask"
        ask.write_text("#!/bin/sh\necho open sesame\n")
        ask.chmod(0o700)
        env = {**os.environ, "SSH_AUTH_SOCK": str(path), "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        for key in keys:
            subprocess.run(["ssh-add", str(key)], env=env, check=True, capture_output=True, timeout=90)
        yield path


def accepting(start: Start, tmp_path: Path, key: Path) -> Sshd:
    """A server that lets this key in."""
    settings = {"AuthorizedKeysFile": f"{key}.pub"}
    return start(start_sshd(tmp_path / "own", settings=settings))


def test_a_key_with_a_passphrase_is_opened_by_it_or_by_the_agent(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_pair(home / "locked", "open sesame")
    connection = replace(ssh_connection(accepting(start, tmp_path, key)), private_keys=(str(key),))
    assert "passphrase" in failure(connection).message
    assert "passphrase is another" in failure(replace(connection, passphrase="wrong")).message
    says_hello(replace(connection, passphrase="open sesame"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(start(ssh_agent(tmp_path, key))))
    only = connection.common_args + " -o IdentitiesOnly=yes"
    says_hello(replace(connection, common_args=only))


@pytest.mark.parametrize(
    "form", ["-t rsa -b 2048", "-t rsa -b 2048 -m PKCS8", "-t ecdsa", "-t ecdsa -m PEM", "-t ecdsa -b 384 -m PKCS8"]
)
@pytest.mark.parametrize("passphrase", ["", "open sesame"])
def test_keys_are_read_in_every_form_that_ssh_keygen_writes(home: Path, form: str, passphrase: str) -> None:
    key = home / "key"
    argv = ["ssh-keygen", "-q", *form.split(), "-N", passphrase, "-C", "", "-f", str(key)]
    subprocess.run(argv, check=True, capture_output=True)
    [(_, found)] = _key_files(NOWHERE, (str(key),), passphrase, tried := [])
    assert (tried, found.get_base64()) == ([], Path(f"{key}.pub").read_text().split()[1])
    signed = found.sign_ssh_data(b"x")
    assert found.verify_ssh_sig(b"x", paramiko.Message(signed.asbytes()))
    assert list(_key_files(NOWHERE, (str(key),), "wrong", [])) == [] or not passphrase


def test_no_key_of_a_kind_is_missed_by_chance(home: Path) -> None:
    """paramiko's own reader misses one ECDSA key in four."""
    for number in range(16):
        key = home / f"key{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "", "-f", str(key)], check=True)
        assert len(list(_key_files(NOWHERE, (str(key),), "", []))) == 1


def test_a_key_is_opened_once_for_all_hosts_and_anew_when_its_file_is_another(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening one is made slow on purpose (bcrypt): a thousand hosts would take minutes."""
    key, opened, kind = key_pair(home / "locked", "open sesame"), list[str](), paramiko.Ed25519Key
    read = kind.from_private_key_file

    def count(path: str, password: Any = None) -> paramiko.PKey:
        opened.append(path)
        return read(path, password)

    monkeypatch.setattr(kind, "from_private_key_file", count)
    server = accepting(start, tmp_path, key)
    connection = replace(ssh_connection(server), private_keys=(str(key),), passphrase="open sesame")
    crowd = [Parley(replace(connection, common_args=own(server, number)), project=f"{PROJECT}-{number}")
             for number in range(6)]  # fmt: skip
    for one in crowd:
        one.ready().close()
    assert opened == [str(key)] * 2  # without the passphrase, and with it
    key.unlink()
    key_pair(key)  # the server takes this one from now on
    says_hello(replace(connection, common_args=own(server, 7)))


def test_of_the_agents_keys_none_is_offered_when_only_the_named_ones_may_be(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = key_pair(home / "mine")
    connection = replace(ssh_connection(accepting(start, tmp_path, mine)), private_keys=())
    monkeypatch.setenv("SSH_AUTH_SOCK", str(start(ssh_agent(tmp_path, mine))))
    only = replace(connection, common_args=connection.common_args + " -o IdentitiesOnly=yes")
    assert "refused the login" in failure(only).message
    says_hello(connection)


def test_a_certificate_opens_the_door_and_an_expired_one_does_not(start: Start, home: Path, tmp_path: Path) -> None:
    authority, key = key_pair(home / "authority"), key_pair(home / "mine")
    settings = {"TrustedUserCAKeys": f"{authority}.pub", "AuthorizedKeysFile": "none"}
    server = start(start_sshd(tmp_path / "own", settings=settings))

    def certify(validity: str, name: Path) -> None:
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "root", "-V", validity, f"{key}.pub"]
        subprocess.run(sign, check=True, capture_output=True)
        Path(f"{key}-cert.pub").rename(name)

    connection = replace(ssh_connection(server), private_keys=(str(key),))
    certify("-2h:-1h", home / "over-cert.pub")
    over = replace(connection, common_args=connection.common_args + f" -o CertificateFile={home}/over-cert.pub")
    assert f"{key} with {home}/over-cert.pub" in failure(over).message
    certify("-1h:+1h", home / "good-cert.pub")
    says_hello(replace(over, common_args=over.common_args.replace("over", "good")))
    (home / "good-cert.pub").rename(f"{key}-cert.pub")
    says_hello(replace(connection, name="beside"))


def serve(start: Start, people: Accounts, tmp_path: Path, **settings: str) -> Sshd:
    """Where clerk logs in, by PAM: as most machines do it."""
    pam = people.folder / "etc" / "pam.d" / "sshd"
    pam.write_text("auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n")
    common = {"UsePAM": "yes", "KbdInteractiveAuthentication": "yes"}
    return start(start_sshd(tmp_path / "own", "127.0.0.1", people.clerk, {**common, **settings},
                            people.inside()))  # fmt: skip


def test_a_server_that_asks_for_the_password_is_answered(start: Start, people: Accounts, tmp_path: Path) -> None:
    server = serve(start, people, tmp_path)
    connection = replace(ssh_connection(server), private_keys=(), password=people.clerk.password or "")
    says_hello(connection)
    wrong = failure(replace(connection, name="again", password="wrong"))
    assert "password (keyboard-interactive)" in wrong.message


def test_a_server_that_wants_a_key_and_a_password_gets_both(start: Start, people: Accounts, tmp_path: Path) -> None:
    server = serve(start, people, tmp_path, AuthenticationMethods="publickey,keyboard-interactive")
    connection = ssh_connection(server)
    assert "the server also wants keyboard-interactive" in failure(connection).message
    says_hello(replace(connection, password=people.clerk.password or ""))


def test_the_agent_is_lent_to_the_host_only_when_asked_for(
    start: Start, ssh_hosts: list[Sshd], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_pair(home / "lent")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(start(ssh_agent(tmp_path, key))))
    connection = ssh_connection(ssh_hosts[2])
    listing = Exec(argv=("ssh-add", "-L"), timeout=90)
    without = success(connection)
    assert not without(listing).ok
    without.close()
    lent = success(replace(connection, common_args=connection.common_args + " -A"))
    assert lent(listing).stdout.split()[1] == Path(f"{key}.pub").read_bytes().split()[1]
    lent.close()


# --- which agent, and which keys


@pytest.mark.parametrize(
    "form", ["{path}", '"{path}"', "~/%u/agent", "%d/${{USER_OF_IT}}/agent", "$ELSEWHERE", "SSH_AUTH_SOCK"]
)
def test_the_agent_is_the_one_that_identity_agent_names(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Of two that run; and OpenSSH's own client understands the same words."""
    mine = key_pair(home / "mine")
    server = accepting(start, tmp_path, mine)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    for name in (user, "other"):
        (home / name).mkdir()
    path, other = start(ssh_agent(home / user, mine)), start(ssh_agent(home / "other"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path if form == "SSH_AUTH_SOCK" else other))
    monkeypatch.setenv("ELSEWHERE", str(path))
    monkeypatch.setenv("USER_OF_IT", user)
    (home / ".ssh/config").write_text(f"IdentityAgent {form.format(path=path)}\n")
    connection = replace(ssh_connection(server), private_keys=())
    connection = replace(connection, common_args=f"-o UserKnownHostsFile={server.known_hosts}")
    says_hello(connection)
    (home / ".ssh/config").write_text("IdentityAgent none\n")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    none = replace(connection, name="none", common_args=own(server, 3).removeprefix("-F none"))
    assert "neither a key nor a password" in failure(none).message


def test_a_public_key_names_the_agents_key_that_is_meant(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The private half is not on this disk: it is in the agent alone, as of a hardware token."""
    mine, others = key_pair(home / "mine"), [key_pair(home / f"other{number}") for number in range(8)]
    server = start(start_sshd(tmp_path / "own", settings={"AuthorizedKeysFile": f"{mine}.pub", "MaxAuthTries": "2"}))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(start(ssh_agent(tmp_path, *others, mine))))
    mine.unlink()
    for number, name in enumerate((f"{mine}.pub", str(mine))):
        only = f"{own(server, number)} -o IdentitiesOnly=yes"
        says_hello(replace(ssh_connection(server), private_keys=(name,), common_args=only))


def test_a_certificate_vouches_for_a_key_in_the_agent(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, key = key_pair(home / "authority"), key_pair(home / "mine")
    settings = {"TrustedUserCAKeys": f"{authority}.pub", "AuthorizedKeysFile": "none"}
    server = start(start_sshd(tmp_path / "own", settings=settings))
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "root", "-V", "-1h:+1h", f"{key}.pub"]
    subprocess.run(sign, check=True, capture_output=True)
    Path(f"{key}-cert.pub").rename(home / "signed.pub")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(start(ssh_agent(tmp_path, key))))
    key.unlink()
    only = f"{own(server, 0)} -o IdentitiesOnly=yes -o CertificateFile={home}/signed.pub"
    says_hello(replace(ssh_connection(server), private_keys=(str(key),), common_args=only))


# --- ways that are switched off


def test_a_way_that_is_switched_off_is_not_gone(start: Start, people: Accounts, tmp_path: Path) -> None:
    """The server would take the key, and the password by either way: its log has what it was offered."""
    server = serve(start, people, tmp_path, PasswordAuthentication="yes", LogLevel="VERBOSE")
    connection = replace(ssh_connection(server), password=people.clerk.password or "")
    log = server.folder / "sshd.log"
    off = {
        "PubkeyAuthentication=no": "password",
        "PreferredAuthentications=keyboard-interactive": "keyboard-interactive/pam",
        "PreferredAuthentications=password,publickey": "password",
    }
    for number, (option, way) in enumerate(off.items()):
        says_hello(replace(connection, common_args=f"{own(server, number)} -o {option}"))
        wait_for(lambda way=way: f"Accepted {way} for" in log.read_text(), option)
        assert "Accepted publickey" not in log.read_text()
    neither = "-o PubkeyAuthentication=no -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no"
    assert "refused the login" in failure(replace(connection, common_args=f"{own(server, 9)} {neither}")).message


def test_a_password_that_was_refused_is_not_tried_again_by_another_way(
    start: Start, people: Accounts, tmp_path: Path
) -> None:
    """Whoever counts failures would lock the account twice as soon."""
    server = serve(start, people, tmp_path, PasswordAuthentication="yes")
    assert "tried: password" in failure(replace(ssh_connection(server), private_keys=(), password="wrong")).message
    log = server.folder / "sshd.log"
    wait_for(lambda: "Failed " in log.read_text())
    assert log.read_text().count("Failed ") == 1


def test_proofs_are_given_in_the_order_that_the_server_wants(start: Start, people: Accounts, tmp_path: Path) -> None:
    server = serve(start, people, tmp_path, PasswordAuthentication="yes",
                   AuthenticationMethods="password,publickey")  # fmt: skip
    says_hello(replace(ssh_connection(server), password=people.clerk.password or ""))


# --- questions


def test_a_password_from_a_vault_answers_a_servers_question(start: Start, people: Accounts, tmp_path: Path) -> None:
    """From the command to the host, whose sshd asks by PAM alone; it is in no list of processes and in no output."""
    server, password = serve(start, people, tmp_path), people.clerk.password or ""
    (tmp_path / "tool").mkdir()
    tool = Tool(tmp_path / "tool")
    tool.write("pw", "open sesame\n")
    made = tool.run("vault", "encrypt-string", "--vault-password-file", "pw", "--name", "ansible_password", password)
    assert made.code == 0, made.text
    host = {name: value for name, value in server.variables.items() if name != "ansible_ssh_private_key_file"}
    tool.write("hosts", "h " + " ".join(f'{name}="{value}"' for name, value in host.items()) + "\n")
    tool.write("group_vars/all.yml", made.out)
    tool.write("play.yml", "- hosts: h\n  gather_facts: false\n  tasks:\n    - {name: Who, command: id -un}\n")
    command = ("apply", "play.yml", "-i", "hosts", "-vvv")
    done, seen = tool.watched(*command, "--vault-password-file", "pw")
    assert done.code == 0, done.text
    assert people.clerk.name in done.text
    assert f"Accepted keyboard-interactive/pam for {people.clerk.name}" in (server.folder / "sshd.log").read_text()
    assert password not in done.text and not [one for one in seen if password.encode() in one]
    tool.write("wrong", "another\n")
    shut = tool.run(*command, "--vault-password-file", "wrong")
    assert (shut.code, "CF0017" in shut.text) == (3, True), shut.text


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A PAM module that asks what its arguments say, and takes what begins with 4."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("a C compiler is missing")
    (tmp_path / "prompts.c").write_text(PROMPTS)
    made = tmp_path / "pam_prompts.so"
    argv = [compiler, "-w", "-shared", "-fPIC", "-o", str(made), str(tmp_path / "prompts.c")]
    subprocess.run(argv, check=True, capture_output=True)
    return made


@pytest.mark.parametrize(
    ("asks", "order", "passwords"),
    [("echo [Code of today:]", "after", 1), ("hidden [Verification code:]", "after", 1),
     ("hidden [One-time password (OATH) for `me':]", "before", 0), ("hidden [Name of your cat:]", "after", 1)],
)  # fmt: skip
def test_a_question_that_a_password_is_no_answer_to_is_told(
    start: Start, people: Accounts, tmp_path: Path, prompts: Path, asks: str, order: str, passwords: int
) -> None:
    """And not answered with the password, nor with nothing: the server would count a failure."""
    server = serve(start, people, tmp_path)
    pam = people.folder / "etc" / "pam.d" / "sshd"
    lines = ["auth required pam_unix.so", f"auth required {prompts} {asks}"]
    rest = "account required pam_unix.so\nsession required pam_permit.so\n"
    pam.write_text("\n".join([*(lines if order == "after" else reversed(lines)), rest]))
    told = failure(replace(ssh_connection(server), private_keys=(), password=people.clerk.password or ""))
    assert f"the server asks {asks.partition('[')[2][:-1]!r}" in told.message
    assert ("after the password" in told.message) == bool(passwords)
    assert "AuthenticationMethods" in told.help
    assert (people.clerk.password or "-") not in told.message
