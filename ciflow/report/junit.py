"""Plays as test suites, a task on a host as a test case: what CI servers read as JUnit XML.

No standard rules it; the form is what Jenkins' xunit plugin and GitLab read:
https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from ciflow.report.record import Ended, PlayRecord, Record
from ciflow.report.text import safe

_ELEMENT = {"failed": "failure", "unreachable": "error", "unknown": "error", "skipped": "skipped"}


def junit(record: Record) -> bytes:
    root = ET.Element("testsuites", name="ciflow")
    root.extend(_suite(play) for play in record.plays.values())
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _suite(play: PlayRecord) -> ET.Element:
    cases = [(task.name, host, ended) for task in play.tasks.values() for host, ended in task.hosts.items()]
    of = [_ELEMENT.get(ended.status, "") for _, _, ended in cases]
    element = ET.Element(
        "testsuite", name=_text(play.name), tests=str(len(of)), failures=str(of.count("failure")),
        errors=str(of.count("error")), skipped=str(of.count("skipped")),
        time=f"{sum(ended.seconds for _, _, ended in cases):.3f}",
        timestamp=datetime.fromtimestamp(play.began, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    )  # fmt: skip
    element.extend(_case(f"{play.name}.{host}" if host else play.name, task, ended) for task, host, ended in cases)
    return element


def _case(where: str, task: str, ended: Ended) -> ET.Element:
    element = ET.Element("testcase", classname=_text(where), name=_text(task), time=f"{ended.seconds:.3f}")
    kind = _ELEMENT.get(ended.status)
    if kind:
        found = ET.SubElement(element, kind, message=_text(ended.message or ended.status))
        if kind != "skipped":
            found.set("type", ended.status)
            found.text = "\n".join(_text(part) for part in ended.text.split("\n"))
    return element


def _text(text: str) -> str:
    """XML 1.0 has no place for control characters and surrogates, not even escaped."""
    return "".join(c if c not in "\ufffe\uffff" else f"\\u{ord(c):04x}" for c in safe(text))
