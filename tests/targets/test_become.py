"""Becoming somebody else on a host, with the real sudo, su and doas, here and through a real sshd.

Users, sudoers and doas.conf are those of a namespace: the machine's own are not touched.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.parts import process
from tests.parts.accounts import CIFLOW, CIFLOW_ENV, Accounts, accounts
from tests.parts.sshd import User, sshd
from tests.typist import typing_to

CLERK, OTHER = "s3cret é pw'\"$x", "0ther pa55"
pytestmark = pytest.mark.slow
WHO = "{name: Who, command: id -un}"
AS_OTHER = "{name: Other, command: id -un, become_user: other}"
AS_SELF = "{name: Self, command: id -un, become: false}"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    with accounts(tmp_path_factory.mktemp("people") / "ns", [("clerk", CLERK), ("other", OTHER)]) as found:
        yield found


@dataclass
class Desk:
    """Clerk's place: a folder, a journal, and a host that is reached as clerk."""

    people: Accounts
    host: dict[str, Any]

    def apply(self, tasks: str, *words: str, play: str = "", **variables: Any) -> Done:
        home = self.people.home / "clerk"
        (home / "hosts.json").write_text(json.dumps({"all": {"hosts": {"h": {**self.host, **variables}}}}))
        (home / "play.yml").write_text(f"- hosts: h\n{play}  tasks:\n{tasks}")
        for name in ("hosts.json", "play.yml"):
            (home / name).chmod(0o644)
        return self.ciflow("apply", "play.yml", "-i", "hosts.json", "--json", *words)

    def ciflow(self, *words: str) -> Done:
        argv = (*CIFLOW, *words)
        began = time.monotonic()
        line = f"cd ~ && exec {' '.join(map(_quoted, argv))}"
        env = {**CIFLOW_ENV, "CIFLOW_STATE": "/home/clerk/state"}
        done = self.people.run("/bin/sh", "-c", line, user="clerk", env=env)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return Done(done.returncode, events, done.stdout + done.stderr, time.monotonic() - began)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


@dataclass
class Done:
    code: int
    events: list[dict[str, Any]]
    text: str
    took: float

    @property
    def stdout(self) -> list[str]:
        ends = [event["data"] for event in self.events if event["kind"] == "task_ended"]
        return [end["outcome"].get("stdout", end["status"]) for end in ends]

    @property
    def said(self) -> str:
        ends = [event["data"] for event in self.events if event["kind"] == "task_ended"]
        return "\n".join(f"{end['status']}: {end['msg']} {end['outcome'].get('help', '')}" for end in ends)


@pytest.fixture(params=["local", "ssh"])
def desk(request: pytest.FixtureRequest, people: Accounts, tmp_path: Path) -> Iterator[Desk]:
    people.sudoers("clerk ALL=(ALL) ALL")
    if request.param == "local":
        yield Desk(people, {"ansible_connection": "local"})
        return
    with sshd(tmp_path / "sshd", user=User("clerk"), inside=people.inside()) as server:
        home = people.home / "clerk"
        for name, source in (("key", server.key), ("known", server.known_hosts)):
            (home / name).write_bytes(source.read_bytes())
            os.chown(home / name, home.stat().st_uid, home.stat().st_gid)
            (home / name).chmod(0o600)
        yield Desk(people, {
            "ansible_host": server.address, "ansible_port": server.port, "ansible_user": "clerk",
            "ansible_ssh_private_key_file": "/home/clerk/key",
            "ansible_ssh_common_args": "-o UserKnownHostsFile=/home/clerk/known",
        })  # fmt: skip


BECOME = "  become: true\n"
LONG = 300  # seconds that a host is given, so that whoever waits for them is told from one that is slow


def test_sudo_with_a_password_makes_root_and_others(desk: Desk) -> None:
    tasks = f"    - {WHO}\n    - {AS_OTHER}\n    - {AS_SELF}\n"
    done = desk.apply(tasks, play=BECOME, ansible_become_password=CLERK)
    assert (done.code, done.stdout) == (0, ["root", "other", "clerk"]), done.text


