"""Mistakes that everybody makes once: the message says what, where, and what to do, and nothing runs by halves."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.diagnostics import ExitCode
from tests.test_cli import Shell

SITE = """
- name: Site
  hosts: web
  tasks:
    - name: Say it
      debug: {msg: hello}
      tags: [greeting]
"""
CANARY = """
- name: Roll out
  hosts: localhost
  canary:
    service: shop
    version: "1"
    steps: [10%]
    router: {router}
    slots: {slots}
    gates: {gates}
  tasks:
    - name: Deploy
      command: touch deployed
"""
SLOTS = "{a: {port: 8081}, b: {port: 8082}}"


@pytest.fixture
def ciflow(tmp_path: Path) -> Shell:
    (tmp_path / "home").mkdir()
    (tmp_path / "hosts").write_text("[web]\nweb1 ansible_connection=local\n")
    return Shell(tmp_path)


def canary(ciflow: Shell, router: str, slots: str = SLOTS, gates: str = "[]") -> str:
    text = CANARY.replace("{router}", router).replace("{slots}", slots).replace("{gates}", gates)
    ciflow.write(release=text)
    done = ciflow("apply", "release.yml")
    assert done.returncode == ExitCode.INVALID, done.stderr
    assert not (ciflow.folder / "deployed").exists()
    assert "nothing was run" in done.stderr
    return done.stderr


# --- before the run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["another\n", ""])
def test_a_vault_without_its_password_is_named_instead_of_the_names_in_it(ciflow: Shell, password: str) -> None:
    folder = ciflow.folder / "group_vars" / "web"
    folder.mkdir(parents=True)
    (folder / "secret.yml").write_text("db_password: correct horse\n")
    (ciflow.folder / "right").write_text("right\n")
    assert ciflow("vault", "encrypt", "--vault-password-file", "right", str(folder / "secret.yml")).returncode == 0
    (ciflow.folder / "given").write_text(password)
    ciflow.write(site=SITE.replace("hello", '"{{ db_password }}"'))
    done = ciflow("apply", "site.yml", "-i", "hosts", *(["--vault-password-file", "given"] if password else []))
    assert done.returncode == ExitCode.INVALID
    assert "CF0017" in done.stderr
    assert "group_vars/web/secret.yml:1" in done.stderr
    assert "not defined" not in done.stderr


def test_a_misspelt_group_is_said_by_those_who_run_it_too(ciflow: Shell) -> None:
    ciflow.write(site=SITE.replace("web", "wbe"))
    done = ciflow("apply", "site.yml", "-i", "hosts")
    assert "site.yml:3:10: `wbe` is no host and no group of the inventory" in done.stderr
    assert "did you mean `web`?" in done.stderr


def test_a_forgotten_inventory_is_called_so(ciflow: Shell) -> None:
    ciflow.write(site=SITE)
    assert "`-i` names one" in ciflow("apply", "site.yml").stderr


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_a_misspelt_tag_is_said_with_the_one_that_was_meant(ciflow: Shell, option: str) -> None:
    ciflow.write(site=SITE)
    done = ciflow("apply", "site.yml", "-i", "hosts", option, "greting")
    assert "no task has the tag `greting`" in done.stderr
    assert "did you mean `greeting`?" in done.stderr
    assert "no task has" not in ciflow("apply", "site.yml", "-i", "hosts", option, "greeting").stderr


def test_a_misspelt_task_to_start_at_is_said_with_the_one_that_was_meant(ciflow: Shell) -> None:
    ciflow.write(site=SITE)
    done = ciflow("apply", "site.yml", "-i", "hosts", "--start-at-task", "Say it!")
    assert done.returncode == ExitCode.INVALID
    assert "did you mean `Say it`?" in done.stderr


@pytest.mark.parametrize(
    ("router", "slots", "gates", "said"),
    [
        ("{haproxy: {sockt: /run/h.sock}}", SLOTS, "[]", "router haproxy has no setting sockt"),
        ("{haproxy: {backend: shop}}", SLOTS, "[]", "router haproxy needs socket"),
        ("{envoy: {port: many}}", SLOTS, "[]", "port of router envoy must be a whole number, not 'many'"),
        ("{envoy: {port: 80}}", "{a: {port: 81}, b: {port: 81}}", "[]", "slots a and b are both at 127.0.0.1:81"),
        ("{envoy: {port: 80}}", "{a: {}, b: {port: 81}}", "[]", "a has no port"),
        ("{envoy: {port: 80}}", "{a: {port: x}, b: {port: 81}}", "[]", "the port of a must be a whole number"),
        ("{command: {set: set, read: read}}", SLOTS, "[errors]", "counts nothing, so gate errors can't judge"),
    ],
)
def test_what_a_router_can_not_do_is_said_before_anything_is_built(
    ciflow: Shell, router: str, slots: str, gates: str, said: str
) -> None:
    assert said in canary(ciflow, router, slots, gates)


SERVICES = """
- name: Roll out
  hosts: "{{ matrix.hosts }}"
  matrix: {include: [{service: shop, hosts: web, port: 8081}, {service: cart, hosts: web, port: 8181}]}
  canary:
    service: "{{ matrix.service }}"
    version: "1"
    steps: [10%]
    router: {haproxy: {socket: /run/h.sock, backend: "{{ matrix.service }}"}}
    slots: {a: {port: "{{ matrix.port }}"}, b: {port: "{{ matrix.port + 1 }}"}}
    gates: [errors]
  tasks:
    - name: Deploy
      file: {path: deployed, state: touch}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{socket:", "{sockt:", "router haproxy has no setting sockt"),
        ("matrix.port + 1", "matrix.port", "slots a and b are both at 127.0.0.1:8081"),
        ("hosts: web, port: 8181}", "hosts: web}", "in the cell {service: cart, hosts: web}"),
        ("port: 8081", "port: '8081'", "in the cell {service: shop, hosts: web, port: 8081}"),
        ("port: 8081", "port: 80810", "the port of a must be from 1 to 65535, not 80810"),
        ("service: cart, hosts: web", "service: cart, hosts: wbe", "no host in the cell {service: cart, hosts: wbe"),
        ("  canary:", "  retri: {attempts: 2}\n  canary:", "did you mean `retry`?"),
    ],
)
def test_what_only_a_cell_of_the_matrix_shows_is_said_before_anything_runs(
    ciflow: Shell, old: str, new: str, said: str
) -> None:
    ciflow.write(release=SERVICES)
    first = ciflow("validate", "release.yml", "-i", "hosts")
    assert "nothing wrong" in first.stdout + first.stderr
    ciflow.write(release=SERVICES.replace(old, new, 1))
    done = ciflow("validate", "release.yml", "-i", "hosts").stderr
    assert said in done and "`matrix` has no" not in done, done


