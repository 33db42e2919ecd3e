"""`ciflow export`: the files of two CI servers, which run a playbook and may do nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts.process import find
from tests.test_cli import Shell

GREET = """
name: Greet everybody
vars: {greeting: hello}
plays:
  - name: Greet
    hosts: localhost
    tasks:
      - name: Leave a greeting
        copy: {content: "{{ greeting }}", dest: "{{ playbook_dir }}/greeting.txt", mode: "0644"}
"""
BUILD = """
name: Build it
plays:
  - name: Build
    hosts: localhost
    tasks:
      - name: Build it
        block:
          - name: Compile
            cargo: {command: build, release: true%s}
    artifacts:
      - {name: server, path: target/release/server}
  - name: Vouch
    hosts: localhost
    tasks:
      - name: Sign
        sign: {artifact: server, keyless: {}}
"""
ROLL = """
name: Ship
plays:
  - name: Roll out
    hosts: web
    approval: {prompt: Ship it?}
    canary:
      service: shop
      version: "1"
      router: {haproxy: {socket: /run/haproxy/admin.sock, backend: shop}}
      slots: {a: {port: 8081}, b: {port: 8082}}
      steps: [1%%, 10%%]
      hold: 1m
      deadline: %s
      bake: 10m
      gates: [{errors: {}}]
    tasks:
      - name: Start it
        command: "true"
"""
SERVERS = ("github", "gitlab")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """In a repository, whose root is above the folder that one stands in."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "deploy").mkdir()
    made = Shell(tmp_path / "deploy")
    made.write(greet=GREET, build=BUILD % "", cached=BUILD % ", cache: auto", roll=ROLL % "2h", long=ROLL % "9h")
    (made.folder / "hosts.ini").write_text("[web]\nweb1 ansible_host=192.0.2.1\n")
    return made


def made(shell: Shell, *words: str) -> dict[str, Any]:
    done = shell("export", *words)
    assert done.returncode == 0, done.stderr
    # YAML 1.1 takes the key `on` for a truth
    found: dict[Any, Any] = yaml.safe_load(done.stdout)
    return {"on" if key is True else key: value for key, value in found.items()}


def job_of(found: dict[str, Any]) -> dict[str, Any]:
    [job] = found["jobs"].values() if "jobs" in found else [found[name] for name in found if name != "variables"]
    return dict(job)


def scripts(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job.get("steps", ()) if "run" in step] + job.get("script", [])


def apply_of(job: dict[str, Any]) -> str:
    return next(script for script in scripts(job) if "ciflow apply" in script)


# --- what the job may do ---------------------------------------------------------------------------------------


def test_a_workflow_has_no_rights_but_to_read_the_sources(shell: Shell) -> None:
    found = made(shell, "github", "greet.yml")
    assert found["permissions"] == {}
    assert job_of(found)["permissions"] == {"contents": "read"}
    assert found["concurrency"] == {"group": "ciflow-greet-everybody", "cancel-in-progress": False}
    assert job_of(found)["timeout-minutes"] == 60
    assert found["on"]["push"] == {"branches": ["main"]} and "pull_request" not in found["on"]


def test_one_that_signs_without_a_key_may_say_who_it_is(shell: Shell) -> None:
    assert job_of(made(shell, "github", "build.yml"))["permissions"] == {"contents": "read", "id-token": "write"}
    assert job_of(made(shell, "gitlab", "build.yml"))["id_tokens"] == {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}


@pytest.mark.parametrize("name", ["greet", "build", "cached"])
def test_every_action_is_named_by_its_commit_and_the_token_stays_out_of_the_checkout(shell: Shell, name: str) -> None:
    steps = job_of(made(shell, "github", f"{name}.yml"))["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", one) for one in used)
    [checkout] = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["persist-credentials"] is False


@pytest.mark.parametrize("server", SERVERS)
def test_no_script_has_text_that_somebody_else_may_choose(shell: Shell, server: str) -> None:
    vault = shell.folder / "password"
    vault.write_text("x")
    job = job_of(made(shell, server, "roll.yml", "-i", "hosts.ini", "--vault-password-file", "password"))
    assert not [script for script in scripts(job) if "${{" in script]