def test_files_of_an_unprivileged_user_are_written_as_that_user(desk: Desk) -> None:
    """Ansible can't do this without ACLs: it hands files from one user to the other."""
    tasks = (
        "    - {name: Write, copy: {dest: /home/other/note, content: 'hello', mode: '0600'}, become_user: other}\n"
        "    - {name: Look, command: stat -c '%U %a' /home/other/note, become_user: root}\n"
    )
    done = desk.apply(tasks, play=BECOME, ansible_become_password=CLERK)
    assert done.code == 0, done.text
    assert done.stdout[1] == "other 600"


def test_su_is_given_the_password_of_whom_it_makes(desk: Desk) -> None:
    how = BECOME + "  become_method: su\n  become_user: other\n"
    assert desk.apply(f"    - {WHO}\n", play=how, ansible_become_password=OTHER).stdout == ["other"]


@pytest.mark.parametrize("method", ["sudo", "su"])
def test_a_wrong_password_fails_the_task_and_says_so_soon(desk: Desk, method: str) -> None:
    how = BECOME + f"  become_method: {method}\n"
    tasks = f"    - block: [{WHO}]\n      rescue: [{{name: Mend, debug: {{msg: mended}}}}]\n"
    done = desk.apply(tasks, play=how, ansible_become_password="not this", ansible_timeout=LONG)
    assert f"failed: h: the password for root by {method} was refused" in done.said
    assert "mended" in done.said
    assert done.code == 0
    assert done.took < LONG, "it neither waits for a time-out nor tries again"


@pytest.mark.parametrize("method", ["sudo", "su"])
def test_a_missing_password_is_asked_for_by_name(desk: Desk, method: str) -> None:
    done = desk.apply(f"    - {WHO}\n", play=BECOME + f"  become_method: {method}\n")
    assert done.code == 4
    assert f"failed: h: a password is needed to become root by {method}" in done.said
    assert "-K" in done.said


def test_become_exe_replaces_the_program(desk: Desk) -> None:
    """By a path, and by Ansible users' well-known words for an account that may only `sudo su`."""
    desk.people.sudoers("clerk ALL=(ALL) NOPASSWD: /usr/bin/su")
    tasks = (
        "    - {name: Words, command: id -un, become_method: su, become_exe: sudo su -, become_user: other}\n"
        "    - {name: Variable, command: id -un, become_method: su, vars: {ansible_su_exe: sudo su -}}\n"
        "    - {name: Path, command: id -un, become_method: sudo, become_exe: /usr/bin/nosuchsudo}\n"
    )
    done = desk.apply(tasks, play=BECOME)
    assert done.stdout[:2] == ["other", "root"]
    assert "/usr/bin/nosuchsudo" in done.said


def test_flags_that_forbid_a_question_give_way_to_a_password(desk: Desk) -> None:
    """As in Ansible, whose own default flags are `-H -S -n`."""
    done = desk.apply(f"    - {WHO}\n", play=BECOME + "  become_flags: -H -S -n\n", ansible_become_password=CLERK)
    assert done.stdout == ["root"]


def test_the_command_line_says_who_where_no_keyword_and_no_variable_does(desk: Desk) -> None:
    secret = desk.people.home / "clerk" / "pw"
    secret.write_text(CLERK + "\n")
    secret.chmod(0o644)
    tasks = f"    - {WHO}\n    - {AS_OTHER}\n    - {AS_SELF}\n"
    given = ("-b", "--become-password-file", "pw")
    assert desk.apply(tasks, *given).stdout == ["root", "other", "clerk"]
    assert desk.apply(tasks, *given, "--become-user", "other").stdout == ["other", "other", "clerk"]
    assert desk.apply(f"    - {WHO}\n", *given, ansible_become=False).stdout == ["clerk"]