def test_a_slot_that_is_told_nothing_to_start_does_not_start_what_it_had_before(ciflow: Shell) -> None:
    old = ciflow.folder / "a" / "program"
    old.parent.mkdir()
    old.write_text(f"#!/bin/sh\ntouch {ciflow.folder}/started\n")
    old.chmod(0o755)
    role = "{name: slot}\n      vars: {slot_home: " + str(ciflow.folder) + ", slot_artefact: shop}\n"
    slot = "{slot: {name: a, port: 1, address: 127.0.0.1}, release: {service: shop}}"
    ciflow.write(site=f"- hosts: localhost\n  vars: {slot}\n  tasks:\n    - import_role: {role}")
    done = ciflow("apply", "site.yml")
    assert done.returncode == ExitCode.TASK_FAILED
    assert "say `slot_artifact` or `slot_file`" in done.stderr
    assert not (ciflow.folder / "started").exists()


def test_a_port_that_is_no_number_is_named_instead_of_a_fault_of_ciflow(ciflow: Shell) -> None:
    (ciflow.folder / "hosts").write_text("[web]\nweb1 ansible_port=many\n")
    ciflow.write(site=SITE.replace("debug: {msg: hello}", "ping:"))
    done = ciflow("apply", "site.yml", "-i", "hosts")
    assert done.returncode == ExitCode.INVALID
    assert "ansible_port must be a number, not 'many'" in done.stderr
    assert "Traceback" not in done.stderr


