"""A run as spans: which there are, what hangs below what, and what they are called, by the conventions for CI/CD."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace

import pytest
from opentelemetry.semconv._incubating.attributes import cicd_attributes, error_attributes, user_attributes
from opentelemetry.semconv._incubating.attributes.cicd_attributes import (
    CicdPipelineResultValues,
    CicdPipelineTaskRunResultValues,
    CicdPipelineTaskTypeValues,
)

from ciflow.model import Event
from ciflow.report.spans import Span, Spans
from ciflow.report.trace import Origin, traceparent
from tests.report.story import START, Story, failure, release, turned_back

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"  # W3C's own example


def folded(events: Iterable[Event], fold: Spans | None = None) -> list[Span]:
    fold = fold or Spans()
    return [span for event in events for span in fold.event(event)]


def below(spans: list[Span], above: Span) -> list[str]:
    return [span.name for span in spans if span.above == above.id]


def only(spans: list[Span], name: str) -> Span:
    (found,) = [span for span in spans if span.name == name]
    return found


# --- the tree ------------------------------------------------------------------------------------------------


def test_tasks_hang_below_their_play_and_plays_below_the_run() -> None:
    spans = folded(release().events)
    run = only(spans, "RUN playbooks/release.yml")
    assert run is spans[-1] and run.above == 0 and run.kind == "run"
    assert below(spans, run) == ["Test", "Build (server)", "Roll out"]
    assert below(spans, only(spans, "Test")) == ["Lint", "Run the tests"]
    roll_out = ["Copy the binary"] * 4 + ["Start the slot"] * 4 + ["canary 1 %", "canary 5 %"]
    assert below(spans, only(spans, "Roll out")) == roll_out
    assert len({span.id for span in spans}) == len(spans)


def test_times_are_those_of_the_events() -> None:
    spans = folded(release().events)
    lint, tests = only(spans, "Lint"), only(spans, "Run the tests")
    assert (lint.began, lint.ended) == (START, START + 6)
    assert (tests.began, tests.ended) == (START + 6, START + 41)
    steps = [only(spans, "canary 1 %"), only(spans, "canary 5 %")]
    assert [round(step.ended - step.began) for step in steps] == [120, 41]
    assert all(span.began <= span.ended for span in spans)


def test_a_clock_that_was_set_back_makes_no_span_that_ends_before_it_began() -> None:
    story = Story().begin().play("p", "Play").pass_time(-3600)
    story.task("p", "0", "Task", {"a": "ok"}, took=1).end_play("p").end(0, "")
    assert all(span.began <= span.ended for span in folded(story.events))


def test_every_name_of_the_conventions_is_one_of_theirs() -> None:
    """OpenTelemetry's own list of them, of the version that is installed."""
    known = {getattr(of, name) for of in (cicd_attributes, error_attributes, user_attributes)
             for name in vars(of) if name.isupper()}  # fmt: skip
    stories = (release(), failure(), turned_back())
    used = {key for story in stories for span in folded(story.events) for key in span.attributes}
    assert {key for key in used if not key.startswith("ciflow.")} <= known
    assert {key for key in used if key.startswith("cicd.")} >= {
        "cicd.pipeline.name", "cicd.pipeline.result", "cicd.pipeline.action.name", "cicd.pipeline.run.id",
        "cicd.pipeline.task.name", "cicd.pipeline.task.type", "cicd.pipeline.task.run.id",
        "cicd.pipeline.task.run.result", "cicd.worker.id", "cicd.worker.name",
    }  # fmt: skip


def test_values_that_the_conventions_list_are_theirs() -> None:
    spans = [span for story in (release(), failure(), turned_back()) for span in folded(story.events)]
    listed = {
        "cicd.pipeline.result": CicdPipelineResultValues, "cicd.pipeline.task.type": CicdPipelineTaskTypeValues,
        "cicd.pipeline.task.run.result": CicdPipelineTaskRunResultValues,
    }  # fmt: skip
    for key, values in listed.items():
        assert {span.attributes[key] for span in spans if key in span.attributes} <= {one.value for one in values}