def test_the_password_stands_nowhere(desk: Desk) -> None:
    """Not in what is printed, the journal, the agent's folder, the arguments or the environment of any process."""
    desk.people.run("rm", "-rf", "/home/clerk/state")
    look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | base64 -w0"
    tasks = f"    - {WHO}\n    - {{name: Look, shell: '{look}'}}\n"
    secret = desk.people.home / "clerk" / "pw"
    secret.write_text("Tr0ub4dor-and-3\n")
    desk.people.run("chpasswd", input="clerk:Tr0ub4dor-and-3\n")
    try:
        done = desk.apply(tasks, "--become-password-file", "pw", "-vv", play=BECOME)
    finally:
        desk.people.run("chpasswd", input=f"clerk:{CLERK}\n")
        secret.unlink()
    assert done.code == 0, done.text
    processes = base64.b64decode(done.stdout[1])
    assert b"PYTHONPATH" in processes, "it did look"
    assert b"Tr0ub4dor" not in processes
    assert "Tr0ub4dor" not in done.text
    kept = [path for path in (desk.people.home / "clerk").rglob("*") if path.is_file()]
    assert any("state" in path.parts for path in kept)
    assert [path for path in kept if b"Tr0ub4dor" in path.read_bytes()] == []


def test_a_password_that_is_typed_makes_root_and_is_not_shown(desk: Desk) -> None:
    desk.apply("    - ping:\n")  # leaves the inventory
    (desk.people.home / "clerk" / "play.yml").write_text(f"- hosts: h\n  tasks:\n    - {WHO}\n")
    line = "cd ~ && exec " + " ".join((*CIFLOW, "apply", "play.yml", "-i", "hosts.json", "-b", "-K", "-vv"))
    argv = desk.people.inside("/bin/sh", "-c", line, user="clerk")
    env = {**CIFLOW_ENV, "CIFLOW_STATE": "/home/clerk/state", "HOME": "/home/clerk"}
    with typing_to(argv, Path("/"), env) as typist:
        typist.sees("BECOME password: $")
        typist.types(CLERK)
        typist.sees("root")
        assert typist.ends() == 0
        assert CLERK not in typist.shown


def test_a_resumed_run_has_the_password_still(desk: Desk) -> None:
    """Sealed with the run: nobody has to give it again."""
    desk.people.run("rm", "-rf", "/home/clerk/state", "/home/clerk/go")
    secret = desk.people.home / "clerk" / "pw"
    secret.write_text(CLERK + "\n")
    secret.chmod(0o644)
    tasks = f"    - {WHO}\n    - {{name: Wait, command: test -e /home/clerk/go}}\n    - {AS_OTHER}\n"
    assert desk.apply(tasks, "-b", "--become-password-file", "pw").code == 4
    secret.unlink()
    (desk.people.home / "clerk" / "go").touch()
    done = desk.ciflow("resume", "--json")
    assert (done.code, done.stdout[-1]) == (0, "other"), done.text


# --- doas -----------------------------------------------------------------------------------------------


@pytest.fixture
def doas(desk: Desk) -> str:
    program = process.find("doas", "doas")
    desk.people.doas("permit clerk")
    return f"  become: true\n  become_method: doas\n  become_exe: {program}\n"


def test_doas_is_given_its_password_at_a_terminal(desk: Desk, doas: str) -> None:
    every_byte = bytes(range(256)) * 400
    (desk.people.home / "clerk" / "bytes").write_bytes(every_byte)
    tasks = f"    - {WHO}\n    - {AS_OTHER}\n    - copy: {{src: bytes, dest: /home/other/bytes, mode: '0600'}}\n"
    done = desk.apply(tasks, play=doas, ansible_become_password=CLERK)
    assert done.stdout[:2] == ["root", "other"], done.said
    copied = desk.people.home / "other" / "bytes"
    assert copied.read_bytes() == every_byte, "what is binary goes through no terminal"
    copied.unlink()


def test_doas_says_soon_that_a_password_is_wrong_or_missing(desk: Desk, doas: str) -> None:
    wrong = desk.apply(f"    - {WHO}\n", play=doas, ansible_become_password="not this", ansible_timeout=LONG)
    assert "failed: h: the password for root by doas was refused" in wrong.said
    assert wrong.took < LONG
    assert "failed: h: a password is needed to become root by doas" in desk.apply(f"    - {WHO}\n", play=doas).said


def test_doas_that_wants_no_password_gets_none(desk: Desk, doas: str) -> None:
    desk.people.doas("permit nopass clerk")
    for password in ("", "not needed"):
        assert desk.apply(f"    - {WHO}\n", play=doas, ansible_become_password=password).stdout == ["root"]
