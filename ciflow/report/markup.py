"""Elements of HTML: a tree, which writes every text escaped, so that no value of a run becomes markup.

A page that is sent to somebody (html.py) is made of them, and the live one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from ciflow.report import humane
from ciflow.report.dial import Dial
from ciflow.report.text import safe

FULL = 10_000  # hundredths of a percent
_STATES = {
    "ok": "ok", "good": "ok", "cached": "ok", "failed": "failed", "interrupted": "failed", "rolled back": "failed",
    "turned back": "failed", "unreachable": "failed", "unknown": "failed", "bad": "failed", "skipped": "quiet",
    "live": "ok", "warm": "quiet",
}  # fmt: skip
STYLE = """
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


def of(tag: str, css: str, *inside: ET.Element | str) -> ET.Element:
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


def link(text: str, where: str) -> ET.Element:
    """`where` is made of our own words and of quoted ones."""
    made = of("a", "", text)
    made.set("href", where)
    return made


def document(head: ET.Element, body: ET.Element) -> bytes:
    """A whole page, in UTF-8."""
    page = of("html", "", head, body)
    page.set("lang", "en")
    text: bytes = ET.tostring(page, encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + text + b"\n"


def section(title: str, *inside: ET.Element) -> ET.Element:
    return of("section", "", of("h2", "", title), *inside)


def stated(word: str, text: str = "") -> ET.Element:
    word = word.replace("_", " ")
    return of("span", _STATES.get(word, "changed"), text or word)


def lines(text: str) -> ET.Element:
    made = ET.Element("pre")
    made.text = "\n".join(safe(row) for row in text.split("\n"))
    return made


def table(head: Sequence[str], rows: Iterable[tuple[ET.Element | str, ...]]) -> ET.Element:
    """Its last column has numbers."""
    body = of("tbody", "")
    for row in rows:
        body.append(of("tr", "", *(of("td", "", cell) for cell in row[:-1]), of("td", "number", row[-1])))
    names = (*(of("th", "", name) for name in head[:-1]), of("th", "number", head[-1]))
    return of("table", "", of("thead", "", of("tr", "", *names)), body)


def rollout(dial: Dial, now: float = 0.0) -> ET.Element:
    """One dial: where it stood, what was counted, what each gate had against the candidate. `now` of one that moves."""
    rows = ((share(stand.weight), stated(stand.verdict), str(stand.candidate), str(stand.stable),
             humane.duration(max((stand.ended or now) - stand.began, 0.0))) for stand in dial.stands)  # fmt: skip
    stands = table(("share", "verdict", "errors", "of stable", "for"), rows)
    told = [of("p", "soft", f"{humane.share(stand.weight)}: {words}")
            for stand in dial.stands for words in stand.evidence()]  # fmt: skip
    why = [of("p", "", dial.why)] if dial.why else []
    title = of("h3", "", dial.title, " ", stated(dial.state))
    return of("article", "", title, stands, *told, *why)


def share(weight: int) -> ET.Element:
    meter = ET.Element("meter", {"max": str(FULL), "value": str(weight), "aria-label": "share of the traffic"})
    return of("span", "", meter, f" {humane.share(weight)}")
