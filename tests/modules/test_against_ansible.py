"""The same task by Ansible's module and by ours, on two equal trees: the same files are left, the same is told."""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.modules.host import Host
from tests.modules.peer import Ansible, ansible
from tests.parts.process import find as program

pytestmark = pytest.mark.slow
Trees = tuple[Path, Path]


@pytest.fixture
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return ansible(tmp_path_factory.mktemp("ansible"))


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    """(theirs, ours)"""
    found = tmp_path / "theirs", tmp_path / "ours"
    for one in found:
        one.mkdir()
    return found


def make_tree(root: Path, dice: random.Random) -> None:
    """Files, folders, links of many ages, sizes and modes, some hidden."""
    folders = [root]
    for number in range(60):
        folder = dice.choice(folders)
        path = folder / (
            dice.choice(["", "", "."]) + f"{dice.choice('abc')}{number}{dice.choice(['.log', '.txt', ''])}"
        )
        match dice.randrange(6):
            case 0:
                path.mkdir()
                folders.append(path)
                continue
            case 1:
                path.symlink_to(dice.choice([root, *folders]))
                continue
            case _:
                path.write_bytes(dice.choice([b"", b"error: x\n", b"an error\n", b"a\nerror\n", b"z" * 3000]))
        path.chmod(dice.choice([0o600, 0o644, 0o755]))
        age = dice.choice([0, 7200, 5 * 86400])
        os.utime(path, (path.stat().st_mtime - age,) * 2)


CHOICES: dict[str, list[Any]] = {
    "patterns": [["*.log"], ["a*", "*.txt"], ["*[0-5]*"]],
    "excludes": [["*1*"], ["b*", "*.txt"]],
    "contains": ["error", ".*error", "z+$"],
    "read_whole_file": [True],
    "age": ["1h", "-1h", "2d", "-30m", "0"],
    "size": ["1k", "-1k", "0", "-9b"],
    "file_type": ["any", "directory", "file", "link"],
    "recurse": [True, True, True, False],
    "hidden": [True],
    "mode": ["0644", "u=rw", "0111"],
    "exact_mode": [False],
    "get_checksum": [True],
    "checksum_algorithm": ["sha256"],
    "depth": [1, 2],
}


@pytest.mark.parametrize("seed", range(24))
def test_find_finds_what_ansible_finds(host: Host, theirs: Ansible, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    make_tree(tmp_path / "tree", dice) if (tmp_path / "tree").mkdir() is None else None
    args = {name: dice.choice(values) for name, values in CHOICES.items() if dice.random() < 0.35}
    if seed % 6 == 0:
        args |= {"use_regex": True, "patterns": [r"a\d+", r".*\.log$"], "excludes": ["a1"]}
    args["paths"] = [str(tmp_path / "tree"), str(tmp_path / "nowhere")]
    expected, outcome = theirs.task("find", **args), host.task("find", args)
    told = {one["path"]: one for one in outcome.data["files"]}
    wanted = {one["path"]: one for one in expected["files"]}
    assert set(told) == set(wanted), args
    for path, one in wanted.items():
        known = {key: value for key, value in one.items() if key != "atime"}
        assert {key: told[path].get(key) for key in known} == known
    assert outcome.data["matched"] == expected["matched"]
    assert set(outcome.data["skipped_paths"]) == set(expected["skipped_paths"])


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"delimiter": "---"},
        {"delimiter": r"\n# next\n"},
        {"regexp": r"^\d"},
        {"ignore_hidden": True, "mode": "0600"},
        {"validate": "grep -q one %s"},
        {"validate": "grep -q nine %s"},
    ],
)
def test_assemble_makes_the_file_that_ansible_makes(
    host: Host, theirs: Ansible, trees: Trees, args: dict[str, Any]
) -> None:
    for root in trees:
        (root / "parts" / "deep").mkdir(parents=True)
        for name, text in {"1": "one", "2": "two\n", "a": "three", ".b": "hidden\n", "3": ""}.items():
            (root / "parts" / name).write_text(text)
        (root / "parts" / "link").symlink_to("1")
    for _ in range(2):
        expected, outcome = (
            act({"src": str(root / "parts"), "dest": str(root / "whole"), **args})
            for act, root in (
                (lambda a: theirs.task("assemble", **a), trees[0]),
                (lambda a: host.task("assemble", a), trees[1]),
            )
        )
        assert outcome.changed == expected.get("changed", False)
        assert outcome.failed == bool(expected.get("failed"))
        assert outcome.failed or outcome.data["checksum"] == expected["checksum"]
        assert content(trees[1] / "whole") == content(trees[0] / "whole")