# --- how things ended ------------------------------------------------------------------------------------------


def test_a_failure_is_an_error_from_the_task_up_and_says_why() -> None:
    spans = folded(failure().events)
    failed, unreachable = [span for span in spans if span.name == "Restart the service" and span.failed]
    assert (failed.result, failed.attributes["error.type"], failed.why) == ("failure", "failed", "exit code 1")
    assert failed.attributes["ciflow.task.cause"] == "port 8080 is already in use by nginx (pid 411)"
    assert (unreachable.result, unreachable.attributes["error.type"]) == ("error", "unreachable")
    play, run = spans[-2:]
    assert play.failed and play.why == "2 of 3 hosts failed"
    assert run.failed and run.result == "failure" and run.why == "Configure: 2 of 3 hosts failed"
    assert run.attributes["error.type"] == "task_failed" and run.attributes["ciflow.exit_code"] == 4


@pytest.mark.parametrize(
    ("status", "result", "error", "failed"),
    [("ok", "success", None, False), ("changed", "success", None, False), ("skipped", "skip", None, False),
     ("failed", "failure", "failed", True), ("ignored", "failure", "failed", False),
     ("unreachable", "error", "unreachable", True), ("unknown", "error", "unknown", True)],
)  # fmt: skip
def test_how_a_task_ended_in_the_words_of_the_conventions(
    status: str, result: str, error: str | None, failed: bool
) -> None:
    spans = folded(Story().begin().play("p", "Play").task("p", "0", "Task", {"a": status}).events)
    (task,) = spans
    assert (task.result, task.attributes.get("error.type"), task.failed) == (result, error, failed)


def test_what_took_too_long_is_a_timeout() -> None:
    outcome = {"timedout": {"period": 3}}
    (task,) = folded(Story().begin().play("p", "P").task("p", "0", "T", {"a": "failed"}, outcome=outcome).events)
    assert (task.result, task.attributes["error.type"]) == ("timeout", "timeout")


@pytest.mark.parametrize(
    ("code", "result", "error"),
    [(0, "success", None), (4, "failure", "task_failed"), (7, "failure", "rolled_back"), (1, "error", "internal"),
     (5, "error", "unreachable"), (130, "cancellation", None), (143, "cancellation", None), (8, "paused", None)],
)  # fmt: skip
def test_how_a_run_ended_in_the_words_of_the_conventions(code: int, result: str, error: str | None) -> None:
    (run,) = folded(Story().begin().end(code, "").events)
    assert (run.attributes["cicd.pipeline.result"], run.attributes.get("error.type")) == (result, error)
    assert run.failed == (error is not None)


# --- rollouts --------------------------------------------------------------------------------------------------


def test_on_call_finds_when_the_dial_was_turned_and_which_gate_turned_it_back() -> None:
    spans = folded(turned_back().events)
    step, play = only(spans, "canary 5 %"), only(spans, "Roll out")
    assert step.failed and step.attributes["error.type"] == "turned_back"
    assert step.attributes["ciflow.canary.candidate.requests"] == 610
    assert step.attributes["ciflow.canary.candidate.bad"] == 60
    assert step.why == "errors too many: 60 of 610 against 4 of 11,590"
    (gate,) = step.moments
    assert (gate.name, gate.attributes["ciflow.verdict"]) == ("ciflow.canary.gate", "bad")
    turns = [moment for moment in play.moments if moment.name == "ciflow.canary.dial"]
    assert [turn.attributes["ciflow.weight"] for turn in turns] == [5.0, 0.0]
    assert [turn.at - START for turn in turns] == [0.0, pytest.approx(6.4)]
    assert play.attributes["ciflow.canary.state"] == "rolled_back" and play.failed
    (back,) = [moment for moment in spans[-1].moments if moment.name == "ciflow.rollback"]
    assert (back.attributes["ciflow.from"], back.attributes["ciflow.to"]) == ("1.4.0", "1.3.2")


