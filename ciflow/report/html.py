"""A run as one page: to be kept with a release, or sent to somebody.

It loads nothing and runs nothing (its own Content-Security-Policy forbids both), and is read in the light or the dark,
on a phone and on paper. It is built as a tree, which writes every text escaped: no value of a run becomes markup.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

from ciflow.report import humane
from ciflow.report.dial import Dial
from ciflow.report.markup import STYLE, document, lines, link, of, rollout, section, stated, table
from ciflow.report.record import Ended, PlayRecord, Record, TaskRecord
from ciflow.report.summary import GOOD_EXITS, PlayEnd

Leads: TypeAlias = Callable[[str, str], str]  # play, path of a task
MOST_FAILED = 50  # tasks whose failures are shown
MOST_HOSTS = 10  # of each of these
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(record: Record) -> bytes:
    """The whole page, in UTF-8."""
    return document(_head(record), of("body", "", of("main", "", *parts(record))))


def parts(record: Record, leads: Leads | None = None, now: float = 0.0) -> Iterator[ET.Element]:
    """What stands in it. `leads` says where a task's name leads to, on a page that knows more of it; `now` is of a run
    that goes on."""
    summary = record.summary
    yield from (_header(record), *_failures(record), *_plays(record, leads))
    if summary.dials:
        yield section("Rollouts", *(rollout(dial, now) for dial in summary.dials.values()))
    yield from _left(record)
    if summary.users:
        served, failed, met = map(humane.number, summary.served)
        yield section("Users", of("p", "card", f"{served} requests served, {failed} failed, {met} met by a "
                                               "faulty version"))  # fmt: skip


def _head(record: Record) -> ET.Element:
    head = of("head", "")
    for attributes in (
        {"charset": "utf-8"},
        {"http-equiv": "Content-Security-Policy", "content": _POLICY},
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
        {"name": "referrer", "content": "no-referrer"},
    ):
        ET.SubElement(head, "meta", attributes)
    head.append(of("title", "", f"{record.summary.run} {record.summary.sentence}"))
    ET.SubElement(head, "style").text = STYLE
    return head


def _header(record: Record) -> ET.Element:
    summary = record.summary
    state = "ok" if summary.exit in GOOD_EXITS else "changed" if summary.exit in (None, 8) else "failed"
    took = humane.duration(summary.ended - summary.began) if summary.ended else ""
    began = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(summary.began))
    by = f"by {record.who}" if record.who else ""
    facts = "  ·  ".join(filter(None, (summary.run, record.playbook, by, began, took)))
    header = of("header", state, of("h1", "", summary.sentence), of("p", "soft", facts))
    for note in summary.annotations:
        header.append(of("p", "", f"noted by {note.get('by')}: {note.get('reason')}"))
    if summary.following:
        header.append(of("p", "", "next: ", of("code", "", summary.following)))
    return header


def _failures(record: Record) -> Iterator[ET.Element]:
    failed = [task for play in record.plays.values() for task in play.tasks.values() if task.failures]
    if not failed or record.summary.exit in GOOD_EXITS:
        return
    shown = [_failure(task, host, ended) for task in failed[:MOST_FAILED]
             for host, ended in list(task.failures.items())[:MOST_HOSTS]]  # fmt: skip
    more = sum(len(task.failures) for task in failed) - len(shown)
    if more:
        shown.append(of("p", "soft", f"and {humane.counted(more, 'failure')} more"))
    yield section("What failed", *shown)


def _failure(task: TaskRecord, host: str, ended: Ended) -> ET.Element:
    found = of("article", "", of("h3", "", task.name, " ", of("span", "failed", ended.status), " on ",
                                   of("code", "", host)))  # fmt: skip
    if ended.message and ended.message != ended.text:
        found.append(of("p", "", ended.message))
    if ended.text:
        found.append(lines(ended.text))
    if ended.cause:
        found.append(of("p", "", of("strong", "", "Likely: "), ended.cause))
    return found


def _plays(record: Record, leads: Leads | None) -> Iterator[ET.Element]:
    summary = record.summary
    if summary.plays:
        yield section("Plays", *(_play(id, end, record.plays.get(id), summary.dials.get(id), leads)
                                 for id, end in summary.plays.items()))  # fmt: skip


def _play(id: str, end: PlayEnd, play: PlayRecord | None, dial: Dial | None, leads: Leads | None) -> ET.Element:
    words = (dial.came_to if dial else "") or end.words
    row = (of("span", "", end.name), of("span", "soft", words), stated(end.result),
           of("span", "number soft", humane.duration(end.duration)))  # fmt: skip
    tasks = [
        (link(task.name, leads(id, path)) if leads else task.name, of("span", "soft", task.module), _hosts(task),
         humane.duration(task.seconds))
        for path, task in (play.tasks.items() if play else ())
    ]  # fmt: skip
    below = table(("task", "", "hosts", "took"), tasks) if tasks else of("p", "soft", "It ran no task.")
    details = of("details", "", of("summary", "", *row), below)
    if end.result in ("failed", "running"):
        details.set("open", "open")
    return of("div", "card", details)


def _hosts(task: TaskRecord) -> ET.Element:
    found = of("span", "")
    for at, (status, count) in enumerate(task.counts.items()):
        found.extend((of("span", "", ", " if at else ""), stated(status, f"{humane.number(count)} {status}")))
    return found


def _left(record: Record) -> Iterator[ET.Element]:
    summary = record.summary
    signed = {str(one.get("name")) for one in summary.signatures}
    rows = [_thing(kind, name, data, name in signed)
            for kind, kept in (("artifact", summary.artifacts), ("sbom", summary.sboms))
            for name, data in kept.items()]  # fmt: skip
    if rows:
        yield section("What it left", of("div", "card", table(("name", "kind", "sha256", "size"), rows)))


def _thing(kind: str, name: str, data: Mapping[str, Any], signed: bool) -> tuple[ET.Element | str, ...]:
    size = humane.size(float(data["size"])) if "size" in data else ""
    size = humane.counted(int(data["components"]), "component") if "components" in data else size
    return name, f"{kind}, signed" if signed else kind, of("code", "", str(data.get("sha256") or "")), size