def content(path: Path) -> tuple[bytes, int] | None:
    return (path.read_bytes(), path.stat().st_mode) if path.exists() else None


JOBS: list[dict[str, Any]] = [
    {"name": "tidy", "job": "/bin/tidy", "minute": "5"},
    {"name": "tidy", "job": "/bin/tidy", "minute": "5"},
    {"name": "MAILTO", "job": "ops", "env": True},
    {"name": "PATH", "value": "/bin", "env": True, "insertafter": "MAILTO"},
    {"name": "HOME", "value": "/", "env": True, "insertbefore": "PATH"},
    {"name": "boot", "job": "/bin/boot\n", "special_time": "reboot"},
    {"name": "tidy", "job": "/bin/tidy -q", "hour": "1", "weekday": "1-5", "disabled": True},
    {"name": "named", "job": "unnamed", "minute": "1"},
    {"name": "named", "job": "unnamed", "minute": "1", "month": "2"},
    {"name": "boot", "state": "absent"},
    {"name": "nobody", "state": "absent"},
    {"name": "MAILTO", "state": "absent", "env": True},
    {"name": "x", "job": "y", "special_time": "daily", "hour": "1"},
    {"name": "x y", "job": "z", "env": True},
    {"name": "x", "job": "z", "env": True, "insertafter": "NOPE"},
    {"name": "tidy", "state": "absent"},
    {"name": "named", "state": "absent"},
    {"name": "HOME", "state": "absent", "env": True},
    {"name": "PATH", "state": "absent", "env": True},
]


def same_in_turn(
    tasks: list[dict[str, Any]],
    their_task: Callable[[dict[str, Any]], dict[str, Any]],
    our_task: Callable[[dict[str, Any]], Any],
    state: Callable[[], tuple[Any, Any]],
) -> None:
    """Each task by both: the same said, and the same left after each."""
    for args in tasks:
        expected, outcome = their_task(args), our_task(args)
        assert (outcome.changed, outcome.failed) == (expected.get("changed", False), bool(expected.get("failed"))), args
        for key in {"jobs", "envs"} & set(expected):
            assert outcome.data[key] == expected[key], args
        left = state()
        assert left[0] == left[1], args


def test_a_file_of_cron_d_is_left_as_ansible_leaves_it(
    host: Host, trees: Trees, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "crontab").symlink_to(shutil.which("true") or "/bin/true")  # asked for, and never run
    theirs = ansible(tmp_path_factory.mktemp("ansible"), str(tmp_path / "bin"))
    files = [root / "app" for root in trees]
    for file in files:
        file.write_text("1 * * * * root unnamed")
    tasks = [args | {"user": "root"} for args in JOBS]
    same_in_turn(
        tasks,
        lambda args: theirs.task("cron", cron_file=str(files[0]), **args),
        lambda args: host.task("cron", args | {"cron_file": str(files[1]), "job": args.get("job", args.get("value"))}),
        lambda: (content(files[0]), content(files[1])),
    )


