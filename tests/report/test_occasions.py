"""What of a run is worth telling, and as what."""

from __future__ import annotations

from typing import Any

import pytest

from ciflow.lang.notifications import MOMENTS, USUAL
from ciflow.report.occasions import Occasion, Occasions
from tests.report.story import Story


def told(story: Story, on: tuple[str, ...] = MOMENTS, **made: Any) -> list[str]:
    return [name for occasion in occasions(story, **made) if (name := occasion.for_whom(on))]


def occasions(story: Story, **made: Any) -> list[Occasion]:
    fold = Occasions("Shop", **made)
    return [occasion for event in story.events if (occasion := fold.event(event))]


def release(*states: tuple[str, dict[str, Any]], ends: int | None = None) -> Story:
    """A rollout of shop 2.0; `ends`: the run's exit code."""
    story = Story().begin().play("out", "Roll out")
    story.tell(
        "canary_started",
        {"service": "shop", "version": "2.0", "slot": "b", "live": "a", "from": "1.0", "steps": [500, 5000], "token": 1,
         "hosts": ["web"], "way": [], "times": {}},
        play="out",
    )  # fmt: skip
    for kind, data in states:
        story.pass_time(1).tell(
            kind, {"service": "shop", "version": "2.0", "slot": "b", "token": 1, **data}, play="out"
        )
    return story if ends is None else story.tell("run_ended", {"exit": ends, "result": "x"})


def dial(weight: int) -> tuple[str, dict[str, Any]]:
    return "dial", {"weight": weight, "share": weight, "reason": "so", "verified": None}


def state(word: str) -> tuple[str, dict[str, Any]]:
    return "canary_state", {"state": word, "step": 0, "weight": 500, "reason": "5 of 10 bad"}


GOOD = release(dial(500), dial(500), dial(5000), dial(10_000), state("good"), ends=0)
BACK = release(dial(500), state("rolling_back"), dial(0), state("rolled_back"), ends=7)
PAUSED = release(dial(500), state("paused"), ends=8)


def test_a_good_release_is_told_step_by_step_to_who_wants_it() -> None:
    assert told(GOOD) == ["started", "dial", "dial", "promoted", "succeeded"]
    assert told(GOOD, ("dial",)) == ["dial", "dial", "dial"]
    assert told(GOOD, USUAL) == []


def test_a_rollback_is_told_once_by_its_own_name() -> None:
    assert told(BACK, USUAL) == ["rolled_back"]
    (occasion,) = [one for one in occasions(BACK) if one.for_whom(USUAL)]
    assert occasion.event["title"] == "shop 2.0 was rolled back to 1.0" and occasion.event["reason"] == "5 of 10 bad"
    assert (occasion.event["service"], occasion.event["version"], occasion.event["before"]) == ("shop", "2.0", "1.0")


def test_a_pause_is_told_once_with_what_to_type() -> None:
    assert told(PAUSED, USUAL) == ["paused"]
    (occasion,) = [one for one in occasions(PAUSED) if one.for_whom(USUAL)]
    assert occasion.event["title"] == "shop 2.0 is paused at 5 %" and occasion.event["weight"] == 5.0
    assert occasion.event["next"] == "ciflow resume R-12, or ciflow rollback shop"


@pytest.mark.parametrize(("exit", "name"), [(0, "succeeded"), (1, "failed"), (3, "failed"), (4, "failed"),
                                            (5, "failed"),
                                            (7, "rolled_back"), (8, "paused"), (130, "interrupted"),
                                            (143, "interrupted")])  # fmt: skip
def test_each_end_of_a_run_has_a_name(exit: int, name: str) -> None:
    story = Story().begin().tell("run_ended", {"exit": exit, "result": "x"})
    assert told(story) == ["started", name]


def test_who_has_taken_a_run_over_tells_its_end() -> None:
    assert told(release(dial(500), state("fenced"), ends=6), USUAL) == []


@pytest.mark.parametrize(
    ("before", "on", "heard"),
    [
        ({"failed"}, USUAL, "recovered"),
        (set(), USUAL, ""),
        ({"interrupted"}, USUAL, ""),  # nobody told them
        ({"interrupted"}, ("interrupted", "recovered"), "recovered"),
        ({"failed"}, ("recovered",), "recovered"),
        ({"rolled_back"}, ("failed", "recovered", "succeeded"), "succeeded"),
        ({"failed"}, ("failed", "recovered", "succeeded"), "recovered"),
    ],
)
def test_it_is_well_again_only_for_who_heard_that_it_was_not(before: set[str], on: tuple[str, ...], heard: str) -> None:
    story = Story().begin().tell("run_ended", {"exit": 0, "result": "ok"})
    assert told(story, on, trouble=set(before)) == ([heard] if heard else [])


def test_a_run_that_failed_and_is_resumed_has_recovered() -> None:
    story = Story().begin().tell("run_ended", {"exit": 4, "result": "x"})
    story.tell("run_resumed", {"who": "bob"}).tell("run_ended", {"exit": 0, "result": "ok"})
    assert told(story, USUAL) == ["failed", "recovered"]
    assert occasions(story)[-1].event["who"] == "bob"


def test_a_version_that_is_deployed_again_is_a_rollback() -> None:
    story = Story().begin().tell("run_ended", {"exit": 0, "result": "ok"})
    assert told(story, USUAL, again=True) == ["rolled_back"]


def test_ids_are_the_same_whenever_the_events_are_read_again() -> None:
    ids = [one.id for one in occasions(GOOD)]
    assert ids == [one.id for one in occasions(GOOD)] and len(set(ids)) == len(ids)


def test_rescued_tasks_are_no_failures_and_few_of_many_are_named() -> None:
    story = Story().begin().play("p", "P")
    story.task("p", "0", "Saved", {"web1": "failed"}, msg="no").task("p", "0", "Saved", {"web1": "rescued"})
    for number in range(1, 10):
        story.task("p", str(number), f"Task {number}", {f"web{host}": "failed" for host in range(50)}, msg="x" * 9_000)
    story.tell("run_ended", {"exit": 4, "result": "x"})
    event = occasions(story)[-1].event
    names = [failure["task"] for failure in event["failures"]]
    assert "Saved" not in names and names[0] == "Task 1" and len(names) <= 5
    assert all(len(failure["hosts"]) <= 20 for failure in event["failures"])
    assert len(event["text"]) <= 3_000


def test_what_a_host_prints_acts_on_no_screen() -> None:
    story = Story().begin().play("p", "P")
    story.task("p", "0", "T\x1b]0;x\x07", {"web1": "failed"}, msg="a\x1b[31mb\u202ec\x00d\udcff")
    story.tell("run_ended", {"exit": 4, "result": "x"})
    event = occasions(story)[-1].event
    text = event["text"] + event["title"] + event["failures"][0]["message"] + event["failures"][0]["task"]
    assert all(char == "\n" or char.isprintable() for char in text)