# --- a run that failed -----------------------------------------------------------------------------------


def test_who_mends_a_file_and_resumes_hears_that_the_run_goes_by_the_old_one(ciflow: Shell) -> None:
    ciflow.write(site=SITE.replace("debug: {msg: hello}", "command: cat nothing-here").replace("web", "localhost"))
    assert ciflow("apply", "site.yml").returncode == ExitCode.TASK_FAILED
    assert "changed since" not in ciflow("resume").stderr
    ciflow.write(site=SITE.replace("web", "localhost"))
    done = ciflow("resume")
    assert done.returncode == ExitCode.TASK_FAILED
    assert "changed since this run began, which goes on by what they were: site.yml" in done.stderr
    assert "`ciflow apply site.yml` runs them as they are now" in done.stderr


def test_a_router_that_was_set_up_after_the_first_try_is_asked_anew_by_a_resume(ciflow: Shell) -> None:
    """Its refusal was an answer of then: a run that replays it could never be resumed."""
    read = ciflow.folder / "read"
    router = f"{{command: {{set: 'true', read: 'cat {read}'}}}}"
    text = CANARY.replace("{router}", router).replace("{slots}", SLOTS).replace("{gates}", "[]")
    ciflow.write(release=text)
    first = ciflow("apply", "release.yml")
    assert "No such file" in first.stderr
    read.write_text("no dial at all\n")
    again = ciflow("resume")
    assert "No such file" not in again.stderr.partition("Roll out")[2]


def test_a_command_without_output_says_how_it_ended(ciflow: Shell) -> None:
    ciflow.write(site=SITE.replace("debug: {msg: hello}", "shell: exit 7").replace("web", "localhost"))
    assert "non-zero return code 7" in ciflow("apply", "site.yml").stderr


def test_a_failure_that_a_rescue_turns_offers_no_resume(ciflow: Shell) -> None:
    ciflow.write(
        site="""
- name: Site
  hosts: localhost
  tasks:
    - name: Two ways
      block:
        - name: The new way
          shell: exit 1
      rescue:
        - name: The old way
          debug: {msg: done}
"""
    )
    done = ciflow("apply", "site.yml")
    assert done.returncode == 0
    assert "'The new way'" in done.stderr
    assert "ciflow resume" not in done.stderr


# --- names of services, runs and words -------------------------------------------------------------------


@pytest.mark.parametrize("command", ["pause", "abort", "promote", "rollback", "history", "status"])
def test_a_service_that_nobody_released_is_wrong_input(ciflow: Shell, command: str) -> None:
    done = ciflow(command, "shop")
    assert done.returncode == ExitCode.INVALID
    assert "shop" in done.stderr


def test_a_host_that_did_not_answer_may_know_the_service(ciflow: Shell) -> None:
    """Nobody is told that a service is unknown there, when nobody there was asked."""
    (ciflow.folder / "edge").write_text("gone ansible_host=127.0.0.1 ansible_port=1\n")
    done = ciflow("rollback", "shop", "-i", "edge")
    assert done.returncode == ExitCode.UNREACHABLE
    assert "gone did not answer" in done.stderr


def test_a_keyword_is_explained_where_a_module_is(ciflow: Shell) -> None:
    assert "when, of a task" in ciflow("doc", "when").stdout
    assert "did you mean `copy`?" in ciflow("doc", "copyy").stderr
