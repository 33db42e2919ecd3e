"""`ciflow interactive`: somebody at a real terminal, who knows no command by heart."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ciflow.cli.offers import There, offers
from ciflow.diagnostics import ExitCode
from ciflow.model import Event
from ciflow.store.folds import Release, RunSummary
from ciflow.store.store import Store
from tests.report import story
from tests.typist import PATIENCE, ROOT, Typist, at_a_terminal

BREAK = """
- name: Break
  hosts: localhost
  gather_facts: false
  tasks:
    - {name: Say, command: echo a word}
    - {name: Break it, shell: "echo the reason >&2; test -e mended"}
"""
TWO = """
- name: Lint
  hosts: all
  gather_facts: false
  tasks:
    - {name: Look, shell: "echo lint {{ inventory_hostname }} >> said", tags: [quick]}
- name: Test
  hosts: all
  gather_facts: false
  tasks:
    - {name: Run, shell: "echo test {{ inventory_hostname }} >> said", tags: [quick]}
    - {name: More, shell: "echo more {{ inventory_hostname }} >> said", tags: [slow]}
"""
HOSTS = "web1 ansible_connection=local\nweb2 ansible_connection=local\n"
PROMPT = r"q to leave\s+(?:\x1b\[\?2004h)?> $"


def ciflow(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(folder), "CIFLOW_STATE": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-P", "-m", "ciflow", *words]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE)


def number(typist: Typist, what: str) -> str:
    """Of the choice that says this, in the menu that stands there."""
    found = typist.sees(rf"(?m)^ *(\d+)  {what}")[1]
    typist.sees(PROMPT)
    return found


def runs(folder: Path) -> list[str]:
    with Store.open(folder / "state") as store:
        return store.runs()


def test_what_failed_is_shown_with_the_command_that_shows_it(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(BREAK)
    ciflow(tmp_path, "apply", "play.yml")
    (run,) = runs(tmp_path)
    with at_a_terminal(tmp_path, "interactive") as typist:
        typist.sees(rf"{run} +failed ")
        typist.types(number(typist, "what `Break it` said when it failed +ciflow logs"))
        typist.sees(re.escape(f"$ ciflow logs {run} 'Break it'"))
        typist.sees("the reason")
        typist.sees(PROMPT)
        typist.types("explain cf0102")
        typist.sees("CF0102")
        typist.sees(PROMPT)
        typist.types("q")
        assert typist.ends() == 0
        assert "Run it?" not in typist.shown, "nothing of it changes anything"


def test_what_changes_something_is_asked_about_once(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(BREAK)
    ciflow(tmp_path, "apply", "play.yml")
    (run,) = runs(tmp_path)
    with at_a_terminal(tmp_path, "interactive") as typist:
        typist.types(number(typist, f"go on with {run}, failed: play.yml"))
        typist.sees(re.escape(f"$ ciflow resume {run}"))
        typist.sees(r"Run it\? \[y/N\] $")
        (tmp_path / "mended").touch()
        typist.types("")
        typist.sees(PROMPT)
        assert "run_resumed" not in kinds(tmp_path)
        typist.types("")
        typist.types(number(typist, f"go on with {run}"))
        typist.sees(r"Run it\? \[y/N\] $")
        typist.types("y")
        typist.sees(f"{run} +ok ")
        typist.sees(PROMPT)
        typist.presses(b"\x04")
        assert typist.ends() == 0
    assert "run_resumed" in kinds(tmp_path)


def kinds(folder: Path) -> list[str]:
    with Store.open(folder / "state") as store:
        return [event.kind for event in store.events()]


def test_a_rollback_begins_as_soon_as_it_is_chosen(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state") as store:
        store.append(story.release().events)
    with at_a_terminal(tmp_path, "interactive") as typist:
        typist.types(number(typist, r"roll shield \S+ back +ciflow rollback shield"))
        typist.sees(r"\$ ciflow rollback shield\s")
        typist.sees("it ended with ")  # this journal knows no router that could be turned
        typist.sees(PROMPT)
        typist.types("q")
        assert typist.ends() == 0
        assert "Run it?" not in typist.shown


def test_a_run_that_waits_for_a_word_gets_it(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        "- {name: Ask, hosts: localhost, gather_facts: false, approval: {prompt: 'Ship it?'},\n"
        "   tasks: [{name: Ship, command: touch shipped}]}\n"
    )
    env = {**os.environ, "HOME": str(tmp_path), "CIFLOW_STATE": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-P", "-m", "ciflow", "apply", "--no-input", "--json", "play.yml"]
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert any('"approval_wanted"' in line for line in waiting.stdout)
        with at_a_terminal(tmp_path, "interactive") as typist:
            typist.sees(r"waits for somebody to answer: Ship it\?")
            typist.types(number(typist, r"say yes: Ship it\? \(R-1-\w+\) +ciflow approve"))
            typist.sees(r"Run it\? \[y/N\] $")
            typist.types("y")
            typist.sees("approved: Ship it")
            typist.sees(PROMPT)
            waiting.stdout.read()
            typist.types("q")
            assert typist.ends() == 0
        assert waiting.wait(PATIENCE) == 0
    assert (tmp_path / "shipped").exists()


def test_a_playbook_is_run_with_plays_tags_and_hosts_that_were_chosen_first_without_a_change(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(TWO)
    (tmp_path / "hosts").write_text(HOSTS)
    with at_a_terminal(tmp_path, "interactive") as typist:
        typist.types(number(typist, "apply a playbook"))
        typist.sees(r"which playbook .*: $")
        typist.types("1")
        typist.sees(r"which inventory .*: $")
        typist.types("hosts")
        typist.sees(r"which plays.*: $")
        typist.types("Tset")
        typist.sees("there is no Tset")
        typist.sees(r"which plays.*: $")
        typist.presses(b"Te\t\n")  # completed
        typist.sees(r"which tags.*: $")
        typist.types("quick")
        typist.sees(r"which hosts.*: $")
        typist.types("2")
        words = "--inventory=hosts --play=Test --tags=quick --limit=web2 play.yml"
        typist.sees(re.escape(f"$ ciflow apply --check {words}"))
        typist.sees(r"Try it first, changing nothing\? \[Y/n\] $")
        typist.types("")
        typist.sees(re.escape(f"$ ciflow apply {words}"))
        assert not (tmp_path / "said").exists()
        typist.sees(r"Run it\? \[y/N\] $")
        typist.types("y")
        typist.sees(PROMPT)
        typist.types("q")
        assert typist.ends() == 0
    assert (tmp_path / "said").read_text() == "test web2\n"
    assert len(runs(tmp_path)) == 2


def test_a_faulty_playbook_shows_its_faults_and_the_menu_again(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text("- hosts: localhost\n  taks: []\n")
    with at_a_terminal(tmp_path, "interactive") as typist:
        typist.types(number(typist, "apply a playbook"))
        typist.sees(r"which playbook .*: $")
        typist.types("1")
        typist.sees("did you mean `tasks`")
        typist.sees(PROMPT)
        typist.types("q")
        assert typist.ends() == 0


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["ctrl-c", "ctrl-d"])
@pytest.mark.parametrize("answers", [(), ("1",), ("1", "1"), ("1", "1", "n")])
def test_whoever_leaves_at_a_question_leaves_nothing_half_done(
    tmp_path: Path, key: bytes, answers: tuple[str, ...]
) -> None:
    (tmp_path / "play.yml").write_text("- hosts: localhost\n  tasks: [{name: A, command: touch done}]\n")
    questions = (PROMPT, r"which playbook .*: $", r"changing nothing\? \[Y/n\] $", r"Run it\? \[y/N\] $")
    with at_a_terminal(tmp_path, "interactive") as typist:
        for question, answer in zip(questions, answers, strict=False):
            typist.sees(question)
            typist.types(answer)
        typist.sees(questions[len(answers)])
        typist.presses(key)
        assert typist.ends() == 0
    assert not (tmp_path / "state").exists()


def test_without_a_terminal_it_refuses_and_says_what_there_is_instead(tmp_path: Path) -> None:
    done = ciflow(tmp_path, "interactive")
    assert (done.returncode, done.stdout) == (ExitCode.INVALID, "")
    assert "there is no terminal to ask at" in done.stderr
    assert "ciflow --help" in done.stderr


def test_the_journal_that_the_command_line_names_is_in_every_command(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(BREAK)
    other = tmp_path / "other place"
    ciflow(tmp_path, "apply", "--state", str(other), "play.yml")
    with at_a_terminal(tmp_path, "interactive", "--state", str(other)) as typist:
        typist.types(number(typist, "all runs"))
        typist.sees(re.escape(f"$ ciflow history '--state={other}'"))
        typist.sees(r"R-1-\w+ +failed")
        typist.sees(PROMPT)
        typist.types("q")
        assert typist.ends() == 0


def test_names_of_others_move_nothing_on_the_screen(tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07"
    told = story.Story("R-1").begin()
    told.tell("canary_started", {"service": hostile, "version": "1", "slot": "b", "token": 1, "steps": [1]}, play="p")
    told.tell("dial", {"weight": 10_000, "slot": "b", "token": 1}, play="p")
    with Store.open(tmp_path / "state") as store:
        store.append(told.events)
    (tmp_path / f"{hostile}.yml").write_text(BREAK)
    with at_a_terminal(tmp_path, "interactive") as typist:
        typist.sees(r"roll \\x1b\]0;owned\\x07 1 back")
        typist.sees(PROMPT)
        typist.types("q")
        assert typist.ends() == 0
        assert "\x1b]0;" not in typist.shown
        assert "apply a playbook" not in typist.shown


# --- which are offered ------------------------------------------------------------------------------------------


def words(there: There, who: str = "ada@here") -> list[str]:
    return [" ".join(offer.words) for offer in offers(there, who)]


def moving(state: str = "holding") -> Release:
    return Release("shield", "2", "b", 500, state, 0.0, 0.0, "ada", "R-9")


def test_a_rollout_under_way_offers_every_way_to_step_in_the_safest_first() -> None:
    found = words(There((RunSummary("R-9", "release.yml"),), (moving(),)))
    assert found[:6] == [
        "rollback shield", "rollback --rehearse shield", "status --watch shield", "pause shield", "promote shield",
        "abort shield",
    ]  # fmt: skip


def test_one_that_is_paused_is_gone_on_with_instead_of_paused() -> None:
    found = words(There((RunSummary("R-9", "release.yml"),), (moving("paused"),)))
    assert "resume R-9" in found
    assert "pause shield" not in found


def test_a_rollout_whose_process_is_gone_is_resumed_or_rolled_back_and_told_nothing() -> None:
    found = words(There((RunSummary("R-9", "release.yml", state="interrupted"),), (moving(),)))
    assert found[:3] == ["rollback shield", "rollback --rehearse shield", "resume R-9"]
    assert not {"pause shield", "promote shield", "abort shield"} & set(found)


def test_who_may_not_answer_is_not_asked_to() -> None:
    wanted = Event(kind="approval_wanted", run="R-9", data={"prompt": "Ship?", "approvers": ["bob"]})
    there = There((RunSummary("R-9", "release.yml"),), approvals=(wanted,))
    assert not any("approve" in one for one in words(there))
    assert "approve R-9" in words(there, "bob@there")


def test_a_name_that_looks_like_an_option_is_none() -> None:
    release = Release("--break-glass", "2", "b", 10_000, "good", 1.0, 0.0, "ada", "R-9")
    assert words(There((), (release,)))[0] == "rollback -- --break-glass"
