"""Reports for programs: events one a line, and JUnit XML."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ciflow.report.files import Report
from ciflow.report.jsonl import JsonLines
from tests.report import story
from tests.report.story import Story

GOLDEN = Path(__file__).parent / "golden"


def test_events_go_out_one_a_line_in_ascii_json() -> None:
    s = Story()
    s.tell("task_ended", {"status": "ok", "evidence": float("inf")}, play="p", task="0", host="web1")
    s.tell("output", {"text": b"caf\xe9 \xe6\xbc\xa2".decode("utf-8", "surrogateescape")}, play="p", host="web1")
    stream = io.StringIO()
    sink = JsonLines(stream)
    for event in s.events:
        sink.event(event)
    sink.close()
    assert stream.getvalue() == (GOLDEN / "events.jsonl").read_text()


def test_every_line_of_a_release_parses_without_special_numbers() -> None:
    stream = io.StringIO()
    sink = JsonLines(stream)
    told = story.release().events
    for event in told:
        sink.event(event)
    back = [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]
    assert [b["kind"] for b in back] == [e.kind for e in told]
    assert [b["data"] for b in back] == [json.loads(json.dumps(dict(e.data))) for e in told]


def written(told: Story, path: Path) -> ET.Element:
    sink = Report(path, "junit")
    for event in told.events:
        sink.event(event)
    sink.close()
    assert not sink.lost
    return ET.parse(path).getroot()


def test_a_play_is_a_suite_and_a_task_on_a_host_a_case(tmp_path: Path) -> None:
    root = written(story.failure(), tmp_path / "reports" / "junit.xml")
    [suite] = root
    assert {k: suite.get(k) for k in ("name", "tests", "failures", "errors", "skipped", "time", "timestamp")} == {
        "name": "Configure", "tests": "6", "failures": "1", "errors": "1", "skipped": "0", "time": "13.900",
        "timestamp": "2023-11-14T22:13:20",
    }  # fmt: skip
    failed = next(case for case in suite if case.find("failure") is not None)
    assert (failed.get("name"), failed.get("classname")) == ("Restart the service", "Configure.web2")
    found = failed.find("failure")
    assert found is not None and found.get("message") == "exit code 1"
    assert found.text == "Job for shield.service failed\n\\x1b]0;pwn\\x07see journalctl"


def test_text_that_xml_cannot_hold_is_written_safely_and_the_file_is_whole(tmp_path: Path) -> None:
    s = Story().begin().play("p", "]]> <script>")
    s.task("p", "0", "\x00\x1b\ufffe\udcff & <b>", {"web1": "failed"}, msg="\x0b]]>", tail="\x00<x>\n\ud800")
    path = tmp_path / "junit.xml"
    root = written(s, path)
    [case] = root[0]
    assert case.get("name") == "\\x00\\x1b\\ufffe\\xff & <b>"
    assert case[0].text == "\\x00<x>\n\\ud800"
    assert [p.name for p in tmp_path.iterdir()] == ["junit.xml"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600


def test_a_report_that_cannot_be_written_says_so_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sink = Report(tmp_path / "file" / "junit.xml", "junit")
    for event in story.failure().events:
        sink.event(event)
    sink.close()
    assert "file" in sink.lost


def test_a_failure_that_was_made_good_is_one_case_that_went_well(tmp_path: Path) -> None:
    """A rescue turned it, or the run was resumed: a build server must not count it as failed."""
    s = Story().begin().play("p", "Configure")
    s.task("p", "0", "Try", {"web1": "failed"}, msg="no").task("p", "0", "Try", {"web1": "rescued"})
    s.task("p", "1", "Fetch", {"web1": "failed"}, msg="no").task("p", "1", "Fetch", {"web1": "ok"})
    [suite] = written(s, tmp_path / "junit.xml")
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")
