# ruff: noqa: E501
"""Disks that are full, read-only or closed, under the journal and on the host: said in words, nothing lost or repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.parts.tinyfs import tinyfs
from tests.security.tool import Tool


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


def _fill(folder: Path, leave: int) -> Path:
    """A file that takes all the room but `leave` bytes."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    with filler.open("wb") as file:
        file.write(b"x" * max(0, free.f_bavail * free.f_frsize - leave))
    return filler


def assert_each_says(tool: Tool, tasks: list[dict[str, object]], *words: str) -> None:
    """Each task fails and says these words, in a run that goes on."""
    tool.write("play.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    said = tool.run("apply", "play.yml", "--json")
    ends = {
        e["data"]["name"]: e["data"]
        for line in said.out.splitlines()
        if (e := json.loads(line))["kind"] == "task_ended"
    }
    for task in tasks:
        assert ends[str(task["name"])]["status"] == "ignored", ends[str(task["name"])]
        assert all(word in ends[str(task["name"])]["msg"] for word in words), ends[str(task["name"])]


@pytest.mark.fault(12)
def test_a_disk_that_fills_up_under_the_journal_stops_the_run_before_the_next_effect(tool: Tool, start: Start) -> None:
    """What was done is done once, also after there is space again."""
    disk = start(tinyfs(tool.folder / "disk", 2048))
    tool.state = disk / "state"
    steps = 40
    tasks = [{"name": f"Step {n}", "shell": f"echo {n} >> {tool.folder}/log; head -c 60000 /dev/zero | tr '\\0' x"}
             for n in range(steps)]  # fmt: skip
    tool.write("play.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))

    said = tool.run("apply", "play.yml")

    done = (tool.folder / "log").read_text().split()
    print(f"{len(done)} of {steps} steps before the disk was full")
    assert said.code == 1, said.text
    assert "no space left" in said.text and "free some space" in said.text and "Traceback" not in said.text, said.text
    assert 0 < len(done) < steps and done == [str(n) for n in range(len(done))]
    # nobody can free the space but the operator: a larger disk with the same journal
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    again = tool.run("resume")
    assert again.code == 0, again.text
    assert (tool.folder / "log").read_text().split() == [str(n) for n in range(steps)]


@pytest.mark.fault(13)
def test_a_full_disk_on_the_host_is_said_and_leaves_no_part_of_a_file(tool: Tool, start: Start) -> None:
    disk = start(tinyfs(tool.folder / "disk", 256))
    tool.write("large", os.urandom(1024 * 1024))
    tool.write("old", b"old" * 1000)
    (disk / "old").write_bytes(b"before")
    tasks: list[dict[str, object]] = [
        {"name": "Large", "copy": {"src": f"{tool.folder}/large", "dest": f"{disk}/large"}, "ignore_errors": True},
        {"name": "Over an old one", "copy": {"src": f"{tool.folder}/large", "dest": f"{disk}/old"}, "ignore_errors": True},
        {"name": "Content", "copy": {"content": "x" * 400_000, "dest": f"{disk}/content"}, "ignore_errors": True},
        {"name": "A line", "lineinfile": {"path": f"{disk}/line", "line": "y" * 400_000, "create": True}, "ignore_errors": True},
        {"name": "On the host", "copy": {"src": f"{tool.folder}/large", "dest": f"{disk}/there", "remote_src": True}, "ignore_errors": True},
    ]  # fmt: skip
    assert_each_says(tool, tasks, f"{disk}/", "No space left")
    assert {path.name: path.read_bytes() for path in disk.iterdir()} == {"old": b"before"}


@pytest.mark.fault(13)
def test_a_read_only_disk_on_the_host_is_said_and_left_as_it_was(tool: Tool, start: Start) -> None:
    disk = start(tinyfs(tool.folder / "disk", 256))
    (disk / "old").write_bytes(b"before")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    tasks: list[dict[str, object]] = [
        {"name": "New", "copy": {"content": "x", "dest": f"{disk}/new"}, "ignore_errors": True},
        {"name": "Over an old one", "copy": {"content": "x", "dest": f"{disk}/old"}, "ignore_errors": True},
        {"name": "A line", "lineinfile": {"path": f"{disk}/old", "line": "y"}, "ignore_errors": True},
        {"name": "A folder", "file": {"path": f"{disk}/folder", "state": "directory"}, "ignore_errors": True},
        {"name": "Away", "file": {"path": f"{disk}/old", "state": "absent"}, "ignore_errors": True},
    ]  # fmt: skip
    assert_each_says(tool, tasks, "Read-only file system")
    assert {path.name: path.read_bytes() for path in disk.iterdir()} == {"old": b"before"}


def test_a_host_without_room_for_its_journal_says_so_and_works(tool: Tool, start: Start) -> None:
    """The home is full: the agent goes on elsewhere, or without a journal, and warns."""
    tool.home.rmdir()
    disk = start(tinyfs(tool.home, 256))
    _fill(disk, 0)
    tool.write("play.yml", f"- hosts: localhost\n  tasks:\n    - shell: echo x >> {tool.folder}/log\n")
    said = tool.run("apply", "play.yml")
    assert "Traceback" not in said.text
    assert (said.code == 0) == ((tool.folder / "log").exists() and (tool.folder / "log").read_text() == "x\n"), (
        said.text
    )


@pytest.mark.parametrize("how", ["read-only", "below a file", "in a folder that can't be made"])
def test_a_store_that_cannot_be_written_is_refused_before_anything_runs(tool: Tool, start: Start, how: str) -> None:
    if how == "read-only":
        disk = start(tinyfs(tool.folder / "disk", 512))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        tool.state = disk / "state"
    elif how == "below a file":
        tool.write("file", "")
        tool.state = tool.folder / "file" / "state"
    else:
        tool.state = Path("/proc/none/state")
    tool.write("play.yml", f"- hosts: localhost\n  tasks:\n    - shell: echo x >> {tool.folder}/log\n")
    for command in (("apply", "play.yml"), ("resume",), ("status",), ("history",), ("logs",)):
        said = tool.run(*command)
        assert "Traceback" not in said.text, said.text
        if command[0] in ("apply", "resume"):
            assert said.code == 1 and str(tool.state.parent) in said.text, said.text
    assert not (tool.folder / "log").exists()


def test_what_was_recorded_can_be_looked_up_on_a_full_disk(tool: Tool, start: Start) -> None:
    """Whoever comes to see why it is full asks first what has run."""
    disk = start(tinyfs(tool.folder / "disk", 2048))
    tool.state = disk / "state"
    tool.write("play.yml", "- hosts: localhost\n  tasks:\n    - command: echo hello\n")
    assert tool.run("apply", "play.yml").code == 0
    _fill(disk, 0)
    for command in (("status",), ("history",), ("apply", "play.yml"), ("logs",), ("show",), ("status",)):
        said = tool.run(*command)
        assert said.code == (command[0] == "apply"), said.text
    assert "play.yml" in tool.run("history").text


@pytest.mark.fault(26)
@pytest.mark.slow
def test_a_gigabyte_on_each_stream_leaves_memory_bounded_and_the_exit_code_right(tool: Tool) -> None:
    giga = 1 << 30
    tool.write(
        "play.yml",
        f"- hosts: localhost\n  tasks:\n    - name: Much\n      shell: head -c {giga} /dev/zero & head -c {giga} /dev/zero >&2; wait; exit 7\n",
    )
    process = subprocess.Popen([sys.executable, "-m", "ciflow", "apply", "play.yml", "--json"], cwd=tool.folder,
                               env=tool.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    peak = 0
    began = time.monotonic()
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status")
        for line in status.read_text().splitlines() if status.exists() else ():
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]))
        # the pipe is small, and nothing much is written before the end
        if time.monotonic() - began > 240:
            process.kill()
        time.sleep(0.2)
        if process.stdout is not None and not process.stdout.closed:
            os.set_blocking(process.stdout.fileno(), False)
            process.stdout.read()
    assert process.returncode == 4
    print(f"{peak / 1024:.0f} MB at the most, {time.monotonic() - began:.0f} s")
    assert peak / 1024 < 300
