"""Folders that we make on the way to our own: who may write in one of them could put another in its place."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.security.tool import Tool

PLAY = "- hosts: h\n  tasks:\n    - command: echo hi\n"


@pytest.mark.parametrize("python", ["auto", "none"])
@pytest.mark.parametrize("umask", [0, 0o077])
def test_no_folder_on_the_way_is_open_to_others_whatever_the_umask(tool: Tool, python: str, umask: int) -> None:
    """With an agent in Python, and with one in sh."""
    tool.write("hosts", f"h ansible_connection=local ansible_python_interpreter={python}\n")
    tool.write("play.yml", PLAY)
    env = {**tool.env, "CIFLOW_STATE": str(tool.folder / "deep/er/state")}
    command = [sys.executable, "-m", "ciflow", "apply", "play.yml", "-i", "hosts"]
    done = subprocess.run(command, cwd=tool.folder, env=env, umask=umask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [path for top in (tool.home, tool.folder / "deep") for path in top.rglob("*") if path.is_dir()]
    assert tool.home / ".local/state/ciflow" in made
    assert [oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o022] == []
    assert (tool.folder / "deep/er/state").stat().st_mode & 0o777 == 0o700
