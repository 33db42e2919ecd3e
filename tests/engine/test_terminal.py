"""What somebody is asked at a terminal, and what happens where nobody can be asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ciflow.diagnostics import ExitCode
from tests.typist import ROOT, at_a_terminal

ASK = """
- name: Release
  hosts: "{{ where }}"
  vars: {usual: 1.4.0}
  vars_prompt:
    - {name: where, prompt: "Release {{ usual }} where", private: false}
    - {name: version, prompt: Which version, default: "{{ usual }}", private: false}
    - {name: token, prompt: Token, confirm: true}
  tasks:
    - {name: Write, shell: "echo {{ version }} {{ token }} >> said"}
    - {name: Show, debug: {msg: "{{ where }} {{ token }}"}}
    - {name: Later, command: test -e go}
"""


def run(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The same without a terminal."""
    env = {**os.environ, "HOME": str(folder), "CIFLOW_STATE": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "ciflow", *words]
    return subprocess.run(argv, cwd=folder, env=env, input=stdin, capture_output=True, text=True, timeout=60)


def holding(folder: Path, secret: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_variables_are_asked_for_before_anything_runs_and_never_again(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(ASK)
    with at_a_terminal(tmp_path, "apply", "play.yml", "-v") as typist:
        typist.sees(r"Release 1\.4\.0 where: $")
        typist.types("localhost")
        typist.sees(r"Which version \[1\.4\.0\]: $")
        typist.types("")
        typist.sees("Token: $")
        typist.types("hunter-2")
        typist.sees("confirm Token: $")
        typist.types("hunter-3")
        typist.sees("DO NOT MATCH")
        for question in ("Token: $", "confirm Token: $"):
            typist.sees(question)
            typist.types("hunter-2")
        typist.sees("Later")
        assert typist.ends() == ExitCode.TASK_FAILED
        assert "hunter" not in typist.shown
        assert "localhost ********" in typist.shown
    assert holding(tmp_path / "state", "hunter-2") == [], "it lies sealed in the journal"
    (tmp_path / "go").touch()
    assert run(tmp_path, "resume").returncode == 0
    assert (tmp_path / "said").read_text() == "1.4.0 hunter-2\n"


def test_without_a_terminal_a_question_has_a_default_or_is_refused_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(ASK)
    done = run(tmp_path, "apply", "play.yml", stdin="localhost\n1\nx\nx\n")
    assert done.returncode == ExitCode.INVALID
    for name, line in (("where", 6), ("token", 8)):
        assert f"`{name}` is asked for, and there is no terminal" in done.stderr
        assert f"play.yml:{line}:7" in done.stderr
    assert "`version`" not in done.stderr
    assert not (tmp_path / "said").exists()

    run(tmp_path, "apply", "play.yml", "-e", "where=localhost token=t")
    assert (tmp_path / "said").read_text() == "1.4.0 t\n"


def test_no_input_asks_nothing_at_a_terminal_either(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(ASK)
    with at_a_terminal(tmp_path, "apply", "play.yml", "--no-input") as typist:
        assert typist.ends() == ExitCode.INVALID
        assert "no terminal" in typist.shown


def test_what_is_typed_is_data_and_never_a_template(tmp_path: Path) -> None:
    """Ansible renders it unless `unsafe: true`."""
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  vars_prompt: [{name: x, private: false}]\n"
        "  tasks: [{name: Show, debug: {msg: 'got {{ x }}'}}]\n"
    )
    with at_a_terminal(tmp_path, "apply", "play.yml", "-v") as typist:
        typist.sees("input for x: $")
        typist.types("{{ 6 * 7 }}")
        assert typist.ends() == 0
        assert "got {{ 6 * 7 }}" in typist.shown


def test_an_answer_may_be_kept_as_its_hash(tmp_path: Path) -> None:
    """As openssl's own program makes it."""
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  vars_prompt: [{name: pw, encrypt: sha512_crypt, salt: saltsalt}]\n"
        "  tasks: [{copy: {content: '{{ pw }}', dest: hash, mode: '0600'}}]\n"
    )
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", "saltsalt", "secret"], capture_output=True, text=True, check=True
    )
    with at_a_terminal(tmp_path, "apply", "play.yml") as typist:
        typist.sees("input for pw: $")
        typist.types("secret")
        assert typist.ends() == 0
    assert (tmp_path / "hash").read_text() == hashed.stdout.strip()