def test_a_gate_is_told_when_it_says_something_new() -> None:
    """A rollout of a day asks each gate some ten thousand times."""
    story = Story().begin().play("roll", "Roll out")
    story.tell("canary_started", {"service": "s", "version": "2", "slot": "b", "hosts": []}, play="roll")
    story.tell("dial", {"weight": 500, "slot": "b"}, play="roll")
    for number in range(10_000):
        verdict = "good" if number < 5_000 else "bad"
        story.pass_time(5).tell("gate", {"name": "errors", "verdict": verdict, "evidence": float("inf")}, play="roll")
    story.tell("canary_state", {"state": "rolling_back", "reason": "errors"}, play="roll")
    (step,) = folded(story.events)
    assert [moment.attributes for moment in step.moments] == [
        {"ciflow.name": "errors", "ciflow.verdict": "good"}, {"ciflow.name": "errors", "ciflow.verdict": "bad"},
    ]  # fmt: skip


def test_a_rollback_is_a_run_of_its_own_that_names_the_service() -> None:
    story = Story().tell("run_started", {"playbook": "rollback shield", "who": "ada", "reason": "pager"})
    told = {"service": "shield", "from": "1.4.0", "to": "1.3.2", "slot": "a", "who": "ada", "took": 0.4}
    story.tell("dial", {"weight": 0, "slot": "b"}, play="rollback").tell("rollback", told).end(0, "shield is back")
    (run,) = folded(story.events)
    assert (run.name, run.result) == ("ROLLBACK shield", "success")
    assert [moment.name for moment in run.moments] == ["ciflow.canary.dial", "ciflow.rollback"]


# --- one trace, however often it is taken up ------------------------------------------------------------------------


def killed() -> tuple[list[Event], list[Event]]:
    """A run whose process dies after the first of two tasks, and what the next one tells."""
    story = Story().begin().play("p", "Play").task("p", "0", "One", {"a": "ok"}, took=1)
    before = list(story.events)
    story.pass_time(60).tell("run_resumed", {"who": "ada"}).task("p", "1", "Two", {"a": "ok"}, took=1)
    story.end_play("p").end(0, "")
    return before, story.events[len(before) :]


def test_after_a_kill_the_same_spans_go_on_and_each_is_told_once() -> None:
    before, after = killed()
    whole = folded([*before, *after])
    first, second = folded(before), Spans()
    folded(before, second)
    rest = folded(after, second)
    assert [*first, *rest] == whole
    run = only(whole, "RUN playbooks/release.yml")
    assert (run.began, run.ended) == (START, START + 62)
    assert only(whole, "Play").above == run.id and below(whole, only(whole, "Play")) == ["One", "Two"]
    assert [moment.name for moment in run.moments] == ["ciflow.resumed"]


def test_what_a_resume_does_after_an_end_has_spans_of_its_own_below_the_first() -> None:
    story = Story().begin().play("p", "Play").task("p", "0", "Task", {"a": "failed"}, took=1)
    story.end_play("p", "failed").end(4, "")
    story.pass_time(600).tell("run_resumed", {"who": "ada"}).task("p", "0", "Task", {"a": "ok"}, took=1)
    story.end_play("p").end(0, "")
    spans = folded(story.events)
    assert len({span.id for span in spans}) == len(spans) == 6
    first, second = [span for span in spans if span.kind == "run"]
    assert (first.result, second.result) == ("failure", "success")
    assert second.above == first.id and (second.began, second.ended) == (START + 601, START + 602)
    play = [span for span in spans if span.kind == "play"][1]
    assert play.above == second.id and play.began == START + 601 and below(spans, play) == ["Task"]


def test_a_play_that_was_interrupted_is_told_with_the_run_and_goes_on_in_the_next() -> None:
    story = Story().begin().play("p", "Play").task("p", "0", "One", {"a": "ok"}, took=1).end(143, "terminated")
    story.pass_time(60).tell("run_resumed", {}).task("p", "1", "Two", {"a": "ok"}, took=1).end_play("p").end(0, "")
    spans = folded(story.events)
    plays = [span for span in spans if span.name == "Play"]
    assert [play.result for play in plays] == ["cancellation", "success"]
    assert [below(spans, play) for play in plays] == [["One"], ["Two"]]


