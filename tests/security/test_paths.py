# ruff: noqa: E501
"""No name that comes from a host, an archive, an inventory or a playbook leads out of the folder it belongs to."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.security.tool import Tool

# --- fetch ---------------------------------------------------------------------------------------------

HOSTS = ["..", ".", "../..", "a/../../b", "/etc", "..\\..", "~root", "-x", "a b", "....//"]


def test_what_is_fetched_stays_below_its_destination(tool: Tool) -> None:
    """Hosts with such names, and sources that climb: all of it lies in dest/."""
    tool.write("source", "content")
    hosts = {name: {"ansible_connection": "local"} for name in HOSTS}
    tool.write("hosts.yml", json.dumps({"all": {"hosts": hosts}}))
    sources = [
        f"{tool.folder}/source",
        f"{tool.folder}/home/../source",
        f"/../../{tool.folder}/source",
        f"//{tool.folder}/./source",
    ]
    (tool.folder / "a" / "b" / "dest").mkdir(parents=True)
    tasks = [{"fetch": {"src": source, "dest": f"{tool.folder}/a/b/dest"}} for source in sources]
    tool.write("play.yml", json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    before = _files(tool)

    said = tool.run("apply", "play.yml", "-i", "hosts.yml")

    new = [path for path in _files(tool) - before if "state" not in path.parts and "home" not in path.parts]
    outside = [str(path) for path in new if not path.is_relative_to(tool.folder / "a" / "b" / "dest")]
    print(f"{len(HOSTS)} names of hosts x {len(sources)} sources, exit {said.code}")
    assert said.code == 0, said.text
    assert not outside, outside


def _files(tool: Tool) -> set[Path]:
    return {path for path in tool.folder.rglob("*") if path.is_file()}


# --- unarchive -----------------------------------------------------------------------------------------

Make = Callable[[Path, str], None]


def _tar(path: Path, members: list[tuple[str, str, str]]) -> None:
    """Members are (kind, name, content or target)."""
    kinds = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "dir": tarfile.DIRTYPE}
    with tarfile.open(path, "w:gz") as archive:
        for kind, name, what in members:
            info = tarfile.TarInfo(name)
            info.type = kinds[kind]
            info.mode = 0o755 if kind == "dir" else 0o644
            content = what.encode() if kind == "file" else b""
            info.size = len(content)
            info.linkname = what if kind in ("link", "hard") else ""
            archive.addfile(info, io.BytesIO(content))


def _zip(path: Path, members: list[tuple[str, str, str]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for kind, name, what in members:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFLNK | 0o777 if kind == "link" else stat.S_IFREG | 0o644) << 16
            archive.writestr(info, what)


def _attacks(victim: str) -> list[list[tuple[str, str, str]]]:
    """Each wants to change or make something in the folder `victim`, which lies outside of the destination."""
    up = "../" * 12
    climbing = [f"{up}{victim.lstrip('/')}/evil", f"{victim}/evil", "../victim/evil", "a/../../victim/evil", "./../victim/evil",
                "..//victim/evil", "a/b/../../../victim/evil", "x\n../victim/evil", "../victim/evil\n", ".. /../victim/evil"]  # fmt: skip
    links = [victim, "../victim", f"{up}{victim.lstrip('/')}", "./../victim/", f"{victim}/precious"]
    found = [[("file", name, "evil")] for name in climbing]
    for target in links:
        found += [
            [("link", "l", target), ("file", "l/evil", "evil")],
            [("link", "l", target), ("file", "l", "evil")],
            [("link", "l", target), ("link", "m", "l"), ("file", "m/evil", "evil")],
            [("dir", "d", ""), ("link", "d/l", target), ("file", "d/l/evil", "evil")],
            [("link", "l", target), ("dir", "l", ""), ("file", "l/evil", "evil")],
            [("link", "l", target), ("file", "l/precious", "evil")],
        ]
    found += [
        [("hard", "h", f"{victim}/precious"), ("file", "h", "evil")],
        [("hard", "h", "../victim/precious"), ("file", "h", "evil")],
    ]
    return found


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("more", [{}, {"mode": "0777", "owner": "nobody"}], ids=["plain", "with attributes"])
def test_archives_change_nothing_outside_their_destination(tool: Tool, kind: str, more: dict[str, str]) -> None:
    """Climbing names, links out of the destination with files behind them, hard links; also with mode and owner,
    which must not reach through a link that the archive has brought."""
    victim = tool.folder / "victim"
    victim.mkdir(mode=0o750)
    (victim / "precious").write_text("precious")
    (victim / "precious").chmod(0o640)
    attacks = _attacks(str(victim))
    if kind == "zip":
        attacks = [[m for m in members if m[0] in ("file", "link")] for members in attacks]
    for number, members in enumerate(attacks):
        warnings.simplefilter("ignore", UserWarning)  # a name that comes twice is meant
        (_tar if kind == "tar" else _zip)(tool.folder / f"{number}.{'tar.gz' if kind == 'tar' else 'zip'}", members)
        (tool.folder / f"dest{number}").mkdir()
    ending = "tar.gz" if kind == "tar" else "zip"
    tasks = [{"unarchive": {"src": f"{tool.folder}/{n}.{ending}", "dest": f"{tool.folder}/dest{n}", "remote_src": True, **more},
              "ignore_errors": True} for n in range(len(attacks))]  # fmt: skip
    tool.write("play.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    looks = _looks(victim)

    said = tool.run("apply", "play.yml")

    print(f"{len(attacks)} {kind} archives")
    assert said.code == 0, said.text
    assert _looks(victim) == looks


def _looks(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        at = path.lstat()
        found[str(path)] = (at.st_mode, at.st_uid, path.read_bytes() if path.is_file() else b"")
    return found


# --- names in a playbook -------------------------------------------------------------------------------

ROLES = [
    "../../x",
    "../victim",
    "/etc",
    "a/../../victim",
    "..",
    ".",
    "x\ny",
    "{{ 'x' }}",
    " ",
    "~/x",
    "a/b/../../..",
    "-x",
]


def test_a_role_s_name_reads_no_folder_that_is_no_role(tool: Tool) -> None:
    """A strange name is an error with a place, in each of the three ways to name a role."""
    files: list[tuple[str, dict[str, Any]]] = []
    for number, name in enumerate(ROLES):
        files += [
            (f"r{number}.yml", {"roles": [name]}),
            (f"i{number}.yml", {"tasks": [{"import_role": {"name": name}}]}),
        ]
    for path, words in files:
        tool.write(path, json.dumps([{"hosts": "localhost", "gather_facts": False, **words}]))
    included = [
        {"include_role": {"name": name}, "ignore_errors": True, "register": f"r{n}"} for n, name in enumerate(ROLES)
    ]
    tool.write("play.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": included}]))

    said = tool.run("validate", *(path for path, _ in files))
    ran = tool.run("apply", "play.yml", "--json")

    print(f"{len(ROLES) * 3} names of roles")
    assert said.code == 3 and "Traceback" not in said.text + ran.text
    assert not [path for path, _ in files if path not in said.text], said.text
    ends = [e["data"]["status"] for line in ran.out.splitlines() if (e := json.loads(line))["kind"] == "task_ended"]
    assert ran.code == 3 or ends == ["ignored"] * len(ROLES), ran.text


NAMES = ["../../x", "/etc/x", "a/b", "..", ".", "x" * 300, "x\ny", "{{ 7*7 }}", "é", "-rf", "~", "$(id)"]


def test_an_artifact_s_name_leads_nowhere(tool: Tool) -> None:
    """It is a name in the journal; the content lies under its digest, wherever the name points to."""
    tool.write("made", "content")
    plays: list[dict[str, object]] = []
    for name in NAMES:
        plays += [
            {"tasks": [], "artifacts": [{"name": name, "path": f"{tool.folder}/made"}]},
            {"tasks": [{"artifact": {"name": name, "dest": f"{tool.folder}/in/"}, "ignore_errors": True}]},
        ]
    tool.write("play.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, **play} for play in plays]))

    said = tool.run("apply", "play.yml")

    print(f"{len(NAMES)} names of artifacts")
    assert said.code == 0, said.text
    assert {path.name for path in tool.folder.iterdir()} <= {"state", "home", "made", "in", "play.yml"}
    assert (tool.folder / "in" / "x").read_text() == "content"


# --- planted links -------------------------------------------------------------------------------------


def test_links_planted_at_temporary_names_are_not_written_through(tool: Tool) -> None:
    """Thirty tasks, each with a link at every name of a temporary file that another run of it would use."""
    victim = tool.write("victim", "precious")
    out = tool.folder / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    tasks = []
    for number in range(10):
        tasks += [{"copy": {"dest": f"{out}/c{number}", "content": f"{number}"}},
                  {"lineinfile": {"path": f"{out}/l{number}", "line": "x", "create": True}},
                  {"file": {"src": str(victim), "dest": f"{out}/s{number}", "state": "link"}}]  # fmt: skip
    tool.write("play.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    seen = _names_written(tool, out)
    for path in out.iterdir():
        path.unlink()
    for name in seen:
        (out / name).symlink_to(victim)

    tool.run("apply", "play.yml")

    print(f"{len(seen)} planted links")
    assert victim.read_text() == "precious"


def _names_written(tool: Tool, out: Path) -> set[str]:
    """Names that appear in a folder while the playbook runs."""
    seen: set[str] = set()
    process = tool.start("apply", "play.yml")
    while process.poll() is None:
        seen |= {path.name for path in out.iterdir() if "ciflow" in path.name}
    process.communicate()
    return seen | {f".c{n}.ciflow-000000000000" for n in range(30)}


# --- folders that somebody else prepared -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["open to all", "another owner", "a link", "a file"])
def test_a_journal_folder_on_the_host_that_is_not_ours_alone_is_not_used(tool: Tool, how: str) -> None:
    """The agent goes on at its second place, and leaves nothing in the first."""
    folder = tool.home / ".local" / "state" / "ciflow"
    folder.parent.mkdir(parents=True)
    if how == "a link":
        (tool.folder / "trap").mkdir(mode=0o700)
        folder.symlink_to(tool.folder / "trap")
    elif how == "a file":
        folder.write_text("")
    else:
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        if how == "another owner":
            folder.chmod(0o700)
            os.chown(folder, 65534, 65534)
    tool.write("play.yml", "- hosts: localhost\n  tasks:\n    - command: echo hello\n")
    said = tool.run("apply", "play.yml", "-v")
    assert said.code == 0, said.text
    left = [] if how == "a file" else list(folder.iterdir())
    assert not left, left


@pytest.mark.parametrize("how", ["another owner", "a file", "a folder with other files"])
def test_a_store_folder_that_is_not_ours_is_refused_and_left_alone(tool: Tool, how: str) -> None:
    """`CIFLOW_STATE=/tmp` must not close /tmp for everybody else."""
    if how == "a file":
        tool.state.write_text("")
    else:
        tool.state.mkdir(mode=0o755)
        tool.state.chmod(0o1777 if how == "a folder with other files" else 0o755)
        (tool.state / "mine.txt").write_text("somebody's")
        if how == "another owner":
            os.chown(tool.state, 65534, 65534)
    mode = tool.state.stat().st_mode
    tool.write("play.yml", "- hosts: localhost\n  tasks:\n    - command: echo hello\n")

    said = tool.run("apply", "play.yml")

    assert said.code == 1 and str(tool.state) in said.text and "Traceback" not in said.text, said.text
    assert tool.state.stat().st_mode == mode
