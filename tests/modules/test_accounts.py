"""Users, groups and the host's name, by the real tools on a machine that is thrown away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.parts.sandbox import Sandbox

pytestmark = pytest.mark.slow
# By `openssl passwd -6 -salt saltsalt one`.
ONE = "$6$saltsalt$kiRCEN9h6.zvW9LfVNgSwgm2787.AP2FffCmRoXgfIr6JNAEomr.2TTu4gXSLZC8ktz9QdSO9U53P04XAACMi1"
EXPIRES = 1422403387  # 2015-01-28 in UTC, which is day 16463


def entry(machine: Sandbox, database: str, key: str) -> list[str]:
    return machine.run("getent", database, key).stdout.strip().split(":")


def test_a_user_is_made_once_and_as_wished(machine: Sandbox) -> None:
    tasks = f"""
- group: {{name: deployers, gid: 1750}}
- user:
    name: bob
    uid: 2001
    comment: Bob B
    groups: [deployers]
    password: {ONE}
    shell: /bin/sh
    home: /srv/deep/home/bob
    expires: {EXPIRES}
    password_expire_max: 10
"""
    first, again = machine.play(tasks), machine.play(tasks)
    assert (first.changed, again.changed) == ([True, True], [False, False])
    told = first.outcomes[1]
    wanted = {"uid": 2001, "group": 2001, "home": "/srv/deep/home/bob", "shell": "/bin/sh", "comment": "Bob B",
              "groups": "deployers", "state": "present", "password": "NOT_LOGGING_PASSWORD"}  # fmt: skip
    assert {key: told[key] for key in wanted} == wanted
    assert entry(machine, "passwd", "bob")[2:] == ["2001", "2001", "Bob B", "/srv/deep/home/bob", "/bin/sh"]
    assert entry(machine, "shadow", "bob")[1] == ONE
    assert entry(machine, "shadow", "bob")[4:8] == ["10", "7", "", "16463"]
    assert entry(machine, "group", "deployers")[2:] == ["1750", "bob"]
    assert machine.run("stat", "-c", "%U %a", "/srv/deep/home/bob").stdout == "bob 755\n"


def test_a_password_is_seen_in_no_argument_and_no_output(machine: Sandbox) -> None:
    """A useradd that tells its arguments stands before the real one."""
    machine.write("/usr/local/bin/chpasswd", '#!/bin/sh\necho "$0 $*" >>/argv\nexec /usr/sbin/chpasswd "$@"\n', "755")
    machine.write("/usr/local/bin/useradd", '#!/bin/sh\necho "$0 $*" >>/argv\nexec /usr/sbin/useradd "$@"\n', "755")
    played = machine.play(f"- user: {{name: bob, password: {ONE}}}\n- user: {{name: bob, password: '!'}}", "-vv")
    assert played.changed == [True, True]
    assert machine.read("/argv").split("\n")[0] == "/usr/local/bin/useradd -m bob"
    assert ONE not in machine.read("/argv")
    assert ONE not in repr(played.results) + played.said


def test_a_password_in_clear_is_refused_before_anything_is_done(machine: Sandbox) -> None:
    played = machine.play("- user: {name: bob, password: hunter2}")
    assert played.code == 4
    assert played.results[-1]["msg"].startswith("password must be a hash")
    assert machine.run("getent", "passwd", "bob", check=False).returncode == 2


def test_groups_are_exactly_those_named_unless_appended(machine: Sandbox) -> None:
    steps: Sequence[tuple[str, bool, str]] = (
        ("{name: bob, groups: [games]}", True, "games"),
        ("{name: bob, groups: [users], append: true}", True, "games users"),
        ("{name: bob, groups: [users], append: true}", False, "games users"),
        ("{name: bob, groups: [users]}", True, "users"),
        ("{name: bob, groups: []}", True, ""),
        ("{name: bob, groups: []}", False, ""),
    )
    played = machine.play("".join(f"- user: {args}\n- command: id -nG bob\n" for args, _, _ in steps))
    told = played.outcomes
    for (args, was_changed, groups), user, ids in zip(steps, told[::2], told[1::2], strict=True):
        assert (user["changed"], ids["stdout"]) == (was_changed, f"bob {groups}".strip()), args


def test_locks_homes_and_keys_are_mended(machine: Sandbox) -> None:
    machine.run("useradd", "--no-create-home", "bob")
    machine.run("usermod", "-p", ONE, "bob")
    tasks = """