def test_plan_and_validate_ask_nothing(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(ASK)
    for command in ("plan", "validate"):
        with at_a_terminal(tmp_path, command, "play.yml") as typist:
            assert typist.ends() == 0, typist.shown


# --- pause ----------------------------------------------------------------------------------------------

PAUSE = """
- name: Turn
  hosts: web1,web2
  tasks:
    - {name: Before, shell: "echo {{ inventory_hostname }} >> said"}
    - name: Which one
      pause: {prompt: Which colour, echo: ECHO}
      register: colour
    - {name: After, shell: "echo {{ inventory_hostname }} {{ colour.user_input }} >> said"}
    - {name: Show, debug: {msg: "{{ colour.user_input }}"}}
    - {name: Later, command: test -e go}
"""
HOSTS = "web1 ansible_connection=local\nweb2 ansible_connection=local\n"


@pytest.mark.parametrize("echo", ["true", "false"])
def test_a_pause_asks_one_person_once_for_all_hosts(tmp_path: Path, echo: str) -> None:
    (tmp_path / "play.yml").write_text(PAUSE.replace("ECHO", echo))
    (tmp_path / "hosts").write_text(HOSTS)
    with at_a_terminal(tmp_path, "apply", "play.yml", "-i", "hosts", "-v") as typist:
        typist.sees(r"\[Which one\]\s+Which colour" + ("" if echo == "true" else r" \(output is hidden\)") + ": $")
        assert sorted((tmp_path / "said").read_text().split()) == ["web1", "web2"]
        typist.types("turquoise")
        assert typist.ends() == ExitCode.TASK_FAILED
        assert ("turquoise" in typist.shown) == (echo == "true")
    said = (tmp_path / "said").read_text().splitlines()
    assert sorted(said[2:]) == ["web1 turquoise", "web2 turquoise"]
    if echo == "false":
        assert holding(tmp_path / "state", "turquoise") == []
    (tmp_path / "go").touch()
    assert run(tmp_path, "resume").returncode == 0, "nobody is asked again"


def test_a_pause_without_a_terminal_is_a_failure(tmp_path: Path) -> None:
    """Ansible warns and goes on: what a person was meant to look at would be passed over."""
    (tmp_path / "play.yml").write_text(PAUSE.replace("ECHO", "true"))
    (tmp_path / "hosts").write_text(HOSTS)
    done = run(tmp_path, "apply", "play.yml", "-i", "hosts", stdin="blue\n")
    assert done.returncode == ExitCode.TASK_FAILED
    assert "there is no terminal to ask at" in done.stderr
    assert "approval:" in done.stderr


def test_ctrl_c_at_a_question_leaves_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PAUSE.replace("ECHO", "false"))
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "go").touch()
    with at_a_terminal(tmp_path, "apply", "play.yml", "-i", "hosts") as typist:
        typist.sees(r"hidden\): $")
        typist.presses(b"\x03")
        assert typist.ends() == ExitCode.INTERRUPTED
    with at_a_terminal(tmp_path, "resume") as typist:
        typist.sees(r"hidden\): $")
        typist.types("green")
        assert typist.ends() == 0
    assert sorted((tmp_path / "said").read_text().splitlines()) == ["web1", "web1 green", "web2", "web2 green"]


# --- passwords ------------------------------------------------------------------------------------------


def test_passwords_are_asked_for_unseen_and_sealed(tmp_path: Path) -> None:
    """`-k` and `-K`; nothing typed for the second is the first. Login and sudo are refused here: it is about asking."""
    (tmp_path / "play.yml").write_text("- hosts: localhost\n  tasks: [{command: 'true'}, {command: 'false'}]\n")
    with at_a_terminal(tmp_path, "apply", "play.yml", "-k", "-K") as typist:
        typist.sees("SSH password: $")
        typist.types("correct horse")
        typist.sees(r"BECOME password\[defaults to SSH password\]: $")
        typist.types("")
        assert typist.ends() == ExitCode.TASK_FAILED
        assert "horse" not in typist.shown
    assert holding(tmp_path / "state", "correct horse") == []


@pytest.mark.parametrize("flag", ["-k", "-K"])
def test_a_password_can_be_asked_for_only_at_a_terminal(tmp_path: Path, flag: str) -> None:
    (tmp_path / "play.yml").write_text("- hosts: localhost\n  tasks: [command: touch ran]\n")
    done = run(tmp_path, "apply", "play.yml", flag, stdin="secret\n")
    assert done.returncode == ExitCode.INVALID
    assert re.search("no terminal.*\n.*password-file", done.stderr)
    assert not (tmp_path / "ran").exists()


# --- step -----------------------------------------------------------------------------------------------

