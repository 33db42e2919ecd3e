"""A kept plan runs exactly what was planned, or says what has changed since; and nobody can read secrets in it."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.diagnostics import Invalid, NoSuch
from ciflow.engine.request import Request, planned
from ciflow.engine.saved import is_plan, read, ready, same_extra, save
from ciflow.plan.compile import tasks_of
from ciflow.store.store import Store

FILES = {
    "site.yml": """\
- name: Site
  hosts: web
  vars: {colour: red}
  vars_files: [more.yml]
  roles: [r]
  tasks:
    - name: Write
      template: {src: site.j2, dest: /site}
    - name: Send
      copy: {src: sent.txt, dest: /sent}
    - name: By system
      include_tasks: "by-{{ ansible_os_family }}.yml"
""",
    "more.yml": "more: 1\n",
    "hosts": "[web]\nweb1 port=80\nweb2 port=80\n",
    "group_vars/web.yml": "level: info\n",
    "templates/site.j2": "{{ colour }} {{ secret }}\n",
    "sent.txt": "sent\n",
    "by-Debian.yml": "- debug: {msg: hi}\n",
    "roles/r/tasks/main.yml": "- debug: {msg: hi}\n",
    "roles/r/defaults/main.yml": "size: 1\n",
    "roles/r/files/late.txt": "late\n",
}
SECRET = "hunter22hunter22"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state") as opened:
        yield opened


def keep(store: Store) -> Path:
    request = Request("site.yml", ("hosts",), (f"secret={SECRET}",))
    save(Path("site.plan"), request, planned(request), store)
    return Path("site.plan")


def changes(plan: Path, store: Store) -> list[str]:
    with pytest.raises(Invalid) as fault:
        ready(read(str(plan), store))
    assert {one.code for one in fault.value.diagnostics} == {"CF0320"}
    assert all(one.message.endswith(" since it was planned") for one in fault.value.diagnostics)
    return [one.message.removesuffix(" since it was planned") for one in fault.value.diagnostics]


@pytest.mark.usefixtures("site")
def test_what_has_not_changed_is_ready_to_run_with_its_own_variables(store: Store) -> None:
    saved = read(str(keep(store)), store)
    again = ready(saved)
    assert again.loaded.extra["secret"] == SECRET
    assert [host.name for host in again.plan.stages[0].hosts] == ["web1", "web2"]
    assert len(list(tasks_of(again.plan.stages[0].play.tasks))) == 4


@pytest.mark.usefixtures("site")
def test_a_plan_is_told_from_a_playbook(store: Store) -> None:
    assert is_plan(str(keep(store)))
    assert not is_plan("site.yml")
    assert not is_plan("nowhere.yml")


CHANGED = {
    "the playbook": ("site.yml", "red", "blue", ["site.yml has changed",
                     "the variable `colour` of the play Site [site] has changed"]),
    "a task": ("site.yml", "/sent", "/other", ["site.yml has changed"]),
    "a file of variables": ("more.yml", "1", "2", ["more.yml has changed"]),
    "a template": ("templates/site.j2", "{{ colour }}", "{{ colour }}!", ["templates/site.j2 has changed"]),
    "a file to be sent": ("sent.txt", "sent", "gone", ["sent.txt has changed"]),
    "an included file that only the run can name": ("by-Debian.yml", "hi", "ho", ["by-Debian.yml has changed"]),
    "a role's tasks": ("roles/r/tasks/main.yml", "hi", "ho", ["roles/r/tasks/main.yml has changed"]),
    "a role's default": ("roles/r/defaults/main.yml", "1", "2", ["roles/r/defaults/main.yml has changed",
                         "the variable `size` of the role r, defaults has changed"]),
    "a role's file": ("roles/r/files/late.txt", "late", "later", ["roles/r/files/late.txt has changed"]),
    "a group's variable": ("group_vars/web.yml", "info", "debug", ["group_vars/web.yml has changed",
                           "the variable `level` of the host web1 has changed",
                           "the variable `level` of the host web2 has changed"]),
    "a host's variable": ("hosts", "web1 port=80", "web1 port=81", ["hosts has changed",
                          "the variable `port` of the host web1 has changed"]),
    "a new host": ("hosts", "web2 port=80\n", "web2 port=80\nweb3\n", ["hosts has changed",
                   "the variable `level` of the host web3 has come", "the host web3 has come to site"]),
    "a lost host": ("hosts", "web2 port=80\n", "", ["hosts has changed", "the variable `port` of the host web2 is gone",
                    "the variable `level` of the host web2 is gone", "the host web2 is gone from site"]),
}  # fmt: skip


@pytest.mark.fault(33)
@pytest.mark.parametrize("case", CHANGED)
def test_what_has_changed_is_named_and_nothing_is_run(case: str, site: Path, store: Store) -> None:
    name, old, new, wanted = CHANGED[case]
    plan = keep(store)
    assert old in FILES[name]
    (site / name).write_text(FILES[name].replace(old, new))
    said = [one for one in changes(plan, store) if not one.startswith("roles/r/") or one in wanted]
    assert set(wanted) <= set(said)
    assert [one for one in said if one not in wanted] == []


def test_a_new_file_that_would_be_read_is_a_change(site: Path, store: Store) -> None:
    plan = keep(store)
    (site / "host_vars").mkdir()
    (site / "host_vars" / "web1.yml").write_text("port: 90\n")
    assert "host_vars/web1.yml has come" in changes(plan, store)
    assert "the variable `port` of the host web1 has changed" in changes(plan, store)


def test_a_fault_that_came_since_is_shown_with_the_file_that_changed(site: Path, store: Store) -> None:
    plan = keep(store)
    (site / "site.yml").write_text(FILES["site.yml"].replace("roles:", "rolse:"))
    with pytest.raises(Invalid) as fault:
        ready(read(str(plan), store))
    assert [one.code for one in fault.value.diagnostics][:2] == ["CF0320", "CF0102"]


def test_the_first_line_that_differs_is_the_place(site: Path, store: Store) -> None:
    plan = keep(store)
    (site / "site.yml").write_text(FILES["site.yml"].replace("dest: /sent", "dest: /other"))
    with pytest.raises(Invalid) as fault:
        ready(read(str(plan), store))
    assert str(fault.value.diagnostics[0].span) == "site.yml:10:1"


def test_what_an_inventory_script_prints_is_planned_too(site: Path, store: Store) -> None:
    script = site / "hosts"
    script.write_text('#!/bin/sh\necho \'{"web": {"hosts": ["web1"]}, "_meta": {"hostvars": {}}}\'\n')
    script.chmod(0o755)
    request = Request("site.yml", ("./hosts",), (f"secret={SECRET}",))
    save(Path("site.plan"), request, planned(request), store)
    ready(read("site.plan", store))
    count = site / "count"
    count.write_text("x")
    text = 'cat <<E\n{"web": {"hosts": ["web1", "web9"]}, "_meta": {"hostvars": {}}}\nE\n'
    script.write_text(f"#!/bin/sh\n{text}")
    assert "the host web9 has come to site" in changes(Path("site.plan"), store)


@pytest.mark.usefixtures("site")
def test_extra_variables_may_be_repeated_but_not_changed(store: Store) -> None:
    saved = read(str(keep(store)), store)
    same_extra(saved, (f"secret={SECRET}",))
    with pytest.raises(Invalid) as fault:
        same_extra(saved, ("secret=other", "new=1"))
    said = [one.message.removesuffix(" since it was planned") for one in fault.value.diagnostics]
    assert said == [
        "the variable `secret` of the command line has changed",
        "the variable `new` of the command line has come",
    ]


def test_a_plan_holds_no_secret_in_plain_text_and_is_its_owners_alone(site: Path, store: Store) -> None:
    (site / "more.yml").write_text("more: correct-horse-battery\n")
    plan = keep(store)
    text = plan.read_text()
    for secret in (SECRET, "correct-horse-battery"):
        assert secret not in text
        assert base64.b64encode(secret.encode()).decode()[:-4] not in text
    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    head = json.loads(text)
    assert head.keys() == {"ciflow", "id", "version", "who", "at", "playbook", "sealed"}


@pytest.mark.usefixtures("site")
def test_a_plan_is_worthless_without_its_key(store: Store, tmp_path: Path) -> None:
    plan = keep(store)
    with Store.open(tmp_path / "other") as other, pytest.raises(NoSuch, match="is not here"):
        read(str(plan), other)


@pytest.mark.parametrize("part", ["who", "playbook", "sealed"])
@pytest.mark.usefixtures("site")
def test_a_plan_that_somebody_changed_is_refused(part: str, store: Store) -> None:
    plan = keep(store)
    data = json.loads(plan.read_text())
    data[part] = data[part].replace(data[part][10:12], "AA") if part == "sealed" else "somebody"
    plan.write_text(json.dumps(data))
    with pytest.raises(NoSuch, match="was changed after it was made"):
        read(str(plan), store)


@pytest.mark.usefixtures("site")
def test_a_plan_of_another_version_is_refused(store: Store) -> None:
    plan = keep(store)
    plan.write_text(plan.read_text().replace('"version": "', '"version": "9'))
    with pytest.raises(NoSuch, match="was made by ciflow 9"):
        read(str(plan), store)


@pytest.mark.usefixtures("site")
def test_half_a_plan_is_refused(store: Store) -> None:
    plan = keep(store)
    plan.write_text(plan.read_text()[:200])
    with pytest.raises(NoSuch, match="is no whole plan file"):
        read(str(plan), store)