def test_a_crontab_is_left_as_ansible_leaves_it(
    host: Host, trees: Trees, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By the crontab of busybox, which can be told another folder than the machine's own."""
    busybox = program("busybox", "busybox")
    bins = []
    for root in trees:
        (root / "spool").mkdir()
        (root / "bin").mkdir()
        (root / "bin" / "crontab").write_text(f'#!/bin/sh\nexec {busybox} crontab -c {root / "spool"} "$@"\n')
        (root / "bin" / "crontab").chmod(0o755)
        bins.append(str(root / "bin"))
    theirs = ansible(tmp_path_factory.mktemp("ansible"), bins[0])
    same_in_turn(
        JOBS,
        lambda args: theirs.task("cron", **args),
        lambda args: host.task(
            "cron",
            args | {"job": args.get("job", args.get("value"))},
            environment={"PATH": f"{bins[1]}:{os.environ['PATH']}"},
        ),
        lambda: (content(trees[0] / "spool" / "root"), content(trees[1] / "spool" / "root")),
    )


def a_key(number: int) -> str:
    """The line of an ed25519 key (RFC 8709, section 4): its name and 32 bytes, each with its length before it."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes([number]) * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


HOSTS = "# mine\nweb1,10.0.0.1 {1}\n*.example.com,!no.example.com {2}\n[web2]:2222 {2}\n@revoked web1 {3}\nweb3 {4}\n"
KNOWN: list[dict[str, Any]] = [
    {"name": "web1", "key": f"web1 {a_key(1)}"},
    {"name": "web1", "key": f"web1 {a_key(1)}"},
    {"name": "web1", "key": f"web1 {a_key(5)} a comment"},
    {"name": "new", "key": f"new {a_key(6)}\n"},
    {"name": "Web3", "key": f"web3 {a_key(4)}"},
    {"name": "[web2]:2222", "key": f"[web2]:2222 {a_key(2)}"},
    {"name": "a.example.com", "key": f"a.example.com {a_key(2)}"},
    {"name": "no.example.com", "key": f"no.example.com {a_key(2)}"},
    {"name": "web1", "key": f"web2 {a_key(1)}"},
    {"name": "web1"},
    {"name": "a,b", "key": f"a,b {a_key(1)}"},
    {"name": "web3", "key": f"web3 {a_key(4)}", "state": "absent"},
    {"name": "web3", "key": f"web3 {a_key(4)}", "state": "absent"},
    {"name": "web1", "state": "absent"},
    {"name": "nobody", "state": "absent"},
    {"name": "[web2]:2222", "state": "absent"},
]


def test_known_hosts_are_left_as_ansible_leaves_them(host: Host, theirs: Ansible, trees: Trees) -> None:
    program("ssh-keygen", "sshd")  # what Ansible's module calls
    files = [root / "known_hosts" for root in trees]
    for file in files:
        file.write_text(HOSTS.replace("{", "{0[").replace("}", "]}").format([a_key(n) for n in range(9)]))
    same_in_turn(
        KNOWN,
        lambda args: theirs.task("known_hosts", path=str(files[0]), **args),
        lambda args: host.task("known_hosts", args | {"path": str(files[1])}),
        lambda: (files[0].read_text(), files[1].read_text()),
    )


def test_a_hashed_name_is_found_by_ssh_and_by_us(host: Host, theirs: Ansible, trees: Trees) -> None:
    keygen = program("ssh-keygen", "sshd")
    file, args = trees[1] / "known_hosts", {"name": "web1", "key": f"web1 {a_key(1)}", "hash_host": True}
    assert host.task("known_hosts", args | {"path": str(file)}, seed="one").changed
    assert not host.task("known_hosts", args | {"path": str(file)}, seed="two").changed
    assert theirs.task("known_hosts", path=str(file), **args)["changed"] is False
    assert "web1" not in file.read_text()
    assert subprocess.run([keygen, "-F", "web1", "-f", str(file)], check=False, capture_output=True).returncode == 0
    assert host.task("known_hosts", {"name": "web1", "state": "absent", "path": str(file)}).changed
    assert file.read_text() == ""
