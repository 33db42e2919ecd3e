"""A run as one page: to be kept with a release, or sent to somebody.

It loads nothing and runs nothing (its own Content-Security-Policy forbids both), and is read in the light or the dark,
on a phone and on paper. It is built as a tree, which writes every text escaped: no value of a run becomes markup.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from ciflow.report import humane
from ciflow.report.dial import Dial
from ciflow.report.record import Ended, PlayRecord, Record, TaskRecord
from ciflow.report.summary import GOOD_EXITS, PlayEnd
from ciflow.report.text import safe

MOST_FAILED = 50  # tasks whose failures are shown
MOST_HOSTS = 10  # of each of these
FULL = 10_000  # hundredths of a percent
_STATES = {
    "ok": "ok", "good": "ok", "cached": "ok", "failed": "failed", "interrupted": "failed", "rolled back": "failed",
    "turned back": "failed", "unreachable": "failed", "unknown": "failed", "bad": "failed", "skipped": "quiet",
}  # fmt: skip
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6574; --paper: #f6f7f9; --card: #fff; --line: #dfe3e8;
  --ok: #1a7f4b; --changed: #8a6100; --failed: #c02f2f; --code: #eef0f3 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa5b4; --paper: #14181f; --card: #1c222b;
  --line: #313946; --ok: #4cc38a; --changed: #e0b04a; --failed: #ff7b72; --code: #262d38 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
header { border-left: .4rem solid var(--changed); padding: .2rem 0 .2rem 1rem }
header.ok { border-color: var(--ok) } header.failed { border-color: var(--failed) }
h1 { font-size: 1.45rem; line-height: 1.3; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem } h3 { font-size: 1rem; margin: 0 }
p { margin: .4rem 0 } .soft { color: var(--soft) }
section > article, .card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .8rem 1rem; margin: .6rem 0; overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: .87rem }
th, td { padding: .3rem .8rem .3rem 0; vertical-align: top; overflow-wrap: anywhere }
tr + tr td, tbody td { border-top: 1px solid var(--line) }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; padding-right: 0 }
.ok { color: var(--ok) } .changed { color: var(--changed) } .failed { color: var(--failed) }
.quiet { color: var(--soft) }
header.ok, header.changed, header.failed { color: inherit }
code, pre { font: .87rem/1.45 ui-monospace, monospace; background: var(--code); border-radius: .3rem }
code { padding: .1rem .3rem; overflow-wrap: anywhere } pre { padding: .6rem .8rem; margin: .5rem 0; overflow-x: auto }
summary { cursor: pointer; display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline }
summary::before { content: "+"; color: var(--soft) } [open] > summary::before { content: "-" }
summary > :nth-child(3) { min-width: 6rem } summary > :last-child { min-width: 4.5rem }
summary > :first-child { flex: 1 1 14rem; font-weight: 600; overflow-wrap: anywhere }
details table { margin: .6rem 0 0 }
meter { width: 6rem; vertical-align: middle }
@media print { body { background: none } .card, article { break-inside: avoid } }
"""


def html(record: Record) -> bytes:
    """The whole page, in UTF-8."""
    summary = record.summary
    main = _of("main", "", _header(record), *_failures(record), *_plays(record))
    if summary.dials:
        main.append(_section("Rollouts", *map(_rollout, summary.dials.values())))
    main.extend(_left(record))
    if summary.users:
        served, failed, met = map(humane.number, summary.served)
        main.append(_section("Users", _of("p", "card", f"{served} requests served, {failed} failed, {met} met by a "
                                                       "faulty version")))  # fmt: skip
    page = _of("html", "", _head(record), _of("body", "", main))
    page.set("lang", "en")
    text: bytes = ET.tostring(page, encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + text + b"\n"


def _head(record: Record) -> ET.Element:
    head = _of("head", "")
    for attributes in (
        {"charset": "utf-8"},
        {"http-equiv": "Content-Security-Policy", "content": _POLICY},
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
        {"name": "referrer", "content": "no-referrer"},
    ):
        ET.SubElement(head, "meta", attributes)
    head.append(_of("title", "", f"{record.summary.run} {record.summary.sentence}"))
    ET.SubElement(head, "style").text = _STYLE
    return head


def _header(record: Record) -> ET.Element:
    summary = record.summary
    state = "ok" if summary.exit in GOOD_EXITS else "changed" if summary.exit in (None, 8) else "failed"
    took = humane.duration(summary.ended - summary.began) if summary.ended else ""
    began = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(summary.began))
    by = f"by {record.who}" if record.who else ""
    facts = "  ·  ".join(filter(None, (summary.run, record.playbook, by, began, took)))
    header = _of("header", state, _of("h1", "", summary.sentence), _of("p", "soft", facts))
    for note in summary.annotations:
        header.append(_of("p", "", f"noted by {note.get('by')}: {note.get('reason')}"))
    if summary.following:
        header.append(_of("p", "", "next: ", _of("code", "", summary.following)))
    return header


def _failures(record: Record) -> Iterator[ET.Element]:
    failed = [task for play in record.plays.values() for task in play.tasks.values() if task.failures]
    if not failed or record.summary.exit in GOOD_EXITS:
        return
    shown = [_failure(task, host, ended) for task in failed[:MOST_FAILED]
             for host, ended in list(task.failures.items())[:MOST_HOSTS]]  # fmt: skip
    more = sum(len(task.failures) for task in failed) - len(shown)
    if more:
        shown.append(_of("p", "soft", f"and {humane.counted(more, 'failure')} more"))
    yield _section("What failed", *shown)


