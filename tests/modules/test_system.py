"""Settings of a system by its real tools, in a namespace of its own that is gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.modules.namespace import Ended, enter, played
from tests.modules.peer import ansible_playbook
from tests.parts.process import find as program

pytestmark = pytest.mark.slow


def statuses(ended: list[Ended]) -> list[str]:
    return [one.status for one in ended]


def look(command: str) -> dict[str, Any]:
    return {"shell": command, "changed_when": False}


# --- mount ---------------------------------------------------------------------------------------------


def mount(path: Path, state: str, **more: Any) -> dict[str, Any]:
    return {"ansible.posix.mount": {"path": str(path), "state": state, "fstab": str(path.parent / "fstab"), **more}}


def test_a_file_system_is_mounted_kept_changed_and_taken_away(tmp_path: Path) -> None:
    place = tmp_path / "a place"
    (tmp_path / "fstab").write_text("# mine\nproc /proc proc defaults 0 0")
    kind = {"src": "tmpfs", "fstype": "tmpfs"}
    where = f"findmnt -no FSTYPE,OPTIONS '{place}'"
    tasks = [
        mount(place, "mounted", **kind, opts="size=1m,mode=0700"),
        look(where),
        mount(place, "mounted", **kind, opts="size=1m,mode=0700"),
        mount(place, "mounted", **kind, opts="size=2m,mode=0700"),
        look(where),
        mount(place, "unmounted"),
        mount(place, "unmounted"),
        mount(place, "mounted", **kind, opts="size=2m,mode=0700"),
        mount(place, "remounted"),
        mount(place, "absent"),
        mount(place, "absent"),
        look(f"grep -c '{place}' /proc/self/mounts || true"),
    ]
    ended = played(tmp_path / "play", tasks, "-m")
    expected = ["changed", "ok", "ok", "changed", "ok", "changed", "ok", "changed", "changed", "changed", "ok", "ok"]
    assert statuses(ended) == expected, ended
    assert "size=1024k" in ended[1].outcome["stdout"]
    assert "size=2048k" in ended[4].outcome["stdout"]
    assert ended[-1].outcome["stdout"] == "0"
    assert not place.exists()
    assert (tmp_path / "fstab").read_text() == "# mine\nproc /proc proc defaults 0 0\n"


def test_a_folder_is_bound_to_another_place(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "file").write_text("here")
    to = tmp_path / "deep" / "to"
    bind = {"src": str(tmp_path / "from"), "fstype": "none", "opts": "bind"}
    tasks = [
        mount(to, "ephemeral", **bind),
        look(f"cat {to}/file"),
        mount(to, "ephemeral", **{**bind, "src": "/proc"}),
        mount(to, "unmounted"),
        mount(to, "mounted", **bind),
        mount(to, "mounted", **bind),
        look(f"cat {to}/file"),
        mount(to, "absent_mount"),
    ]
    ended = played(tmp_path / "play", tasks, "-m")
    assert statuses(ended) == ["changed", "ok", "ignored", "changed", "changed", "ok", "ok", "changed"], ended
    assert "mounted on it, not /proc" in ended[2].msg
    assert to.is_dir()


def test_what_can_not_be_mounted_leaves_neither_a_line_nor_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (tmp_path / "fstab").write_text("# mine\n")
    ended = played(tmp_path / "play", [mount(place, "mounted", src="/nope", fstype="ext4")], "-m")
    assert statuses(ended) == ["ignored"]
    assert "Error mounting" in ended[0].msg
    assert (tmp_path / "fstab").read_text() == "# mine\n"
    assert not place.exists()


def test_a_busy_file_system_and_a_full_folder_are_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "under").write_text("kept")
    kind = {"src": "tmpfs", "fstype": "tmpfs"}
    tasks = [
        mount(place, "mounted", **kind),
        {"shell": f"cd {place} && (sleep 60 >/dev/null 2>&1 </dev/null & echo $! > {tmp_path}/pid)"},
        mount(place, "unmounted"),
        look(f"kill $(cat {tmp_path}/pid)"),
        mount(place, "absent"),
    ]
    ended = played(tmp_path / "play", tasks, "-m")
    assert statuses(ended) == ["changed", "changed", "ignored", "ok", "ignored"], ended
    assert "busy" in ended[2].msg
    assert "Error rmdir" in ended[4].msg
    assert (place / "under").read_text() == "kept"


def test_check_mode_mounts_and_writes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (tmp_path / "fstab").write_text("")
    tasks = [mount(place, "mounted", src="tmpfs", fstype="tmpfs")]
    assert statuses(played(tmp_path / "play", tasks, "-m", more=["--check"])) == ["changed"]
    assert (tmp_path / "fstab").read_text() == ""
    assert not place.exists()


# --- sysctl --------------------------------------------------------------------------------------------


def test_a_parameter_is_set_in_the_file_and_in_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "sysctl.conf"
    file.write_text("# mine\nnet.ipv4.ip_default_ttl = 64\n")
    at = {"sysctl_file": str(file)}
    tasks = [
        {"ansible.posix.sysctl": {"name": "net.ipv4.ip_forward", "value": "yes", **at}},
        look("cat /proc/sys/net/ipv4/ip_forward"),
        {"sysctl": {"name": "net.ipv4.ip_forward", "value": "1", **at}},
        look("echo 0 > /proc/sys/net/ipv4/ip_forward"),
        {"sysctl": {"name": "net.ipv4.ip_forward", "value": "1", "sysctl_set": True, "reload": False, **at}},
        look("cat /proc/sys/net/ipv4/ip_forward"),
        {"sysctl": {"name": "net.ipv4.ip_forward", "value": "nine", "sysctl_set": True, "reload": False, **at}},
        {"sysctl": {"name": "net.ipv4.ip_forward", "state": "absent", **at}},
        {"sysctl": {"name": "net.nope", "value": "1", "ignoreerrors": True, **at}},
    ]
    ended = played(tmp_path / "play", tasks, "-n")
    expected = ["changed", "ok", "ok", "ok", "changed", "ok", "ignored", "changed", "changed"]
    assert statuses(ended) == expected, ended
    assert (ended[1].outcome["stdout"], ended[5].outcome["stdout"]) == ("1", "1")
    assert "Invalid argument" in ended[6].msg
    assert file.read_text() == "# mine\nnet.ipv4.ip_default_ttl = 64\nnet.nope=1\n"


# --- iptables ------------------------------------------------------------------------------------------

RULES: list[dict[str, Any]] = [
    {"chain": "INPUT", "protocol": "tcp", "destination_port": "80", "jump": "ACCEPT", "comment": "the web"},
    {"chain": "INPUT", "protocol": "tcp", "destination_port": "80", "jump": "ACCEPT", "comment": "the web"},
    {"chain": "INPUT", "ctstate": ["ESTABLISHED", "RELATED"], "jump": "ACCEPT", "action": "insert"},
    {"chain": "INPUT", "protocol": "tcp", "destination_ports": ["80", "443"], "source": "!10.0.0.0/8", "jump": "DROP"},
    {"chain": "INPUT", "protocol": "icmp", "icmp_type": "8", "jump": "ACCEPT", "action": "insert", "rule_num": "2"},
    {"chain": "INPUT", "limit": "2/second", "limit_burst": "20", "log_prefix": "seen: ", "log_level": "info"},
    {"chain": "INPUT", "protocol": "tcp", "tcp_flags": {"flags": ["ALL"], "flags_set": ["SYN"]}, "jump": "DROP"},
    {"chain": "INPUT", "protocol": "tcp", "syn": "negate", "match": ["tcp"], "reject_with": "tcp-reset"},
    {"chain": "INPUT", "src_range": "192.168.1.100-192.168.1.199", "jump": "ACCEPT", "wait": "5"},
    {"chain": "OUTPUT", "uid_owner": "nobody", "out_interface": "lo", "jump": "DROP"},
    {"chain": "WEB", "chain_management": True},
    {"chain": "WEB", "chain_management": True},
    {"chain": "INPUT", "jump": "WEB", "in_interface": "eth0", "ip_version": "both"},
    {"chain": "PREROUTING", "table": "nat", "protocol": "tcp", "destination_port": "80", "jump": "REDIRECT",
     "to_ports": "8080"},
    {"chain": "POSTROUTING", "table": "nat", "out_interface": "eth0", "jump": "SNAT", "to_source": "192.0.2.1"},
    {"chain": "FORWARD", "policy": "DROP"},
    {"chain": "FORWARD", "policy": "DROP"},
    {"chain": "INPUT", "protocol": "tcp", "destination_port": "80", "jump": "ACCEPT", "comment": "the web",
     "state": "absent"},
    {"chain": "INPUT", "protocol": "tcp", "destination_port": "80", "jump": "ACCEPT", "comment": "the web",
     "state": "absent"},
    {"chain": "OUTPUT", "flush": True},
    {"chain": "NOPE", "jump": "ACCEPT", "protocol": "nope"},
    {"chain": "EMPTY", "chain_management": True},
    {"chain": "EMPTY", "chain_management": True, "state": "absent"},
]  # fmt: skip
SAVE = "(iptables -S; iptables -t nat -S; ip6tables -S)"


def test_rules_are_those_that_ansible_makes(tmp_path: Path) -> None:
    """Both in a network namespace of their own; what the filter then says of itself is compared."""
    program("iptables", "docker")
    theirs = ansible_playbook(tmp_path / "theirs", [{"iptables": rule} for rule in RULES], enter("-n"), after=SAVE)
    ended = played(tmp_path / "ours", [*({"iptables": rule} for rule in RULES), look(SAVE)], "-n")
    assert statuses(ended)[:-1] == theirs.statuses
    assert sorted(ended[-1].outcome["stdout"].splitlines()) == sorted(theirs.after.splitlines())
    assert ended[-1].outcome["stdout"] == theirs.after.strip()


# --- keys ----------------------------------------------------------------------------------------------


def key(folder: Path, name: str) -> str:
    keygen = program("ssh-keygen", "sshd")
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True)
    return (folder / f"{name}.pub").read_text().strip()


def test_authorized_keys_are_what_sshs_own_tool_reads(tmp_path: Path) -> None:
    one, two = key(tmp_path, "one"), key(tmp_path, "two")
    file = tmp_path / "keys" / "root"
    at = {"user": "root", "path": str(file)}

    def task(key: str, **more: Any) -> dict[str, Any]:
        return {"ansible.posix.authorized_key": {**at, "key": key, **more}}

    known = look(f"ssh-keygen -lf {file} | cut -d' ' -f3")
    tasks = [
        task(one),
        task(one),
        task(f"{one}\n{two}"),
        known,
        task(two, key_options='command="echo hi, there",no-pty'),
        task(two, key_options='no-pty,command="echo hi, there"'),
        look(f"cat {file}"),
        task(one, state="absent"),
        task(one, exclusive=True),
        known,
        {"authorized_key": {"user": "nobody-here", "key": one}},
        task("no key"),
    ]
    ended = played(tmp_path / "play", tasks, "-m")
    expected = [
        "changed",
        "ok",
        "changed",
        "ok",
        "changed",
        "ok",
        "ok",
        "changed",
        "changed",
        "ok",
        "ignored",
        "ignored",
    ]
    assert statuses(ended) == expected, ended
    assert ended[3].outcome["stdout_lines"] == ["one", "two"]
    assert ended[6].outcome["stdout_lines"] == [one, f'command="echo hi, there",no-pty {two}']
    assert ended[9].outcome["stdout_lines"] == ["one"]
    assert "nobody-here" in ended[10].msg
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


# --- expect --------------------------------------------------------------------------------------------

ASKS = """
import getpass, sys
name = input("name? ")
first = getpass.getpass("password: ")
second = getpass.getpass("again: ")
third = input("sure? ")
print("hello", name, first == second, third, sys.stdin.isatty())
sys.exit(int(third == "no"))
"""


def test_questions_on_a_terminal_are_answered(tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(ASKS)
    python = shutil.which("python3") or "python3"
    command = f"{python} {tmp_path}/asks.py"
    answers = {"name": "ann", "(?i)password|again": "secret", r"sure\?": ["yes"]}
    tasks = [
        {"expect": {"command": command, "responses": answers}},
        {"expect": {"command": command, "responses": {**answers, r"sure\?": "no"}}},
        {"expect": {"command": command, "responses": {"name": "ann"}, "timeout": 1}},
        {"expect": {"command": command, "responses": {**answers, "(?i)password|again": ["once"]}, "timeout": 20}},
        {"expect": {"command": "/nope/at/all", "responses": {"x": "y"}}},
        {"expect": {"command": f"sh -c 'pwd; touch {tmp_path}/made'", "responses": {"x": "y"}, "chdir": "/usr",
                    "creates": f"{tmp_path}/made"}},
        {"expect": {"command": f"sh -c 'touch {tmp_path}/made'", "responses": {"x": "y"},
                    "creates": f"{tmp_path}/made"}},
    ]  # fmt: skip
    ended = played(tmp_path / "play", tasks, "-m")
    assert statuses(ended) == ["changed", "ignored", "ignored", "ignored", "ignored", "changed", "ok"], ended
    assert ended[0].outcome["stdout_lines"][-1].endswith("hello ann True yes True")
    assert "secret" not in ended[0].outcome["stdout"]
    assert ended[1].outcome["rc"] == 1
    assert ended[2].msg == "command exceeded timeout"
    assert "No remaining responses" in ended[3].msg
    assert ended[4].outcome["rc"] == 127
    assert ended[5].outcome["stdout"] == "/usr"
    assert not [one for one in os.listdir("/proc") if one.isdigit() and _runs(one, "asks.py")]  # noqa: PTH208


def _runs(pid: str, name: str) -> bool:
    try:
        return name in Path("/proc", pid, "cmdline").read_text()
    except OSError:
        return False


def test_many_hosts_write_one_file_at_once_and_no_line_is_lost(tmp_path: Path) -> None:
    """The everyday task: each host's key into the controller's known_hosts."""
    names = [f"web{number}" for number in range(12)]
    line = f"{{{{ inventory_hostname }}}} {' '.join(key(tmp_path, 'one').split()[:2])}"
    task = {"known_hosts": {"name": "{{ inventory_hostname }}", "key": line, "path": str(tmp_path / "known_hosts")}}
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    argv = [sys.executable, "-m", "ciflow", "apply", "play.yml", "-i", ",".join(names), "--state", "state"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(one.split()[0] for one in (tmp_path / "known_hosts").read_text().splitlines()) == sorted(names)
