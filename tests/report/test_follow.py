"""A rollout as somebody watches it: the whole screen, and one line at a time."""

from __future__ import annotations

from typing import Any

from ciflow.report.follow import Followed
from ciflow.report.text import painted, width
from tests.report import story
from tests.report.story import START, Story

WAY = {"way": [[100, 60, 0], [500, 120, 0]], "times": {"warm_up": 30.0, "bake": 600.0}}


def watched(told: Story) -> Followed:
    followed = Followed()
    for event in told.events:
        followed.event(event)
    return followed


def rollout(**more: Any) -> Story:
    started = {"service": "shield", "version": "1.4.0", "slot": "b", "live": "a", "from": "1.3.2", "token": 7,
               "steps": [100, 500], "hosts": ["web1"], **WAY, **more}  # fmt: skip
    return Story().begin().play("roll", "Roll out").tell("canary_started", started, play="roll")


def screen(followed: Followed, now: float, columns: int = 100) -> list[str]:
    lines = followed.frame(now, columns, "q leave")
    assert all(width(painted(one, False)) <= columns for one in lines)
    return [" ".join(painted(one, False).split()) for one in lines]


def test_the_screen_says_where_the_dial_is_what_the_gates_have_and_how_long_it_takes_at_least() -> None:
    told = rollout()
    story.step(told, 100, 40, (12, 0), (1192, 4))
    lines = screen(watched(told), told.at)
    assert lines[0].startswith("shield 1.3.2 -> 1.4.0 in slot b")
    assert "step 1 of 2" in lines[1]
    assert "at least 13m 20s left" in lines[1], "60 + 30 - 40 here, 120 + 30 there, 600 of bake"
    assert lines[2:4] == ["candidate 12 requests 0 bad 0.00%", "stable 1,192 requests 4 bad 0.34%"]
    assert lines[4].startswith("errors [") and "0.8 of 100 good" in lines[4]
    assert lines[-1] == "q leave"


def test_evidence_fills_its_bar_by_its_logarithm() -> None:
    told = rollout().tell("dial", {"share": 100, "slot": "b", "weight": 100}, play="roll")
    for evidence, filled in ((0.5, 0), (10.0, 12), (100.0, 24), (1e9, 24)):
        gate = {
            "name": "errors",
            "verdict": "hold",
            "evidence": evidence,
            "threshold": 100.0,
            "sentence": "",
            "counts": {},
        }
        told.tell("gate", gate, play="roll")
        bar = next(line for line in screen(watched(told), told.at) if line.startswith("errors"))
        assert bar.count("#") == filled, evidence


def test_past_its_time_a_hold_waits_for_evidence() -> None:
    told = rollout(way=[[100, 60, 0]], times={"warm_up": 0.0, "bake": 0.0})
    told.tell("dial", {"share": 100, "slot": "b", "weight": 100}, play="roll").pass_time(61)
    assert "waits for evidence" in screen(watched(told), told.at)[1]


def test_a_pipe_gets_a_line_for_what_changes_and_none_for_what_does_not() -> None:
    told, followed, lines = story.turned_back(), Followed(), []
    for event in told.events:
        followed.event(event)
        lines += filter(None, [followed.news(event)])
    said = [line.split("  ", 1)[1] for line in lines]
    assert said == [
        "shield 1.4.0  into slot b, beside nothing",
        "shield 1.4.0  the candidate has 5 %",
        "shield 1.4.0  errors bad: errors too many: 60 of 610 against 4 of 11,590",
        "shield 1.4.0  rolling back at 5 %: errors: odds 300 to 1 against `as good as stable`",
        "shield 1.4.0  the candidate has 0 %",
        "shield 1.4.0  rolled back",
        "shield 1.4.0  12,200 requests served, 64 failed, 610 of them on the new version",
    ]
    assert (followed.exit, followed.services) == (7, ["shield"])


def test_what_programs_say_sends_nothing_to_the_terminal() -> None:
    told = rollout(version="1.4\x1b]0;pwn\x07").tell("warning", {"message": "\x1b[2J"}, play="roll")
    followed = watched(told)
    shown = "".join(painted(one, False) for one in followed.frame(START, 100, "")) + followed.news(told.events[-1])
    assert "\x1b" not in shown and "\\x1b[2J" in shown


def test_what_came_of_a_key_stays_though_the_run_says_something_else() -> None:
    told = rollout().tell("warning", {"message": "web1 holds token 8"})
    lines = watched(told).frame(told.at, 100, "q leave", "Rolled back in 0.2 s.\nLeft: web2.")
    shown = [painted(one, False) for one in lines]
    assert shown[-4:] == ["Rolled back in 0.2 s.", "Left: web2.", "web1 holds token 8", "q leave"]


def test_a_stable_version_that_fails_is_named_beside_its_counts_and_when_it_recovers() -> None:
    told, sentence = rollout(), "errors: stable itself is shown to be more than 3 times worse than before the release"
    told.tell("dial", {"share": 100, "slot": "b", "weight": 100, "reason": "step 1"}, play="roll")
    about = {"service": "shield", "version": "1.4.0"}
    told.tell("stable", {**about, "sick": True, "sentence": sentence}, play="roll")
    lines = screen(watched(told), told.at)
    assert lines[4] == sentence and lines[3].startswith("stable ")
    assert watched(told).news(told.events[-1]).endswith(f"shield 1.4.0  {sentence}")
    told.tell("stable", {**about, "sick": False, "sentence": ""}, play="roll")
    assert sentence not in screen(watched(told), told.at)
    assert watched(told).news(told.events[-1]).endswith("the version beside 1.4.0 fails no more")