def _failure(task: TaskRecord, host: str, ended: Ended) -> ET.Element:
    found = _of("article", "", _of("h3", "", task.name, " ", _of("span", "failed", ended.status), " on ",
                                   _of("code", "", host)))  # fmt: skip
    if ended.message and ended.message != ended.text:
        found.append(_of("p", "", ended.message))
    if ended.text:
        found.append(_lines(ended.text))
    if ended.cause:
        found.append(_of("p", "", _of("strong", "", "Likely: "), ended.cause))
    return found


def _plays(record: Record) -> Iterator[ET.Element]:
    summary = record.summary
    if summary.plays:
        yield _section("Plays", *(_play(end, record.plays.get(id), summary.dials.get(id))
                                  for id, end in summary.plays.items()))  # fmt: skip


def _play(end: PlayEnd, play: PlayRecord | None, dial: Dial | None) -> ET.Element:
    words = (dial.came_to if dial else "") or end.words
    row = (_of("span", "", end.name), _of("span", "soft", words), _state(end.result),
           _of("span", "number soft", humane.duration(end.duration)))  # fmt: skip
    tasks = [
        (task.name, _of("span", "soft", task.module), _hosts(task), humane.duration(task.seconds))
        for task in (play.tasks.values() if play else ())
    ]
    below = _table(("task", "", "hosts", "took"), tasks) if tasks else _of("p", "soft", "It ran no task.")
    details = _of("details", "", _of("summary", "", *row), below)
    if end.result == "failed":
        details.set("open", "open")
    return _of("div", "card", details)


def _hosts(task: TaskRecord) -> ET.Element:
    found = _of("span", "")
    for at, (status, count) in enumerate(task.counts.items()):
        found.extend((_of("span", "", ", " if at else ""), _state(status, f"{humane.number(count)} {status}")))
    return found


def _rollout(dial: Dial) -> ET.Element:
    state = dial.state.replace("_", " ")
    rows = ((_share(stand.weight), _state(stand.verdict), str(stand.candidate), str(stand.stable),
             humane.duration(max(stand.ended - stand.began, 0.0))) for stand in dial.stands)  # fmt: skip
    table = _table(("share", "verdict", "errors", "of stable", "for"), rows)
    told = [_of("p", "soft", f"{humane.share(stand.weight)}: {words}")
            for stand in dial.stands for words in stand.evidence()]  # fmt: skip
    why = [_of("p", "", dial.why)] if dial.why else []
    title = _of("h3", "", dial.title, " ", _state(state))
    return _of("article", "", title, table, *told, *why)


def _share(weight: int) -> ET.Element:
    meter = ET.Element("meter", {"max": str(FULL), "value": str(weight), "aria-label": "share of the traffic"})
    return _of("span", "", meter, f" {humane.share(weight)}")


def _left(record: Record) -> Iterator[ET.Element]:
    summary = record.summary
    signed = {str(one.get("name")) for one in summary.signatures}
    rows = [_thing(kind, name, data, name in signed)
            for kind, kept in (("artifact", summary.artifacts), ("sbom", summary.sboms))
            for name, data in kept.items()]  # fmt: skip
    if rows:
        yield _section("What it left", _of("div", "card", _table(("name", "kind", "sha256", "size"), rows)))


def _thing(kind: str, name: str, data: Mapping[str, Any], signed: bool) -> tuple[ET.Element | str, ...]:
    size = humane.size(float(data["size"])) if "size" in data else ""
    size = humane.counted(int(data["components"]), "component") if "components" in data else size
    return name, f"{kind}, signed" if signed else kind, _of("code", "", str(data.get("sha256") or "")), size


# --- elements --------------------------------------------------------------------------------------------------


def _of(tag: str, css: str, *inside: ET.Element | str) -> ET.Element:
    """An element of a class, with texts and elements in it. Control characters are shown, as on the screen."""
    made = ET.Element(tag, {"class": css} if css else {})
    for one in inside:
        if not isinstance(one, str):
            made.append(one)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + safe(one)
        else:
            made.text = (made.text or "") + safe(one)
    return made


def _section(title: str, *inside: ET.Element) -> ET.Element:
    return _of("section", "", _of("h2", "", title), *inside)


def _state(word: str, text: str = "") -> ET.Element:
    word = word.replace("_", " ")
    return _of("span", _STATES.get(word, "changed"), text or word)


def _lines(text: str) -> ET.Element:
    made = ET.Element("pre")
    made.text = "\n".join(safe(row) for row in text.split("\n"))
    return made


def _table(head: Sequence[str], rows: Iterable[tuple[ET.Element | str, ...]]) -> ET.Element:
    """Its last column has numbers."""
    body = _of("tbody", "")
    for row in rows:
        body.append(_of("tr", "", *(_of("td", "", cell) for cell in row[:-1]), _of("td", "number", row[-1])))
    names = (*(_of("th", "", name) for name in head[:-1]), _of("th", "number", head[-1]))
    return _of("table", "", _of("thead", "", _of("tr", "", *names)), body)
