"""What people see: the right lines, at the right time, safely, in every kind of stream."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ciflow.model import Event
from ciflow.report.console import Console, wants_colour
from ciflow.report.text import width
from tests.parts.process import wait_for
from tests.report import story
from tests.report.story import START, Story

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]


def shown(told: Story, *, verbosity: int = 0, columns: int = 100, colour: bool = False, tty: bool = False) -> str:
    stream = io.StringIO()
    console = Console(stream, colour=colour, width=columns, verbosity=verbosity, tty=tty)
    for event in told.events:
        console.event(event)
    console.close()
    assert not console.lost
    return stream.getvalue()


@pytest.mark.parametrize("name", ["release", "failure", "turned_back"])
def test_a_run_is_told_as_the_golden_says(name: str) -> None:
    told: Story = getattr(story, name)()
    assert shown(told) == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
@pytest.mark.parametrize("name", ["release", "failure", "turned_back"])
def test_no_line_is_wider_than_the_screen_and_none_ends_in_blanks(name: str, columns: int) -> None:
    for line in shown(getattr(story, name)(), columns=columns, verbosity=2).splitlines():
        assert width(line) <= columns, line
        assert line == line.rstrip()


def test_colour_changes_no_word_and_a_pipe_gets_no_control_characters() -> None:
    told = story.failure()
    plain, coloured = shown(told), shown(told, colour=True)
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain
    assert "\x1b[31mfailed" in coloured
    assert "\x1b" not in plain and "\r" not in plain


def screen(raw: str) -> list[str]:
    """What stands on a terminal at the end, by the few sequences of ECMA-48 that a live region needs."""
    rows, row, column = [""], 0, 0
    for part in re.findall("\x1b\\[[0-9;?]*[A-Za-z]|[^\x1b]", raw):
        if part == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif part == "\r":
            column = 0
        elif part == "\x1b[2K":
            rows[row] = ""
        elif re.fullmatch("\x1b\\[[0-9]+A", part):
            row -= int(part[2:-1])
        elif not part.startswith("\x1b"):
            rows[row] = rows[row][:column].ljust(column) + part + rows[row][column + 1 :]
            column += 1
    return [text.rstrip() for text in rows]


@pytest.mark.parametrize("name", ["release", "failure", "turned_back"])
def test_on_a_terminal_the_same_lines_stand_and_the_live_region_is_gone(name: str) -> None:
    told = getattr(story, name)()
    raw = shown(told, columns=101, tty=True)
    assert "\x1b[?25h" in raw  # the cursor is back
    held = re.compile(r"^ +[0-9]+ % +holding .*\n", re.MULTILINE)  # the live region has these
    assert "\n".join(screen(raw)).rstrip("\n") == held.sub("", shown(told, columns=100)).rstrip("\n")


def test_the_live_region_says_what_runs_since_when_and_how_far() -> None:
    s = Story().begin().play("p", "Test", 2)
    s.tell("task_started", {"name": "Run the tests", "module": "command", "hosts_total": 2}, play="p", task="0")
    s.tell("output", {"progress": {"done": 87, "total": 212, "unit": "tests"}}, play="p", task="0", host="ci")
    stream = io.StringIO()
    console = Console(stream, colour=False, tty=True)
    for event in s.events:
        console.event(event)
    console.tick(START + 125)
    shows = re.compile(r"  Test > Run the tests   87 of 212 tests +2m 05s")
    wait_for(lambda: shows.search(stream.getvalue()), told=stream.getvalue)
    console.close()


def test_a_task_whose_output_is_heard_before_its_start_has_its_name_on_its_line() -> None:
    s = Story().begin().play("p", "Test")
    s.tell("output", {"text": "early"}, play="p", task="0", host="ci")
    s.tell("task_started", {"name": "Run the tests", "module": "command", "hosts_total": 1}, play="p", task="0")
    s.tell("task_ended", {"status": "changed", "duration": 1}, play="p", task="0", host="ci")
    assert "  Run the tests  " in shown(s)


def test_a_pipe_hears_once_a_minute_that_a_long_task_still_runs() -> None:
    s = Story().begin().play("p", "Test")
    s.tell("task_started", {"name": "Run the tests", "module": "command", "hosts_total": 1}, play="p", task="0")
    stream = io.StringIO()
    console = Console(stream, colour=False)
    for event in s.events:
        console.event(event)
    for second in range(1, 190):
        console.tick(START + second)
    assert [line.split()[-2:] for line in stream.getvalue().splitlines()] == [
        ["1m", "00s"],
        ["2m", "00s"],
        ["3m", "00s"],
    ]
    assert "Test > Run the tests" in stream.getvalue()


def test_a_failure_is_written_before_the_task_has_ended_on_the_other_hosts() -> None:
    s = Story().begin().play("p", "Configure", 3)
    s.tell("task_started", {"name": "Restart", "module": "service", "hosts_total": 3}, play="p", task="0")
    s.tell("task_ended", {"status": "failed", "duration": 1, "msg": "boom"}, play="p", task="0", host="web2")
    assert "Restart failed on web2 after 1 s\n    boom\n" in shown(s)


def test_of_a_thousand_failed_hosts_three_are_shown_and_all_are_counted() -> None:
    s = Story().begin().play("p", "Configure", 1000)
    s.task("p", "0", "Restart", {f"web{n}": "failed" for n in range(1000)}, msg="boom")
    text = shown(s.end_play("p", "failed").end(4, "Configure failed."))
    assert text.count("boom") == 4  # three in full, and in the task's own line
    assert "failed      1,000 hosts" in text
    assert "failed  Restart: web0, web1, web2 and 997 more" in text
    assert len(text.splitlines()) < 20


def test_quiet_says_only_failures_and_the_end_and_loud_says_every_task() -> None:
    s = Story().begin().play("p", "Configure")
    s.task("p", "0", "Ping", {"web1": "ok"}, took=0.1)
    s.tell("output", {"stream": "stdout", "text": "hello\nworld\n"}, play="p", task="1", host="web1")
    s.end_play("p").end(0, "All is well.")
    assert shown(s, verbosity=-1).splitlines()[0].startswith("All is well.")
    assert "Ping" not in shown(s)
    assert "Ping" in shown(s, verbosity=1)
    assert "hello" not in shown(s, verbosity=1)
    assert "    web1 | hello\n    web1 | world\n" in shown(s, verbosity=2)


def test_lines_of_plays_side_by_side_stand_under_their_play() -> None:
    s = Story().begin().play("a", "Lint").play("b", "Build")
    s.task("a", "0", "Format", {"ci": "changed"}).task("b", "0", "Compile", {"ci": "changed"})
    s.task("a", "1", "Clippy", {"ci": "changed"})
    names = [line.split("  ")[0] or line.split()[0] for line in shown(s).splitlines()]
    assert names == ["Lint", "Format", "Build", "Compile", "Lint", "Clippy"]


def rows(told: Story) -> list[list[str]]:
    """Name, status and detail of each line of a task."""
    columns = [re.split("  +", text.strip()) for text in shown(told, verbosity=1).splitlines() if text[:3] > "  A"]
    return [found[:3] for found in columns if len(found) == 4]


def test_after_a_host_has_failed_the_tasks_of_the_others_are_told_when_they_end() -> None:
    s = Story().begin().play("p", "Configure", 3)
    s.task("p", "0", "First", {"web1": "changed", "web2": "failed", "web3": "changed"})
    s.tell("task_started", {"name": "Second", "module": "command", "hosts_total": 3}, play="p", task="1")
    for host in ("web1", "web3"):
        s.tell("task_ended", {"status": "changed", "duration": 1}, play="p", task="1", host=host)
    assert rows(s)[-1] == ["Second", "changed", "2 hosts"]


def test_a_task_that_one_host_runs_for_all_is_told_in_its_turn() -> None:
    s = Story().begin().play("p", "Configure", 2)
    s.tell("task_started", {"name": "Migrate", "module": "command", "hosts_total": 2}, play="p", task="0")
    s.tell("task_ended", {"status": "changed", "duration": 1, "msg": "7 rows"}, play="p", task="0", host="web1")
    s.task("p", "1", "Restart", {"web1": "changed", "web2": "changed"})
    assert rows(s) == [["Migrate", "changed", "7 rows"], ["Restart", "changed", "2 hosts"]]


def test_batches_of_hosts_get_a_line_each() -> None:
    s = Story().begin().play("p", "Configure", 4)
    s.task("p", "0", "Restart", {"web1": "changed", "web2": "changed"})
    for host in ("web3", "web4"):
        s.tell("task_ended", {"status": "ok", "duration": 1}, play="p", task="0", host=host)
    assert rows(s) == [["Restart", "changed", "2 hosts"], ["Restart", "ok", "2 hosts"]]


def test_a_rescued_failure_is_not_counted_among_the_failed_at_the_end() -> None:
    s = Story().begin().play("p", "Configure", 2)
    s.tell("task_started", {"name": "Try", "module": "command", "hosts_total": 2}, play="p", task="0")
    s.tell("task_ended", {"status": "failed", "duration": 1, "msg": "boom"}, play="p", task="0", host="web1")
    s.tell("task_ended", {"status": "rescued", "duration": 0, "msg": "boom"}, play="p", task="0", host="web1")
    s.tell("task_ended", {"status": "ok", "duration": 1}, play="p", task="0", host="web2")
    end = shown(s.end_play("p").end(0, "All is well.")).split("All is well.")[1]
    assert "failed" not in end
    assert "1 rescued" in end


def test_a_resumed_run_names_its_plays_and_tasks_though_they_began_before() -> None:
    s = Story()
    s.tell("run_resumed", {"who": "ada"})
    s.tell("task_ended", {"name": "Restart", "module": "service", "status": "changed", "duration": 1},
           play="roll[zone=eu]", task="3", host="web1")  # fmt: skip
    s.tell(
        "play_ended", {"name": "Roll out", "cell": {"zone": "eu"}, "result": "ok", "duration": 9}, play="roll[zone=eu]"
    )
    text = shown(s)
    assert "  Restart  " in text
    assert "Roll out (eu)  " in text


def test_warnings_errors_and_approvals_say_what_to_do() -> None:
    s = Story().begin()
    s.tell("warning", {"message": "host key is old", "help": "run `ssh-keygen`"})
    s.tell("error", {"message": "no space left", "help": "free some", "diagnostic": None})
    s.tell("approval_wanted", {"prompt": "Release 1.4.0?", "until": 0})
    s.tell("approval_given", {"by": "bob", "yes": False, "reason": "Friday"})
    assert shown(s).splitlines() == [
        "warning: host key is old",
        "    help:   run `ssh-keygen`",
        "error: no space left",
        "    help:   free some",
        "  waits for approval: Release 1.4.0?",
        "    next:   ciflow approve R-12",
        "  refused by bob: Friday",
    ]


def test_a_diff_is_shown_as_unified_diff() -> None:
    s = Story().begin().play("p", "Configure")
    s.tell("diff", {"before": "a\nb\n", "after": "a\nc\n", "path": "/etc/x"}, play="p", task="0", host="web1")
    assert shown(s).splitlines()[1:] == [
        "    --- web1:/etc/x", "    +++ web1:/etc/x", "    @@ -1,2 +1,2 @@", "     a", "    -b", "    +c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({}, False),
    ],
)
def test_colour_follows_the_environment(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], expected: bool) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(io.StringIO()) is expected


READER_GONE = """
import sys
from ciflow.report.console import Console
from ciflow.report.jsonl import JsonLines
from tests.report import story
sink = Console(sys.stdout, colour=False, tty="tty" in sys.argv) if "json" not in sys.argv else JsonLines(sys.stdout)
for _ in range(300):
    for event in story.release().events:
        sink.event(event)
