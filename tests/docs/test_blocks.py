"""What the manual shows is true: its playbooks validate, and its commands print what stands below them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Fence, fences, missing

ALL = [fence for page in PAGES for fence in fences(page)]
PLAYBOOKS = [fence for fence in ALL if "playbook" in fence.words]
SHELLS = [fence for fence in ALL if fence.is_shell]


def above(fence: Fence) -> Iterator[Fence]:
    """Blocks of the same page that it may build on."""
    return (one for one in ALL if one.page == fence.page and one.line <= fence.line)


def write_files(fence: Fence, folder: Path) -> None:
    for one in above(fence):
        if name := one.words.get("file"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(one.body)


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a person would type it, with a home and a journal of its own."""
    path = folder / "bin"
    path.mkdir(exist_ok=True)
    program = path / "ciflow"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ciflow "$@"\n')
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CIFLOW_"))}
    env = {**kept, "HOME": str(folder / "home"), "CIFLOW_STATE": str(folder / "state"), "PYTHONPATH": str(ROOT),
           "PATH": f"{path}:{os.environ['PATH']}"}  # fmt: skip
    (folder / "home").mkdir(exist_ok=True)
    return subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("fence", PLAYBOOKS, ids=lambda fence: fence.name)
def test_a_playbook_of_the_manual_validates(fence: Fence, tmp_path: Path) -> None:
    write_files(fence, tmp_path)
    name = fence.words.get("file", "playbook.yml")
    (tmp_path / name).write_text(fence.body)
    inventory = " -i hosts" if (tmp_path / "hosts").exists() else ""
    done = shell(f"ciflow validate {name}{inventory}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"plays?, (nothing wrong|no errors)$", done.stderr.strip())
    assert "hint[" not in done.stderr


@pytest.mark.parametrize("fence", SHELLS, ids=lambda fence: fence.name)
def test_a_command_of_the_manual_does_what_stands_there(fence: Fence, tmp_path: Path) -> None:
    if why := fence.words.get("skip"):
        pytest.skip(why)
    if "run" not in fence.words:
        pytest.fail(f'{fence.name}: say `run`, or skip="the reason"')
    write_files(fence, tmp_path)
    for one in above(fence):
        if one.is_shell and "run" in one.words:
            run_block(one, tmp_path)


def run_block(fence: Fence, folder: Path) -> None:
    commands = fence.commands()
    for number, (command, shown) in enumerate(commands, 1):
        done = shell(command, folder)
        expected = int(fence.words.get("exit", "0")) if number == len(commands) else 0
        assert done.returncode == expected, f"{fence.name}: {command}\n{done.stdout}{done.stderr}"
        assert not missing(shown, done.stdout + done.stderr), f"{fence.name}: {command}\n{done.stdout}{done.stderr}"


def test_the_manual_has_playbooks_and_commands_to_try() -> None:
    assert len(PLAYBOOKS) >= 5
    assert sum("run" in fence.words for fence in SHELLS) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    import re

    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
