"""`--list-hosts`, `--list-tasks`, `--list-tags`, `--syntax-check`: nothing is run, and the text is Ansible's own.

What is expected was printed by ansible-playbook of ansible-core 2.19.4 for these very files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ciflow.diagnostics import ExitCode

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "roles/r/tasks/main.yml": "- {name: In role, debug: {msg: x}, tags: [rt]}\n- debug: {msg: unnamed}\n",
    "inc.yml": "- {name: imported, debug: {msg: y}}\n",
    "hosts": "[web]\nweb1\nweb2\n[db]\ndb1\n",
    "p.yml": """
- name: First
  hosts: web
  tags: [p1]
  roles: [r]
  tasks:
    - {name: "A {{ inventory_hostname }}", command: touch ran, tags: [b, a]}
    - block: [{name: inblock, command: "true"}]
      rescue: [{name: resc, debug: {msg: 1}}]
      tags: blk
    - import_tasks: inc.yml
    - {include_tasks: inc.yml, tags: [inc]}
    - {name: Never, debug: {msg: n}, tags: [never, dbg]}
    - meta: flush_handlers
    - set_fact: {x: 1}
- hosts: db:localhost
  tasks: []
""",
}
FIRST = "\n  play #1 (web): First\tTAGS: [p1]\n"
SECOND = "\n  play #2 (db:localhost): db:localhost\tTAGS: []\n"
HOSTS = "    pattern: ['web']\n    hosts (2):\n      web1\n      web2\n"
DB = "    pattern: ['db:localhost']\n    hosts (2):\n      db1\n      localhost\n"
TASKS = """    tasks:
      r : In role\tTAGS: [p1, rt]
      debug\tTAGS: [p1]
      A {{ inventory_hostname }}\tTAGS: [a, b, p1]
      inblock\tTAGS: [blk, p1]
      imported\tTAGS: [p1]
      include_tasks\tTAGS: [inc, p1]
      meta\tTAGS: [p1]
      set_fact\tTAGS: [p1]
"""
ONE = "    pattern: ['web']\n    hosts (1):\n      web1\n    tasks:\n      inblock\tTAGS: [blk, p1]\n"
NONE = "    pattern: ['db:localhost']\n    hosts (0):\n    tasks:\n"
ALL_TAGS = "      TASK TAGS: [a, b, blk, dbg, inc, never, p1, rt]\n"
NEVER = "      Never\tTAGS: [dbg, never, p1]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def apply(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "ciflow", "apply", "p.yml", "-i", "hosts", *words]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--list-hosts", FIRST + HOSTS + SECOND + DB),
        ("--list-tasks", FIRST + TASKS + SECOND + "    tasks:\n"),
        ("--list-tasks -t dbg", FIRST + "    tasks:\n" + NEVER + SECOND + "    tasks:\n"),
        ("--list-tags", FIRST + ALL_TAGS + SECOND + "      TASK TAGS: []\n"),
        ("--list-tags -t blk", FIRST + "      TASK TAGS: [blk, p1]\n" + SECOND + "      TASK TAGS: []\n"),
        ("--list-hosts --list-tasks -l web1 -t blk", FIRST + ONE + SECOND + NONE),
        ("--syntax-check", ""),
    ],
)  # fmt: skip
def test_a_listing_reads_as_ansibles_does_and_runs_nothing(folder: Path, words: str, text: str) -> None:
    done = apply(folder, *words.split())
    assert (done.returncode, done.stdout) == (0, "\nplaybook: p.yml\n" + text)
    assert not (folder / "ran").exists()
    assert not (folder / ".local").exists(), "not even a journal is begun"


def test_a_listing_is_data_too(folder: Path) -> None:
    first = json.loads(apply(folder, "--list-hosts", "--list-tasks", "--list-tags", "--json").stdout.splitlines()[0])
    assert first["hosts"] == ["web1", "web2"]
    assert {"name": "r : In role", "tags": ["p1", "rt"]} in first["tasks"]
    assert "never" in first["task_tags"]


@pytest.mark.parametrize("start", ["inblock", "inb*", "r : In role"])
def test_a_run_may_begin_at_a_task_by_its_name_its_roles_or_a_pattern(folder: Path, start: str) -> None:
    done = json.loads(apply(folder, "--list-tasks", "--json", "--start-at-task", start).stdout.splitlines()[0])
    names = [task["name"] for task in done["tasks"]]
    assert names[0] == ("r : In role" if ":" in start else "inblock")
    assert names[-1] == "set_fact"


def test_a_syntax_check_says_what_is_wrong(folder: Path) -> None:
    (folder / "p.yml").write_text("- hosts: web\n  taks: []\n")
    done = apply(folder, "--syntax-check")
    assert done.returncode == ExitCode.INVALID
    assert "p.yml:2:3" in done.stderr


def test_a_password_is_not_asked_for_where_nothing_is_run(folder: Path) -> None:
    assert apply(folder, "--list-hosts", "-K").returncode == 0
