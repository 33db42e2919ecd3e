"""Plays as test suites, a task on a host as a test case: what CI servers read as JUnit XML.

No standard rules it; the form is what Jenkins' xunit plugin and GitLab read:
https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from xml.etree import ElementTree as ET

from ciflow.dataclass import dataclass, field
from ciflow.model import Event
from ciflow.report.board import Board
from ciflow.report.lines import last_lines
from ciflow.report.text import safe

_ELEMENT = {"failed": "failure", "unreachable": "error", "unknown": "error", "skipped": "skipped"}


@dataclass(frozen=True, slots=True)
class Case:
    """One task on one host. `text` is what a failure printed."""

    task: str
    host: str
    status: str
    seconds: float
    message: str = ""
    text: str = ""


@dataclass(slots=True)
class Suite:
    """One play."""

    name: str
    began: float
    cases: list[Case] = field(default_factory=list)


class JUnit:
    """A Sink that writes its file at the end, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._board = Board()
        self._suites: dict[str, Suite] = {}
        self.lost = ""

    def event(self, event: Event) -> None:
        self._board.event(event)
        if event.kind == "play_started":
            self._suites[event.play] = Suite(self._board.plays[event.play].name, event.at)
        elif event.kind == "task_ended":
            self._case(event)
        elif event.kind == "play_ended":
            self._board.plays.pop(event.play, None)

    def past(self, event: Event) -> None:
        """A report is of the whole run."""
        self.event(event)

    def tick(self, now: float) -> None:
        """Time alone is no event."""

    def _case(self, event: Event) -> None:
        suite = self._suites.setdefault(event.play, Suite(event.play, event.at))
        task, data = self._board.task(event), event.data
        status = str(data["status"])
        bad = status in ("failed", "unreachable", "unknown")
        text = "\n".join(last_lines(event, task)) if bad else ""
        message = str(data.get("msg") or "")
        suite.cases.append(Case(task.name, event.host, status, float(data.get("duration", 0.0)), message, text))

    def close(self) -> None:
        root = ET.Element("testsuites", name="ciflow")
        for suite in self._suites.values():
            root.append(_suite(suite))
        ET.indent(root)
        try:
            _write(self._path, ET.tostring(root, encoding="utf-8", xml_declaration=True))
        except OSError as e:
            self.lost = f"{self._path}: {e.strerror or e}"


def _suite(suite: Suite) -> ET.Element:
    of = [_ELEMENT.get(case.status, "") for case in suite.cases]
    element = ET.Element(
        "testsuite", name=_text(suite.name), tests=str(len(of)), failures=str(of.count("failure")),
        errors=str(of.count("error")), skipped=str(of.count("skipped")),
        time=f"{sum(case.seconds for case in suite.cases):.3f}",
        timestamp=datetime.fromtimestamp(suite.began, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    )  # fmt: skip
    element.extend(_case(suite, case) for case in suite.cases)
    return element


def _case(suite: Suite, case: Case) -> ET.Element:
    element = ET.Element(
        "testcase", classname=_text(f"{suite.name}.{case.host}" if case.host else suite.name), name=_text(case.task),
        time=f"{case.seconds:.3f}",
    )  # fmt: skip
    kind = _ELEMENT.get(case.status)
    if kind:
        found = ET.SubElement(element, kind, message=_text(case.message or case.status))
        if kind != "skipped":
            found.set("type", case.status)
            found.text = "\n".join(_text(part) for part in case.text.split("\n"))
    return element


def _text(text: str) -> str:
    """XML 1.0 has no place for control characters and surrogates, not even escaped."""
    return "".join(c if c not in "\ufffe\uffff" else f"\\u{ord(c):04x}" for c in safe(text))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(content)
            file.close()
            Path(file.name).chmod(0o666 & ~_umask())
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