def test_cargo_and_a_cache_of_the_playbooks_own_are_not_kept_twice(shell: Shell) -> None:
    def caches(name: str) -> bool:
        return any("rust-cache" in step.get("uses", "") for step in job_of(made(shell, "github", name))["steps"])

    assert [caches(name) for name in ("greet.yml", "build.yml", "cached.yml")] == [False, True, False]
    assert ["cache" in job_of(made(shell, "gitlab", name)) for name in ("greet.yml", "build.yml", "cached.yml")] == [
        False, True, False,
    ]  # fmt: skip
    assert "caches what is compiled itself" in shell("export", "github", "cached.yml").stderr


def test_a_rollout_gets_the_time_that_it_may_take_and_no_more_than_the_server_gives(shell: Shell) -> None:
    """An hour for the rest, two for the rollout, ten minutes of bake."""
    assert job_of(made(shell, "github", "roll.yml", "-i", "hosts.ini"))["timeout-minutes"] == 190
    assert job_of(made(shell, "gitlab", "long.yml", "-i", "hosts.ini"))["timeout"] == "610 minutes"
    assert job_of(made(shell, "github", "long.yml", "-i", "hosts.ini"))["timeout-minutes"] == 360
    assert "may take 610 minutes" in shell("export", "github", "long.yml", "-i", "hosts.ini").stderr


def test_what_must_be_set_up_at_the_server_is_said(shell: Shell) -> None:
    said = shell("export", "github", "roll.yml", "-i", "hosts.ini").stderr
    assert "SSH_PRIVATE_KEY: secrets of the repository" in said
    assert "--state postgresql://HOST/DATABASE" in said, "nobody could approve it"
    team = ("--state", "postgresql://db.example/ciflow")
    done = shell("export", "github", "roll.yml", "-i", "hosts.ini", *team)
    assert "approve" not in done.stderr
    assert 'CIFLOW_STATE: "postgresql://db.example/ciflow"' in done.stdout and "ciflow[postgres]==" in done.stdout
    assert shell("export", "github", "greet.yml").stderr == ""


# --- refused ---------------------------------------------------------------------------------------------------


def test_a_playbook_that_is_not_valid_is_not_exported(shell: Shell) -> None:
    shell.write(wrong="- hosts: localhost\n  taks: []\n")
    done = shell("export", "github", "wrong.yml", "-o", "out.yml")
    assert (done.returncode, done.stdout) == (3, "")
    assert "wrong.yml:2:3" in done.stderr and not (shell.folder / "out.yml").exists()


def test_names_that_a_server_would_evaluate_and_files_outside_of_the_repository_are_refused(shell: Shell) -> None:
    shell.write(**{"${{ github.token }}": GREET, "named": GREET.replace("Greet everybody", "'${{ secrets.KEY }}'")})
    (shell.folder.parent.parent / "outside.yml").write_text(GREET)
    for words in (("${{ github.token }}.yml",), ("named.yml",), ("greet.yml", "--branch", "${{ x }}"),
                  ("../../outside.yml",)):  # fmt: skip
        done = shell("export", "github", *words)
        assert (done.returncode, done.stdout) == (3, ""), words


# --- run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_the_script_runs_the_playbook_with_what_was_typed_as_a_value(shell: Shell, server: str) -> None:
    value = """good morning $(touch pwned) `touch pwned` "; touch pwned; ' "; touch pwned #"""
    root = shell.folder.parent
    job = job_of(made(shell, server, "greet.yml"))
    done = bash(shell, apply_of(job), root, EXTRA_VARS=json.dumps({"greeting": value}))
    assert done.returncode == 0, done.stderr
    assert (shell.folder / "greeting.txt").read_text() == value
    assert not [*root.rglob("pwned")]
    assert (root / "ciflow-report" / "run.html").exists()
    if server == "gitlab":
        assert (root / job["artifacts"]["reports"]["junit"]).read_text().startswith("<?xml")


