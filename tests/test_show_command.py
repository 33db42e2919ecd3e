"""`ciflow show`: a past run on one screen, as its end stood there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ciflow.report.record import KINDS, Record
from ciflow.store.store import Store
from tests.report import story
from tests.report.story import Story
from tests.test_cli import FAIL, SAY, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    made.write(say=SAY, fail=FAIL)
    return made


def kept(shell: Shell, *told: Story) -> None:
    """A journal with these runs in it."""
    with Store.open(shell.folder / "state") as store:
        for one in told:
            store.append(one.events)


@pytest.mark.parametrize("name", ["say", "fail"])
def test_it_says_what_the_run_itself_said_at_its_end(shell: Shell, name: str) -> None:
    said = shell("apply", f"{name}.yml").stderr.rstrip("\n")
    end = said.rpartition("\n\n")[2]
    shown = shell("show")
    head, _, rest = shown.stdout.partition("\n")
    assert rest.rstrip("\n") == end
    assert f"{name}.yml" in head and head.startswith("R-1-")
    assert (shown.returncode, shown.stderr) == (0, "")


def test_a_run_is_named_by_its_number_and_without_one_the_newest_is_meant(shell: Shell) -> None:
    shell("apply", "say.yml")
    shell("apply", "fail.yml")
    assert "Done." in shell("show", "R-1").stdout
    assert "Failed: Break it" in shell("show").stdout
    wrong = shell("show", "R-7")
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (3, "error: no run is called R-7")


def test_before_anything_was_run_it_says_so(shell: Shell) -> None:
    done = shell("show")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing was run yet" in done.stderr


def test_a_release_shows_its_dial_with_the_evidence_and_how_to_go_back(shell: Shell) -> None:
    kept(shell, story.release())
    shown = shell("show").stdout
    assert "shield 1.4.0 -> slot b, 4 hosts  good" in shown
    assert "evidence against it: errors 0.8 of 100" in shown
    assert "13,404 requests served, 47 failed" in shown


def test_what_to_type_next_is_said_only_while_it_would_do_that(shell: Shell) -> None:
    """The release had all traffic when its run ended; its successor has it now, and a rollback would undo that one."""
    old, new = released("R-1", "1.4.0", "b"), released("R-2", "1.5.0", "a")
    kept(shell, old)
    assert "ciflow rollback shield" in shell("show", "R-1").stdout
    kept(shell, new)
    assert "ciflow rollback" not in shell("show", "R-1").stdout
    assert "ciflow rollback shield" in shell("show", "R-2").stdout


def test_a_release_that_was_rolled_back_since_says_so_above_what_it_said_at_its_end(shell: Shell) -> None:
    back = {"service": "shield", "from": "1.5.0", "to": "1.4.0", "slot": "b", "who": "bob", "reason": "", "took": 0.2}
    began = {"playbook": "rollback shield", "who": "bob"}
    rollback = Story("R-3").tell("run_started", began).tell("rollback", back)
    kept(shell, released("R-1", "1.4.0", "b"), released("R-2", "1.5.0", "a"))
    assert "since then shield 1.4.0 was followed by another version" in shell("show", "R-1").stdout
    assert "since then" not in shell("show", "R-2").stdout
    kept(shell, rollback.end(0, "shield 1.5.0 was rolled back; 1.4.0 has all traffic"))
    shown = shell("show", "R-2").stdout
    assert "since then shield 1.5.0 was rolled back" in shown and "ciflow rollback" not in shown
    assert "since then" not in shell("show", "R-1").stdout
    assert "shield 1.5.0 was rolled back; 1.4.0 has all traffic" in shell("show", "R-3").stdout
    assert len(json.loads(shell("show", "R-2", "--json").stdout)["since"]) == 1


def test_a_pause_offers_the_way_back_beside_the_way_on(shell: Shell) -> None:
    s = Story().begin().play("roll", "Roll out")
    s.tell("canary_started", {"service": "shield", "version": "2", "slot": "b", "token": 1, "steps": [1]}, play="roll")
    s.tell("canary_state", {"state": "paused", "step": 0, "weight": 500, "reason": "errors"}, play="roll")
    kept(shell, s.end(8, "paused"))
    ways = [line.strip() for line in shell("show").stdout.splitlines() if "  ciflow " in line]
    assert ways == ["next:   ciflow resume R-12", "or:     ciflow rollback shield"]


def test_a_rollback_that_left_a_router_is_gone_on_with_by_the_same_command(shell: Shell) -> None:
    """It walks no plan, so that nothing can be resumed."""
    began = {"playbook": "rollback shield", "who": "bob"}
    kept(shell, Story("R-1").tell("run_started", began).end(5, "shield was turned on 1 of 2 routers; left: web2"))
    shown = shell("show").stdout
    assert "left: web2" in shown and "next:   ciflow rollback shield" in shown and "resume" not in shown


def released(run: str, version: str, slot: str) -> Story:
    s = Story(run).begin().play("roll", "Roll out")
    s.tell("canary_started", {"service": "shield", "version": version, "slot": slot, "live": "a", "token": 7,
                              "steps": [10_000], "hosts": ["web1"]}, play="roll")  # fmt: skip
    s.tell("dial", {"share": 10_000, "slot": slot, "weight": 10_000, "token": 7}, play="roll")
    s.tell("canary_state", {"state": "good", "step": 0, "weight": 10_000, "reason": ""}, play="roll")
    return s.end_play("roll").end(0, f"shield {version} has all traffic.", "ciflow rollback shield")


def test_a_run_whose_process_is_gone_can_be_resumed_and_one_that_lives_has_not_ended(shell: Shell) -> None:
    gone = {"run": "R-1", "who": "ada", "doing": "", "host": "elsewhere", "machine": "m", "pid": 1, "start": 1.0}
    kept(shell, Story("R-1").tell("run_started", {"playbook": "a.yml", "holder": gone, "request": {}}),
         Story("R-2").tell("run_started", {"playbook": "b.yml", "request": {}}))  # fmt: skip
    first = shell("show", "R-1").stdout
    assert "interrupted" in first and "It has not ended." in first and "ciflow resume R-1" in first
    second = shell("show", "R-2").stdout
    assert "running" in second and "It has not ended." in second and "resume" not in second


def test_logs_tell_what_the_dial_and_its_gates_did_to_the_second(shell: Shell) -> None:
    kept(shell, story.turned_back())
    told = [" ".join(line.split()) for line in shell("logs").stdout.splitlines()]
    for words in (
        "canary_started roll shield 1.4.0 into slot b, beside",
        "dial roll slot b has 5 %",
        "interval roll candidate 60 bad of 610, stable",
        "gate roll errors bad: ",
        "canary_state roll rolled back",
        "users roll 12,200 requests served, 64 failed, 610 of them on the new version",
    ):
        assert any(words in line for line in told), (words, told)
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in told)


def test_programs_get_the_same_facts_as_one_value(shell: Shell) -> None:
    kept(shell, story.turned_back())
    found = json.loads(shell("show", "--json").stdout)
    assert (found["run"], found["state"], found["exit"]) == ("R-12", "rolled_back", 7)
    assert found["users"] == {"served": 12_200, "failed": 64, "met_fault": 610}
    [rollout] = found["rollouts"]
    assert (rollout["service"], rollout["version"], rollout["state"]) == ("shield", "1.4.0", "rolled_back")
    [step] = rollout["steps"]
    assert step["candidate"] == {"requests": 610, "bad": 60}
    assert [(gate["name"], gate["verdict"], gate["evidence"]) for gate in step["gates"]] == [("errors", "bad", 300.0)]


def test_an_infinite_evidence_is_text_in_json(shell: Shell) -> None:
    s = Story().begin().play("roll", "Roll out")
    s.tell("canary_started", {"service": "shield", "version": "2", "slot": "b", "token": 1, "steps": [1]}, play="roll")
    s.tell("dial", {"share": 1, "slot": "b", "weight": 1, "token": 1}, play="roll")
    s.tell("gate", {"name": "errors", "verdict": "bad", "evidence": float("inf"), "threshold": 100.0, "sentence": "",
                    "counts": {}}, play="roll")  # fmt: skip
    kept(shell, s)
    found = json.loads(shell("show", "--json").stdout, parse_constant=pytest.fail)
    assert found["rollouts"][0]["steps"][0]["gates"][0]["evidence"] == "inf"


def test_names_with_control_characters_move_nothing_on_the_screen(shell: Shell) -> None:
    s = Story().tell("run_started", {"playbook": "\x1b]0;pwn\x07.yml", "who": "ada\n"}).play("p", "a\x1b[2Jb")
    kept(shell, s.end_play("p").end(0, ""))
    assert not set(shell("show").stdout) & {"\x1b", "\x07"}


@pytest.mark.parametrize("told", [story.release(), story.failure(), story.turned_back()], ids=lambda one: one.run)
def test_nothing_is_lost_by_reading_only_the_events_that_a_report_tells_of(told: Story) -> None:
    whole, some = Record(), Record()
    for event in told.events:
        whole.event(event)
        if event.kind in KINDS:
            some.event(event)
    assert some.data() == whole.data()


def test_what_is_noted_beside_a_run_afterwards_is_shown_and_changes_nothing_else(shell: Shell) -> None:
    kept(shell, story.release())
    before, (run,) = shell("show").stdout, {event.run for event in story.release().events}
    done = shell("annotate", run, "checkout", "failed for everybody in Norway")
    assert (done.returncode, done.stdout) == (0, "") and f"`ciflow show {run}` has it" in done.stderr
    assert shell("annotate", run, "mended in 1.4.1").returncode == 0
    notes = [line for line in shell("show").stdout.splitlines() if "noted by" in line]
    assert [note.partition(": ")[2] for note in notes] == ["checkout failed for everybody in Norway", "mended in 1.4.1"]
    assert [line for line in shell("show").stdout.splitlines() if "noted by" not in line] == before.splitlines()
    told = json.loads(shell("show", "--json").stdout)["annotations"]
    assert [note["reason"] for note in told] == ["checkout failed for everybody in Norway", "mended in 1.4.1"]
    for form in ("html", "md"):
        assert "checkout failed for everybody in Norway" in shell("report", run, "--format", form).stdout
    assert "mended in 1.4.1" in shell("logs", run).stdout


def test_a_note_needs_a_run_that_there_is_and_words(shell: Shell) -> None:
    assert shell("annotate", "R-1", "why").returncode == 3
    kept(shell, story.release())
    assert "no run is called R-99" in shell("annotate", "R-99", "why").stderr
    assert shell("annotate", "R-1").returncode == shell("annotate", "R-1", " ").returncode == 3
    assert "noted by" not in shell("show").stdout
