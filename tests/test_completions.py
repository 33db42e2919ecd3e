"""TAB in a real shell, and what it is offered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ciflow.cli import completions
from ciflow.cli.commands import COMMANDS
from ciflow.cli.values import source_of
from tests.parts.process import find
from tests.test_cli import ROOT, Shell
from tests.typist import Typist, typing_to

SITE = """
- name: Say
  hosts: web
  tags: [deploy]
  tasks:
    - name: Say it loud
      debug: {msg: "as said"}
      tags: [words, loud]
"""
# Words that nobody can know before they are typed, by command and argument.
FREE = {
    "annotate reason", "flaky quarantine test", "flaky release tests", "flaky show test", "keys revoke key",
    "logs task", "vars name", "vault encrypt-string values",
}  # fmt: skip


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a playbook whose name has a blank, an inventory, and what is no playbook."""
    shell = Shell(tmp_path)
    shell.write(**{"my site": SITE, "values": "web: 1\n"})
    (tmp_path / "hosts.ini").write_text("[web]\nweb1\nweb2\n[db]\ndb1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFLOW_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ANSIBLE_INVENTORY", raising=False)
    return tmp_path


def offered(*words: str) -> list[str]:
    """Values for the last of these words, which is still typed."""
    return [one.value for one in completions.offering("bash").get_completions(list(words[:-1]), words[-1])]


# --- in a shell ------------------------------------------------------------------------------------------------

_START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_LOAD = {
    "bash": "PS1='$ '; bind 'set enable-bracketed-paste off'; eval \"$(ciflow completions bash)\"",
    "zsh": "PS1='$ '; autoload -Uz compinit; compinit -D -u; eval \"$(ciflow completions zsh)\"",
    "fish": "function fish_prompt; echo '$ '; end; ciflow completions fish | source",
}


@pytest.mark.parametrize("shell", completions.SHELLS)
def test_tab_completes_a_command_and_a_playbook_whose_name_has_a_blank(work: Path, shell: str) -> None:
    find(shell, shell)
    (work / "bin").mkdir()
    (work / "bin" / "ciflow").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ciflow "$@"\n')
    (work / "bin" / "ciflow").chmod(0o755)
    env = {**Shell(work).env, "PATH": f"{work / 'bin'}:{Shell(work).env['PATH']}"}
    with typing_to(_START[shell], work, env) as typist:
        typist.types(f"{_LOAD[shell]}; echo lo''aded")
        typist.sees("loaded")
        typist.sees(r"\$ ")
        _tab(typist, "ciflow valid", "ate")
        _tab(typist, "my", r"\\? ?site\.yml")
        typist.types(" -i hosts.ini")
        typist.sees("nothing wrong")


def _tab(typist: Typist, begun: str, rest: str) -> None:
    typist.presses(begun.encode() + b"\t")
    typist.sees(rest)


def test_a_shell_that_is_not_known_is_refused(work: Path) -> None:
    done = Shell(work)("completions", "tcsh")
    assert done.returncode == 3
    assert "'bash', 'zsh', 'fish'" in done.stderr


def test_naming_commands_loads_none_of_them() -> None:
    code = (
        "import sys; from ciflow.cli.completions import offering;"
        "found = offering('bash').get_completions([], '');"
        "print(len(found), *(name for name in sys.modules if name.startswith('ciflow.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    count, *loaded = done.stdout.split()
    assert int(count) == len(COMMANDS)
    assert set(loaded) <= {"ciflow.cli", "ciflow.cli.app", "ciflow.cli.commands", "ciflow.cli.completions",
                           "ciflow.dataclass", "ciflow.diagnostics"}  # fmt: skip


# --- what is offered -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("sbom", "conv"), ["convert"]),
        (("apply", ""), ["my site.yml"]),
        (("apply", "my site.yml", "--tags", ""), ["deploy", "loud", "words"]),
        (("apply", "my site.yml", "--tags", "loud,w"), ["loud,words"]),
        (("apply", "--start-at-task", "Say", "my site.yml", "--skip-tags", "l"), ["loud"]),
        (("apply", "my site.yml", "--start-at-task", "S"), ["Say it loud"]),
        (("plan", "my site.yml", "-i", "hosts.ini", "-l", "db,w"), ["db,web", "db,web1", "db,web2"]),
        (("vars", "-i", "hosts.ini", ""), ["web1", "web2", "db1", "localhost"]),
        (("inventory", "-i", "hosts.ini", "d"), ["db"]),
        (("doc", "lineinf"), ["lineinfile"]),
        (("doc", "any_err"), ["any_errors_fatal"]),
        (("explain", "CF0102"), ["CF0102"]),
        (("schema", "canary_"), ["canary_step"]),
        (("apply", "nowhere.yml", "--tags", ""), []),
    ],
)
def test_values_are_offered(work: Path, words: tuple[str, ...], found: list[str]) -> None:  # noqa: ARG001
    assert offered(*words) == found


def test_runs_and_services_come_from_the_journal(work: Path) -> None:
    assert offered("logs", "") == [], "nothing was run yet"
    assert Shell(work)("apply", "my site.yml", "-i", "hosts.ini", "-c", "local").returncode == 0
    (run,) = offered("logs", "")
    assert run.startswith("R-1-")
    assert offered("logs", "--host", "") == ["web1", "web2"]
    assert offered("resume", "--state", str(work / "other"), "") == []
    assert offered("rollback", "") == []


def test_no_inventory_script_is_run_to_offer_hosts(work: Path) -> None:
    script = work / "script"
    script.write_text(f"#!/bin/sh\ntouch '{work}/was-run'\necho '{{}}'\n")
    script.chmod(0o755)
    assert offered("vars", "-i", "script", "") == ["localhost"]
    assert offered("apply", "my site.yml", "-i", "script", "--tags", "") == []
    assert not (work / "was-run").exists()


def test_no_program_is_started_to_open_what_is_encrypted(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "bin").mkdir()
    (work / "bin" / "sops").write_text(f"#!/bin/sh\ntouch '{work}/was-run'\n")
    (work / "bin" / "sops").chmod(0o755)
    monkeypatch.setenv("PATH", f"{work / 'bin'}:{os.environ['PATH']}")
    (work / "group_vars").mkdir()
    (work / "group_vars" / "web.yml").write_text("key: ENC[AES256_GCM,data:x]\nsops:\n  mac: x\n  version: 3.9.0\n")
    assert offered("vars", "-i", "hosts.ini", "w") == ["web1", "web2"]
    assert not (work / "was-run").exists()


def test_the_variable_of_the_shells_without_their_words_ends_in_one_line(work: Path) -> None:
    done = Shell(work)("status", _CIFLOW_COMPLETE="bash_complete")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "", 1)


def test_names_that_would_command_a_shell_are_not_offered(work: Path) -> None:
    (work / "a\nb.yml").write_text(SITE)
    (work / "folder.yml").mkdir()
    assert offered("apply", "") == ["my site.yml"]


def test_every_argument_is_completed_or_nobody_can_know_it() -> None:
    unknown = set()
    for name, (load, _) in COMMANDS.items():
        command = load()
        below = command.commands if isinstance(command, click.Group) else {"": command}
        for word, one in below.items():
            of_text = [p for p in one.params if isinstance(p, click.Argument) and p.type is click.STRING]
            full = f"{name} {word}".strip()
            unknown |= {f"{full} {p.name}" for p in of_text if source_of(full, p.name or "") is None}
    assert unknown == FREE