def bash(shell: Shell, script: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """As the servers run it: at the root of the checkout, ended by the first error."""
    where = folder / "bin"
    where.mkdir(exist_ok=True)
    (where / "ciflow").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ciflow "$@"\n')
    (where / "ciflow").chmod(0o755)
    env = {**shell.env, "PATH": f"{where}:{os.environ['PATH']}", "HOME": str(folder / "home"), **env}
    argv = ["bash", "-e", "-c", script]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_the_summary_of_the_job_is_written_also_where_the_run_failed(shell: Shell) -> None:
    shell.write(fail="- hosts: localhost\n  tasks:\n    - name: Break it\n      command: 'false'\n")
    job = job_of(made(shell, "github", "fail.yml"))
    root = shell.folder.parent
    assert bash(shell, apply_of(job), root, EXTRA_VARS="").returncode == 4
    [tell] = [step for step in job["steps"] if "GITHUB_STEP_SUMMARY" in step.get("run", "")]
    assert tell["if"] == "always()"
    bash(shell, tell["run"], root, GITHUB_STEP_SUMMARY=str(root / "summary.md"))
    assert "**Break it** failed on `localhost`" in (root / "summary.md").read_text()


@pytest.mark.parametrize("server", SERVERS)
def test_secrets_are_handed_on_as_files_that_are_gone_afterwards(shell: Shell, server: str) -> None:
    """A stand-in for ciflow says what it was given."""
    root = shell.folder.parent
    (shell.folder / "password").write_text("x")
    script = apply_of(job_of(made(shell, server, "roll.yml", "-i", "hosts.ini", "--vault-password-file", "password")))
    told = 'for word; do if [ -f "$word" ]; then cat "$word" >> said; ls -ld "${word%/*}" >> said; fi; done'
    script = f'ciflow() {{ printf "%s\\n" "$@" > said; {told}; env > env; }}\n{script}'
    done = bash(shell, script, root, EXTRA_VARS="a=1", SSH_PRIVATE_KEY="KEY\nOF\nLINES", VAULT_PASSWORD="pa ss",
                SSH_KNOWN_HOSTS="web1 ssh-ed25519 AAAA")  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = (root / "said").read_text().splitlines()
    assert said[:4] == ["apply", "deploy/roll.yml", "-i", "deploy/hosts.ini"]
    assert {"--extra-vars", "a=1", "--private-key", "--vault-password-file", "KEY", "OF", "LINES", "pa ss"} <= {*said}
    assert sum(line.startswith("drwx------") for line in said) >= 2
    kept = [line for line in said if line.endswith(("/SSH_PRIVATE_KEY", "/VAULT_PASSWORD")) and "drwx" not in line]
    assert len(kept) == 2 and not any(Path(one).exists() for one in kept)
    assert "pa ss" not in (root / "env").read_text()
    assert (root / "home" / ".ssh" / "known_hosts").read_text() == "web1 ssh-ed25519 AAAA\n"


# --- as others judge it ----------------------------------------------------------------------------------------

NAMES = ("greet", "build", "cached", "roll")


def judged(shell: Shell, server: str, *argv: str) -> None:
    """All files pass a program that takes them as its last arguments."""
    made = [str(shell.folder / ".github" / "workflows" / f"{name}.yml") for name in NAMES]
    for name, out in zip(NAMES, made, strict=True):
        assert shell("export", server, f"{name}.yml", "-i", "hosts.ini", "-o", out).returncode == 0
    done = subprocess.run([*argv, *made], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("server", "schema"), [("github", "github-workflows"), ("gitlab", "gitlab-ci")])
def test_the_servers_own_schema_accepts_it(shell: Shell, server: str, schema: str) -> None:
    judged(shell, server, find("check-jsonschema", "schemas"), "--builtin-schema", f"vendor.{schema}")


def test_zizmor_finds_nothing_unsafe(shell: Shell) -> None:
    judged(shell, "github", find("zizmor", "zizmor"), "--offline", "--no-config", "--persona=regular")


def test_actionlint_finds_nothing_wrong(shell: Shell) -> None:
    judged(shell, "github", find("actionlint", "actionlint"))