sink.close()
print("lost:", sink.lost, file=sys.stderr)
print("still said")
"""


@pytest.mark.parametrize("kind", ["plain", "tty", "json"])
def test_a_reader_that_goes_away_ends_nothing_and_prints_no_traceback(kind: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", READER_GONE, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(30) == 0, said
    assert said == "lost: [Errno 32] Broken pipe\n"


def test_a_stream_that_knows_only_ascii_gets_escapes_instead_of_an_error() -> None:
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, encoding="ascii", write_through=True), colour=False)
    for event in Story().begin().play("p", "Größe").task("p", "0", "漢", {"h": "changed"}).events:
        console.event(event)
    assert b"Gr\\xf6\\xdfe" in raw.getvalue()


def test_eight_thousand_events_take_under_a_second() -> None:
    s = Story().begin().play("p", "Configure", 100)
    for task in range(40):
        s.tell(
            "task_started", {"name": f"Task {task}", "module": "command", "hosts_total": 100}, play="p", task=str(task)
        )
        for host in range(100):
            s.tell("output", {"stream": "stdout", "text": "hello\n"}, play="p", task=str(task), host=f"web{host}")
            s.tell("task_ended", {"status": "changed", "duration": 1}, play="p", task=str(task), host=f"web{host}")
    events: list[Event] = s.end_play("p").end(0, "Done.").events
    assert len(events) > 8000
    for tty in (False, True):
        console = Console(io.StringIO(), colour=True, tty=tty)
        began = time.process_time()
        for event in events:
            console.event(event)
        console.close()
        took = time.process_time() - began
        print(f"{len(events)} events, tty {tty}: {took:.2f} s")
        assert took < 60  # what grows with the square of the events takes minutes


def test_lines_of_a_batch_stand_below_it_and_a_batch_with_nothing_to_say_has_none() -> None:
    told = Story().begin().play("0", "Site", hosts=4)
    for number, (hosts, status) in enumerate([("ab", "changed"), ("cd", "ok"), ("ef", "changed")], 1):
        told.tell("batch_started", {"number": number, "of": 3, "hosts": [*hosts]}, play="0")
        told.task("0", "0", "Upgrade", dict.fromkeys(hosts, status))
    lines = [" ".join(line.split()[:5]) for line in shown(told.end_play("0")).splitlines()]
    assert lines == ["Site", "batch 1 of 3: a,", "Upgrade changed 2 hosts 0.5", "batch 3 of 3: e,",
                     "Upgrade changed 2 hosts 0.5", "Site ok 1.5 s"]  # fmt: skip


def test_after_a_resume_a_task_that_fails_again_is_shown_once() -> None:
    before = Story().begin().play("0", "Site", hosts=2)
    before.task("0", "0", "Upgrade", {"a": "ok", "b": "failed"}, msg="no room").end_play("0", "failed").end(4, "failed")
    after = Story().tell("run_resumed", {"who": "ada", "from": 9}).play("0", "Site", hosts=2)
    after.tell("task_ended", {"name": "Upgrade", "status": "failed", "duration": 0.5, "msg": "no room"}, play="0",
               task="0", host="b").end_play("0", "failed")  # fmt: skip
    stream = io.StringIO()
    console = Console(stream, colour=False)
    for event in before.events:
        console.past(event)
    for event in after.events:
        console.event(event)
    assert stream.getvalue().count("Upgrade") == 1
    assert stream.getvalue().count("no room") == 1


@pytest.mark.parametrize(
    ("state", "weight", "before", "code", "sentence", "following"),
    [
        ("fenced", 500, "1.3.2", 6, "was stopped: somebody else has taken over its dial.", "ciflow status"),
        ("failed", 10_000, "1.3.2", 4, "did not do well, and has all traffic.", "ciflow rollback shield"),
        ("failed", 10_000, "", 4, "did not do well, and has all traffic.", "ciflow apply, once it is mended"),
        ("paused", 500, "1.3.2", 8, "waits for somebody.", "ciflow resume R-12"),
    ],
)
def test_who_can_not_go_on_by_a_resume_is_told_what_else(
    state: str, weight: int, before: str, code: int, sentence: str, following: str
) -> None:
    told = Story().begin().play("roll", "Roll out")
    data = {"service": "shield", "version": "1.4.0", "slot": "b", "from": before, "token": 7}
    told.tell("canary_started", data, play="roll").tell("dial", {"weight": weight, "reason": "step 1"}, play="roll")
    told.tell("canary_state", {"state": state, "reason": "it did"}, play="roll")
    if state != "paused":
        told.end_play("roll", "failed")
    end = shown(told.tell("run_ended", {"exit": code})).split("\n\n")[-1]
    assert sentence in end
    assert re.search(r"next: +(.*)", end)[1] == following  # type: ignore[index]
    assert bool(re.search(r"Roll out +paused", end)) == (state == "paused")
    assert "turned back" not in end
    assert re.search(rf"{weight // 100} % +{'holding' if state == 'paused' else state} ", end)


def test_a_run_that_another_process_has_taken_over_is_not_to_be_resumed_again() -> None:
    told = Story().begin().play("0", "Site").end_play("0", "interrupted").tell("run_ended", {"exit": 6})
    assert re.search(r"next: +(.*)", shown(told))[1] == "ciflow status"  # type: ignore[index]