CTRL_D = b"\x04"
STEP = """
- name: Steps
  hosts: web1,web2
  tasks:
    - {name: One, shell: "echo one {{ inventory_hostname }} >> said"}
    - {name: Two, shell: "echo two {{ inventory_hostname }} >> said"}
    - {name: Three, shell: "echo three {{ inventory_hostname }} >> said; test -e go"}
    - {name: Four, shell: "echo four {{ inventory_hostname }} >> said"}
"""


def test_each_task_is_asked_about_once_for_all_hosts_and_a_resume_keeps_the_answers(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(STEP)
    (tmp_path / "hosts").write_text(HOSTS)
    with at_a_terminal(tmp_path, "apply", "play.yml", "-i", "hosts", "--step") as typist:
        for name, answer in (("One", "y"), ("Two", ""), ("Three", "y")):
            typist.sees(rf"Perform task: TASK: {name} \(N\)o/\(y\)es/\(c\)ontinue: $")
            typist.types(answer)
        assert typist.ends() == ExitCode.TASK_FAILED
    said = (tmp_path / "said").read_text().splitlines()
    assert sorted(said) == ["one web1", "one web2", "three web1", "three web2"]
    (tmp_path / "go").touch()
    with at_a_terminal(tmp_path, "resume") as typist:
        typist.sees(r"TASK: Four .*: $")
        typist.types("c")
        assert typist.ends() == 0
        assert typist.shown.count("Perform task") == 1
    said = (tmp_path / "said").read_text().splitlines()
    assert sorted(said[4:]) == ["four web1", "four web2", "three web1", "three web2"]


def test_continue_asks_about_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(STEP)
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "go").touch()
    with at_a_terminal(tmp_path, "apply", "play.yml", "-i", "hosts", "--step") as typist:
        typist.sees("TASK: One .*: $")
        typist.types("c")
        assert typist.ends() == 0
    assert len((tmp_path / "said").read_text().splitlines()) == 8


def test_a_terminal_with_nobody_at_it_any_more_interrupts_and_a_resume_asks_again(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(STEP)
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "go").touch()
    with at_a_terminal(tmp_path, "apply", "play.yml", "-i", "hosts", "--step") as typist:
        typist.sees("TASK: One .*: $")
        typist.types("YES")
        typist.sees("TASK: Two .*: $")
        typist.presses(CTRL_D)
        assert typist.ends() == ExitCode.INTERRUPTED
        assert "nobody answers at the terminal" in typist.shown
    with at_a_terminal(tmp_path, "resume") as typist:
        for name, answer in (("Two", "nonsense"), ("Three", "c")):
            typist.sees(f"TASK: {name} .*: $")
            typist.types(answer)
        assert typist.ends() == 0
    words = [line.split()[0] for line in (tmp_path / "said").read_text().splitlines()]
    assert words == ["one", "one", "three", "three", "four", "four"]


def test_a_step_is_asked_about_where_it_comes_to_pass(tmp_path: Path) -> None:
    """Handlers, and the tasks of an include, when they are reached; of a task that isn't to run nothing is shown."""
    (tmp_path / "inner.yml").write_text("- {name: Inner, command: 'true', notify: Tell}\n")
    (tmp_path / "play.yml").write_text("""
- name: Reach
  hosts: localhost
  tasks:
    - {name: Bring, include_tasks: inner.yml}
    - {name: Never, command: 'false'}
  handlers:
    - {name: Tell, command: 'true'}
""")
    with at_a_terminal(tmp_path, "apply", "play.yml", "--step") as typist:
        for name, answer in (("Bring", "y"), ("Inner", "y"), ("Never", "n"), ("Tell", "y")):
            typist.sees(f"TASK: {name} .*: $")
            typist.types(answer)
        assert typist.ends() == 0
        after = typist.shown.rpartition("(c)ontinue: ")[2]
    assert "Tell" in after
    assert "Never" not in after


def test_step_without_a_terminal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(STEP)
    (tmp_path / "hosts").write_text(HOSTS)
    done = run(tmp_path, "apply", "play.yml", "-i", "hosts", "--step", stdin="y\n")
    assert done.returncode == ExitCode.INVALID
    assert "no terminal" in done.stderr
    assert not (tmp_path / "said").exists()


# --- debugger -------------------------------------------------------------------------------------------

DEBUG = """
- name: Try
  hosts: localhost
  vars: {greeting: hello}
  tasks:
    - name: Greet
      shell: "echo {{ greeting }} >> said; test -e {{ missing | default('nowhere') }}"
      debugger: on_failed
    - {name: Copy, copy: {src: nowhere.txt, dest: copied, mode: "0600"}, debugger: on_failed}
    - {name: Later, command: test -e go}
"""
AT_GREET, AT_COPY = r"\[localhost\] TASK: Greet \(debug\)> $", r"\[localhost\] TASK: Copy \(debug\)> $"