- user: {name: bob, password_lock: true}
- user: {name: bob, password_lock: true}
- user: {name: bob, password_lock: false}
- user: {name: bob, expires: -1, generate_ssh_key: true, ssh_key_type: ed25519, ssh_key_passphrase: deep secret}
- user: {name: bob, generate_ssh_key: true, ssh_key_type: ed25519}
- user: {name: bob, home: /home/robert, move_home: true}
"""
    played = machine.play(tasks)
    assert played.changed == [True, False, True, True, False, True]
    assert entry(machine, "shadow", "bob")[1] == ONE
    key = played.outcomes[3]
    assert key["ssh_public_key"] == machine.read("/home/robert/.ssh/id_ed25519.pub").strip()
    opened = machine.run("ssh-keygen", "-y", "-P", "deep secret", "-f", "/home/robert/.ssh/id_ed25519")
    assert opened.stdout.split()[:2] == key["ssh_public_key"].split()[:2], "the passphrase opens it"
    assert machine.run("stat", "-c", "%U %a", "/home/robert/.ssh", "/home/robert/.ssh/id_ed25519").stdout == (
        "bob 700\nbob 600\n"
    )


def test_check_mode_foresees_and_touches_nothing(machine: Sandbox) -> None:
    before = machine.run("md5sum", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/hostname").stdout
    tasks = """
- group: {name: deployers}
- user: {name: bob}
- user: {name: daemon, comment: another}
- user: {name: daemon, comment: daemon}
- user: {name: daemon, state: absent}
- group: {name: nobodys, state: absent}
- hostname: {name: web7}
"""
    assert machine.play(tasks, "--check").changed == [True, True, True, False, True, False, True]
    assert machine.run("md5sum", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/hostname").stdout == before


def test_users_and_groups_go_away_once(machine: Sandbox) -> None:
    tasks = """
- user: {name: bob}
- group: {name: bob, state: absent}
  ignore_errors: true
- user: {name: bob, state: absent, remove: true}
- user: {name: bob, state: absent, remove: true}
- group: {name: games, state: absent, force: true}
- group: {name: games, state: absent}
"""
    played = machine.play(tasks)
    assert played.changed == [True, False, True, False, True, False]
    assert "cannot remove the primary group" in played.outcomes[1]["msg"]
    assert machine.run("test", "-e", "/home/bob", check=False).returncode == 1


def test_what_the_name_service_knows_becomes_facts(machine: Sandbox) -> None:
    tasks = """
- getent: {database: passwd, key: root}
- getent: {database: group}
- getent: {database: passwd, key: nope, fail_key: false}
- assert:
    that:
      - getent_passwd.nope is none
      - ansible_facts.getent_group.root[1] == '0'
      - ansible_facts.distribution is defined
"""
    assert machine.play(tasks).changed == [False, False, False, False]
    lost = machine.play("- getent: {database: passwd, key: nope}")
    assert lost.results[-1]["msg"] == "One or more supplied key could not be found in the database."


def test_a_host_is_called_otherwise_now_and_after_a_boot(machine: Sandbox) -> None:
    tasks = "- hostname: {name: web7.example.com}\n- hostname: {name: web7.example.com}"
    played = machine.play(tasks)
    assert played.changed == [True, False]
    assert played.outcomes[0]["ansible_facts"]["ansible_hostname"] == "web7"
    assert (machine.run("uname", "-n").stdout, machine.read("/etc/hostname")) == ("web7.example.com\n",) * 2
