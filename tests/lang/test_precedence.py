"""Ansible's precedence, each level against the one below it, and the reasons for a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ciflow.lang.files import Files
from ciflow.lang.include import load_vars_files
from ciflow.lang.load import Loaded, load
from ciflow.lang.scope import Level, Scope, Vars
from ciflow.lang.template import render
from ciflow.lang.variables import Learnt, layers_for, why
from ciflow.model import Task

# docs.ansible.com, "Understanding variable precedence", least first; each name says where it is set last.
FILES = {
    "roles/r/defaults/main.yml": "a02: 2\na03: 2\n",
    "hosts.yml": "web: {hosts: {w1: {a08: 8, a09: 8}}, vars: {a03: 3, a04: 3}}\n",
    "group_vars/all.yml": "a04: 4\na06: 4\n",
    "group_vars/web.yml": "a06: 6\na08: 6\n",
    "host_vars/w1.yml": "a09: 9\na11: 9\n",
    "vars.yml": "a14: 14\na15: 14\n",
    "roles/r/vars/main.yml": "a15: 15\na16: 15\n",
    "roles/r/tasks/main.yml": """\
- block:
    - debug: {msg: hello}
      vars: {a17: 17, a18: 17}
  vars: {a16: 16, a17: 16}
""",
    "playbook.yml": """\
- hosts: web
  vars: {a12: 12, a14: 12}
  vars_files: [vars.yml]
  roles: [{role: r, a20: 20, a22: 20}]
""",
}


def scope(folder: Path, loaded: Loaded) -> Scope:
    play = loaded.playbook.plays[0]
    host = loaded.inventory.hosts[0]
    block = play.tasks[0]
    task = block if isinstance(block, Task) else block.body[0]
    assert isinstance(task, Task)
    learnt = Learnt(
        facts={"a11": 11, "a12": 11}, set_facts={"a19": 19, "a20": 19}, included=Vars({"a18": 18, "a19": 18})
    )
    files = load_vars_files(play.vars_files, Scope((), render), Files.live(), str(folder))
    return layers_for(loaded.playbook, play, host, inventory=loaded.inventory, task=task, learnt=learnt,
                      vars_files=files, extra=loaded.extra)  # fmt: skip


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load(str(tmp_path / "playbook.yml"), (str(tmp_path / "hosts.yml"),), {"a22": 22})


@pytest.mark.parametrize("level", [2, 3, 4, 6, 8, 9, 11, 12, 14, 15, 16, 17, 18, 19, 20, 22])
def test_each_level_beats_the_one_below(level: int, loaded: Loaded, tmp_path: Path) -> None:
    assert scope(tmp_path, loaded).find(f"a{level:02}") == level


def test_the_reasons_for_a_value_are_listed_winner_first_with_their_places(loaded: Loaded, tmp_path: Path) -> None:
    def said(reason: Any) -> tuple[Level, Any, str, str]:
        return reason.level, reason.value, reason.owner, str(reason.span).removeprefix(f"{tmp_path}/")

    # the inventory's folder is the playbook's here, so its group_vars count at both levels
    assert [said(reason) for reason in why(scope(tmp_path, loaded), "a06")] == [
        (Level.PLAYBOOK_GROUP_VARS, 6, "group web", "group_vars/web.yml:1:6"),
        (Level.INVENTORY_GROUP_VARS, 6, "group web", "group_vars/web.yml:1:6"),
        (Level.PLAYBOOK_GROUP_VARS_ALL, 4, "group all", "group_vars/all.yml:2:6"),
        (Level.INVENTORY_GROUP_VARS_ALL, 4, "group all", "group_vars/all.yml:2:6"),
    ]


def test_a_role_sees_its_own_defaults_before_those_of_other_roles(tmp_path: Path) -> None:
    for role, port in (("one", 1), ("two", 2)):
        for name, text in (("defaults", f"port: {port}\n"), ("tasks", "- debug: {msg: hi}\n")):
            path = tmp_path / "roles" / role / name / "main.yml"
            path.parent.mkdir(parents=True)
            path.write_text(text)
    (tmp_path / "playbook.yml").write_text("- {hosts: localhost, roles: [one, two]}\n")
    loaded = load(str(tmp_path / "playbook.yml"))
    play = loaded.playbook.plays[0]
    host = loaded.inventory.host("localhost")
    assert host is not None
    seen = [layers_for(loaded.playbook, play, host, task=task).find("port")
            for task in play.tasks if isinstance(task, Task)]  # fmt: skip
    assert seen == [1, 2]