def test_a_failed_task_is_looked_at_changed_and_run_again(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(DEBUG)
    (tmp_path / "source.txt").write_text("content")
    with at_a_terminal(tmp_path, "apply", "play.yml") as typist:
        typist.sees("failed on localhost")
        for typed, seen in (
            ("p task", "'name': 'Greet'"),
            ("p task.args", r"echo \{\{ greeting \}\}"),
            ("p result.rc", r"\D1\s"),
            ("p result._result['failed']", "True"),
            ("p host", "'localhost'"),
            ("p task_vars['greeting'] | upper", "'HELLO'"),
            ("p nonsense", "`nonsense` is not defined"),
            ("p 6 *", "can't be parsed"),
            ("what", "run it again"),
            ("task_vars['missing'] = play.yml", "is no literal"),
            ("task_vars['missing'] = 'play.yml'", ""),
            ("task_vars['greeting'] = '{{6}}'", ""),
        ):
            typist.sees(AT_GREET)
            typist.types(typed)
            typist.sees(seen)
        typist.sees(AT_GREET)
        typist.types("r")
        typist.sees(AT_COPY)
        typist.types("task.args['mood'] = 'good'")
        typist.sees("mood")
        typist.sees(AT_COPY)
        typist.types("task.args['src'] = 'source.txt'")
        typist.sees(AT_COPY)
        typist.types("r")
        assert typist.ends() == ExitCode.TASK_FAILED, "of Later"
    assert (tmp_path / "said").read_text() == "hello\n{{6}}\n", "what is typed is a value, not a template"
    assert (tmp_path / "copied").read_text() == "content"
    (tmp_path / "go").touch()
    done = run(tmp_path, "resume")
    assert done.returncode == 0, "what was mended in the debugger is neither asked about nor done again"
    assert (tmp_path / "said").read_text() == "hello\n{{6}}\n"


def test_go_on_and_quit(tmp_path: Path) -> None:
    first = "- hosts: localhost\n  debugger: on_failed\n  tasks: [{command: 'false'}, {command: touch ran}]\n"
    (tmp_path / "play.yml").write_text(first + "- hosts: localhost\n  tasks: [{command: touch ran}]\n")
    for command in ("c", "q", "q"):
        with at_a_terminal(tmp_path, "apply", "play.yml") as typist:
            typist.sees(r"\(debug\)> $")
            typist.types(command)
            assert typist.ends() == ExitCode.TASK_FAILED
            assert ("somebody quit the debugger" in typist.shown) == (command == "q")
        assert not (tmp_path / "ran").exists()
        (tmp_path / "play.yml").write_text(first.replace("debugger: on_failed", "strategy: debug"))


@pytest.mark.parametrize(
    ("word", "task", "stops"),
    [
        ("always", "command: 'true'", True),
        ("never", "command: 'false'", False),
        ("on_failed", "command: 'true'", False),
        ("on_skipped", "command: 'true'\n      when: false", True),
        ("on_failed", "command: 'false'\n      ignore_errors: true", False),
        ("on_unreachable", "ping:\n      vars: {ansible_connection: ssh, ansible_port: 1}", True),
    ],
)
def test_when_the_debugger_stops(tmp_path: Path, word: str, task: str, stops: bool) -> None:
    (tmp_path / "play.yml").write_text(
        f"- hosts: localhost\n  debugger: {'never' if stops else 'on_failed'}\n  tasks:\n"
        f"    - {task}\n      debugger: {word}\n"
    )
    with at_a_terminal(tmp_path, "apply", "play.yml") as typist:
        if stops:
            typist.sees(r"\(debug\)> $")
            typist.types("c")
        typist.ends()
        assert ("(debug)>" in typist.shown) == stops


def test_without_a_terminal_the_debugger_does_not_stop(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(DEBUG)
    done = run(tmp_path, "apply", "play.yml", stdin="r\n")
    assert done.returncode == ExitCode.TASK_FAILED
    assert "debug" not in done.stderr


def test_the_debugger_shows_nothing_of_a_task_that_hides_itself(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  debugger: on_failed\n  tasks: [{shell: echo hunter2; false, no_log: true}]\n"
    )
    with at_a_terminal(tmp_path, "apply", "play.yml") as typist:
        for expression in ("task", "task.args", "result"):
            typist.sees(r"\(debug\)> $")
            typist.types(f"p {expression}")
            typist.sees("hidden by no_log")
        typist.sees(r"\(debug\)> $")
        typist.types("c")
        typist.ends()
        assert "hunter2" not in typist.shown