def test_a_rescued_failure_is_told_once_though_a_resume_comes_by_again() -> None:
    story = Story().begin().play("p", "Play").task("p", "0", "Task", {"a": "failed"})
    rescued = story.task("p", "0", "Task", {"a": "rescued"}, took=0).events[-1]
    story.tell("run_resumed", {}).task("p", "0", "Task", {"a": "failed"}).end_play("p").end(0, "")
    spans = folded(story.events)
    assert [span.name for span in spans] == ["Task", "Play", "RUN playbooks/release.yml"]
    assert [(moment.name, moment.at) for moment in spans[1].moments] == [("ciflow.rescued", rescued.at)]


def test_the_next_try_of_a_play_hangs_below_the_same_span() -> None:
    story = Story().begin().play("p", "Play").task("p", "0", "Task", {"a": "failed"})
    story.task("p~2", "0", "Task", {"a": "ok"}).end_play("p").end(0, "")
    spans = folded(story.events)
    assert below(spans, only(spans, "Play")) == ["Task", "Task"]
    assert len({span.id for span in spans}) == len(spans)


def test_a_run_hangs_below_whoever_started_it() -> None:
    story = Story().begin()
    begun = story.events[0]
    trace = {"trace": {"parent": PARENT, "state": "congo=t61rcWkgMzE"}}
    fold = Spans()
    (run,) = folded([replace(begun, data={**begun.data, **trace}), *story.end(0, "").events[1:]], fold)
    assert f"{run.above:016x}" == "b7ad6b7169203331"
    assert f"{fold.origin.trace:032x}" == "0af7651916cd43dd8448eb211c80319c" and fold.origin.sampled
    assert fold.origin.below(run.id) == {
        "TRACEPARENT": f"00-0af7651916cd43dd8448eb211c80319c-{run.id:016x}-01", "TRACESTATE": "congo=t61rcWkgMzE",
    }  # fmt: skip


def test_a_run_that_was_not_traced_when_it_began_has_the_trace_of_its_id() -> None:
    one, other = Origin.of("R-1-a", "", ""), Origin.of("R-2-b", "", "")
    assert one == Origin.of("R-1-a", "", "") and one.trace != other.trace and one.above == 0
    assert Origin.of("R-1-a", traceparent(one.trace, 0, 1), "") == one


# --- what others control -----------------------------------------------------------------------------------------


def test_names_are_one_line_of_text_that_any_receiver_takes() -> None:
    hostile = "\x1b]0;pwn\x07\ud800\udcff\u202e\n" + "x" * 1_000_000
    story = Story().begin().play("p", hostile).task("p", "0", hostile, {hostile: "failed"}, msg=hostile)
    spans = folded(story.end_play("p", "failed", reason=hostile).end(4, hostile).events)
    said = [str(value) for span in spans for value in (span.name, span.why, *span.attributes.values())]
    assert all(text.isprintable() and len(text) <= 1024 for text in said)
    assert all(text.encode() for text in said)  # a lone surrogate would raise
    assert all(len(span.name) <= 256 for span in spans)
    assert spans[0].name.startswith("\\x1b]0;pwn\\x07\\ud800\\xff\\u202e\\nxxx")


def test_a_run_of_many_tasks_is_folded_without_keeping_them() -> None:
    """What a task needs is in its own event: a hundred thousand of them leave nothing behind."""
    fold = Spans()
    folded(Story().begin().play("p", "Play", hosts=100).events, fold)
    plain = Story().tell("task_ended", {"name": "Task", "status": "ok", "duration": 0.1}, play="p").events[0]

    def end(numbers: range) -> None:
        for number in numbers:
            fold.event(replace(plain, task=f"tasks.{number}", host=f"h{number % 100}"))

    end(range(1_000))
    before = sys.getallocatedblocks()
    end(range(1_000, 20_000))
    assert sys.getallocatedblocks() - before < 1_000
