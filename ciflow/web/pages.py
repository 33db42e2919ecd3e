"""The pages: trees of escaped text, whole without a script. What the script does is fetch them again when something is
new, and send what a button says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from ciflow.dataclass import dataclass
from ciflow.engine.recorded import Recorded
from ciflow.model import Event
from ciflow.report import humane
from ciflow.report.dial import WHOLE, Dial
from ciflow.report.html import parts
from ciflow.report.markup import document, lines, link, of, rollout, section, share, stated, table
from ciflow.report.said import output_of
from ciflow.store.artifacts.records import Entry
from ciflow.store.folds import Doing, Release, RunSummary
from ciflow.web.folds import Overview, Service
from ciflow.web.tokens import Token

WIDE, HIGH = 320, 72  # of a graph, in its own units
MOST_LINES = 2000  # of the output of one host
MOST_HOSTS = 200


@dataclass(frozen=True, slots=True)
class View:
    """Who looks, at what time, and up to which event everything is in it."""

    token: Token
    last: int
    now: float

    def ago(self, at: float) -> str:
        return humane.ago(self.now - at)


# --- pages -------------------------------------------------------------------------------------------------------


def overview(view: View, found: Overview) -> bytes:
    """What one sees first of a service is the way back."""
    inside = [*(_service(view, one) for one in found.services), *_waiting(view, found.waiting)]
    if not found.services:
        inside.append(of("p", "soft", "Nothing was released from here yet."))
    if running := [run for run in found.runs if run.state == "running"]:
        inside.append(section("Now", *(_at_work(view, run, found.doing.get(run.run, ())) for run in running)))
    if found.runs:
        inside.append(section("Runs", of("div", "card", _runs(view, found.runs))))
    waits = f"({len(found.waiting)} waiting) " if found.waiting else ""
    return _page(view, f"{waits}ciflow", *inside)


def run(view: View, found: Recorded) -> bytes:
    """As `ciflow report` has it, and where the output of each task is."""
    id = found.run.run

    def leads(play: str, task: str) -> str:
        return f"{_at('runs', id, 'output')}?{urlencode({'play': play, 'task': task}, errors='replace')}"

    since = [of("p", "soft", text) for text in found.since]
    return _page(view, f"{id} {found.run.state}", *since, *parts(found.record, leads, view.now))


def output(view: View, run: str, ended: Sequence[Event]) -> bytes:
    """What one task came to on each host, those that failed first, and what its program printed."""
    bad = sorted(ended, key=lambda one: (one.data.get("status") in ("ok", "changed", "skipped"), one.host))
    name = str(ended[0].data.get("name") or ended[0].task)
    back = of("p", "", link(run, _at("runs", run)), f"  {ended[0].play}")
    more = (
        [of("p", "soft", f"and {humane.counted(len(bad) - MOST_HOSTS, 'host')} more")] if len(bad) > MOST_HOSTS else []
    )
    return _page(view, name, of("h1", "", name), back, *map(_printed, bad[:MOST_HOSTS]), *more)


def service(view: View, name: str, found: Sequence[Release], shown: Service | None) -> bytes:
    head = [_service(view, shown)] if shown else [of("h1", "", name)]
    return _page(view, name, *head, section("Releases", of("div", "card", _releases(view, found))))


def artifacts(view: View, found: Sequence[Entry]) -> bytes:
    rows = [
        (link(one.name, f"/api/artifacts/{one.digest}"), of("code", "", one.digest), one.run or "pushed",
         view.ago(one.at), humane.size(one.size))
        for one in found
    ]  # fmt: skip
    inside = table(("name", "sha256", "run", "kept", "size"), rows) if rows else of("p", "soft", "There are none.")
    return _page(view, "Artifacts", of("h1", "", "Artifacts"), of("div", "card", inside))


def sorry(view: View, message: str, help: str) -> bytes:
    return _page(view, "ciflow", of("h1", "", "That is not to be had"), of("p", "", message), of("p", "soft", help))


def sign_in(wrong: bool, again: bool) -> bytes:
    """For who has shown no token. `again`: it was a link of another site, to which a browser shows no cookie of ours:
    the page asks once more by itself, and then it does."""
    said = "That token is not known here." if wrong else "`ciflow serve` has printed a link, or a token is needed:"
    field = _with("input", type="password", name="token", autocomplete="current-password", required="required")
    label = of("label", "", "Token ", field)
    form = _with("form", label, of("button", "", "Enter"), method="post", action="/enter")
    refresh = [_with("meta", **{"http-equiv": "refresh", "content": "0"})] if again else []
    head = of("head", "", _with("meta", charset="utf-8"), *_meta(), *refresh, of("title", "", "ciflow"))
    return document(head, of("body", "", of("main", "", of("h1", "", "ciflow"), of("p", "", said), form)))


# --- parts -------------------------------------------------------------------------------------------------------


def _page(view: View, title: str, *inside: ET.Element) -> bytes:
    style = _with("link", rel="stylesheet", href="/page.css")
    script = _with("script", src="/page.js", defer="defer")
    head = of("head", "", _with("meta", charset="utf-8"), *_meta(), style, script, of("title", "", title))
    places = [link("Services", "/"), link("Runs", "/runs"), link("Artifacts", "/artifacts")]
    who = of("span", "soft", f"{view.token.name}, {'may act' if view.token.acts else 'may look'}")
    state = _with("span", "as of ", of("span", "", humane.moment(view.now, view.now)), id="live", **{"class": "soft"})
    bar = _with("nav", *places, who, state, **{"class": "bar", "aria-label": "ciflow"})
    said = _with("div", id="said", role="status", **{"aria-live": "assertive"})
    top = of("div", "top", bar, said)
    skip = _with("a", "To what it shows", href="#main", **{"class": "skip"})
    main = _with("main", *inside, id="main", tabindex="-1", **{"data-last": str(view.last)})
    return document(head, of("body", "", skip, top, main))


def _meta() -> Iterator[ET.Element]:
    yield _with("meta", name="viewport", content="width=device-width, initial-scale=1")
    yield _with("meta", name="color-scheme", content="light dark")
    yield _with("meta", name="referrer", content="no-referrer")


def _service(view: View, found: Service) -> ET.Element:
    id = f"service-{found.name}"
    title = _with("h2", link(found.name, _at("services", found.name)), id=id)
    made = _with("article", title, **{"class": "service card", "aria-labelledby": id})
    made.append(_back(view, found))
    made.append(_releases(view, found.releases))
    if found.rollout is not None:
        if not found.rollout.over:
            made.extend(_controls(view, found))
        made.append(_graph(found.rollout.dial, view.now))
        made.append(rollout(found.rollout.dial, view.now))
    return made


def _back(view: View, found: Service) -> ET.Element:
    """No question is asked: a rollback is safe, and a second one finds nothing to do."""
    command = of("code", "plain", f"ciflow rollback {found.name}")
    if not view.token.acts:
        return of("p", "", command)
    where = _at("api", "services", found.name, "rollback")
    return of("p", "", _button(f"Roll back {found.name}", where, {}, "back", f"back-{found.name}"), command)


def _controls(view: View, found: Service) -> Iterator[ET.Element]:
    """Words to a rollout. Each names the run that was shown: another one that has begun since is not meant."""
    assert found.rollout is not None
    paused = found.rollout.dial.state == "paused"
    if not found.listens:
        yield of("p", "", "No process goes on with it: ", of("code", "", f"ciflow resume {found.run}"))
        return
    yield of("p", "", "run ", link(found.run, _at("runs", found.run)))
    if not view.token.acts:
        return
    verbs = ["resume" if paused else "pause", "promote", "abort"]
    words = {"pause": "Pause", "resume": "Go on", "promote": "Next step", "abort": "Abort"}
    made = of("p", "row")
    for verb in verbs:
        where = _at("api", "services", found.name, verb)
        sure = f"{words[verb]} of {found.name}: tap again" if verb == "promote" else ""
        made.append(_button(words[verb], where, {"run": found.run}, verb, f"{verb}-{found.name}", sure))
    yield made


def _waiting(view: View, waiting: Sequence[Event]) -> Iterator[ET.Element]:
    if waiting:
        made = section("Waits for somebody's word", *(_question(view, one) for one in waiting))
        made.set("id", "waiting")
        yield made


def _question(view: View, asked: Event) -> ET.Element:
    until = float(asked.data.get("until") or 0)
    facts = [f"asked {view.ago(asked.at)}"] + ([f"until {humane.clock(until, view.now)}"] if until else [])
    facts += [f"{', '.join(map(str, asked.data['approvers']))} may answer"] if asked.data.get("approvers") else []
    made = of("article", "", of("h3", "", str(asked.data["prompt"])))
    where = link(asked.run, _at("runs", asked.run))
    made.append(of("p", "soft", where, f"  {asked.play}  ·  {'  ·  '.join(facts)}"))
    if view.token.acts:
        made.append(_answers(asked))
    return made


def _answers(asked: Event) -> ET.Element:
    row = of("p", "row")
    for word, yes in (("Approve", True), ("Deny", False)):
        what = {"run": asked.run, "play": asked.play, "yes": yes}
        id = f"{word.lower()}-{asked.run}-{asked.play}"
        row.append(_button(word, "/api/approvals", what, word.lower(), id, f"{word}: tap again"))
    return row


def _button(text: str, where: str, body: Mapping[str, Any], css: str, id: str, sure: str = "") -> ET.Element:
    """The script sends `body` to `where`; with `sure`, when it is pressed a second time."""
    made = of("button", f"act {css}", text)
    made.attrib |= {"type": "button", "id": id, "data-where": where, "data-body": json.dumps(body)}
    if sure:
        made.set("data-sure", sure)
    return made


def _releases(view: View, found: Sequence[Release]) -> ET.Element:
    rows = [
        (one.version, one.slot, share(one.share), _state(one), view.ago(one.since))
        for one in found
    ]  # fmt: skip
    return table(("version", "slot", "traffic", "state", "since"), rows)


def _state(release: Release) -> ET.Element:
    good = " observed good" if release.observed_good and release.state != "good" else ""
    return of("span", "", stated(release.state), good)


def _at_work(view: View, run: RunSummary, doing: Sequence[Doing]) -> ET.Element:
    """What a run is at, play by play."""
    begun = of("p", "", link(run.run, _at("runs", run.run)), f"  {run.playbook}  ", of("span", "soft", f"by {run.who}"))
    made = of("article", "", begun)
    for one in doing:
        what = f"waits for somebody's word: {one.question}" if one.question else one.task
        since = of("span", "soft", f"  {humane.duration(view.now - one.since)}")
        made.append(of("p", "", of("strong", "", one.play), f"  {what}", since))
    return made


def _runs(view: View, found: Sequence[RunSummary]) -> ET.Element:
    rows = [
        (link(one.run, _at("runs", one.run)), one.playbook + (" (check)" if one.check else ""),
         stated(one.state), one.who, view.ago(one.started))
        for one in found
    ]  # fmt: skip
    return table(("run", "what", "state", "by", "begun"), rows)


def runs(view: View, found: Sequence[RunSummary]) -> bytes:
    inside = _runs(view, found) if found else of("p", "soft", "Nothing was run yet.")
    return _page(view, "Runs", of("h1", "", "Runs"), of("div", "card", inside))


def _printed(ended: Event) -> ET.Element:
    data = ended.data
    title = of("h3", "", of("code", "", ended.host or "-"), " ", stated(str(data.get("status", ""))))
    made = of("article", "card", title)
    took = humane.duration(float(data.get("duration") or 0.0))
    made.append(of("p", "soft", "  ·  ".join(filter(None, (str(data.get("msg") or ""), took)))))
    if data.get("explanation"):
        made.append(of("p", "", of("strong", "", "Likely: "), str(data["explanation"])))
    said = output_of(ended) or str(data.get("tail") or "").splitlines()
    if said:
        left = len(said) - MOST_LINES
        head = [f"... {humane.counted(left, 'line')} before"] if left > 0 else []
        made.append(lines("\n".join([*head, *said[-MOST_LINES:]])))
    return made


def _graph(dial: Dial, now: float) -> ET.Element:
    """The share of the candidate over time: a line that a table below says in words."""
    stands = dial.stands
    made = _with("svg", viewBox=f"0 0 {WIDE} {HIGH}", role="img", **{"class": "graph"})
    told = ", ".join(f"{humane.share(one.weight)} {one.verdict}" for one in stands) or "no traffic yet"
    made.append(_with("title", f"Share of {dial.service} {dial.version}: {told}"))
    for part in (0, WHOLE // 2, WHOLE):
        y = str(_height(part))
        made.append(_with("line", x1="0", x2=str(WIDE), y1=y, y2=y, **{"class": "grid"}))
    if stands:
        made.append(_with("polyline", points=_points(dial, now), fill="none", **{"class": "dial"}))
    return made


def _points(dial: Dial, now: float) -> str:
    first = dial.stands[0].began
    last = dial.stands[-1].ended or now
    scale = WIDE / max(last - first, 1e-3)
    points = [(0.0, _height(0))]
    for one in dial.stands:
        for at in (one.began, one.ended or now):
            points.append(((at - first) * scale, _height(one.weight)))
    if dial.state in ("rolled_back", "rolling_back", "fenced"):
        points.append((float(WIDE), _height(0)))
    return " ".join(f"{x:.1f},{y:g}" for x, y in points)


def _height(weight: int) -> float:
    return round(HIGH - 4 - weight / WHOLE * (HIGH - 8), 1)


def _at(*path: str) -> str:
    """An address of here. What can't be said in one leads nowhere."""
    return "/" + "/".join(quote(part, safe="", errors="replace") for part in path)


def _with(tag: str, *inside: ET.Element | str, **attributes: str) -> ET.Element:
    made = of(tag, "", *inside)
    made.attrib |= attributes
    return made


def view_of(token: Token, last: int) -> View:
    return View(token, last, time.time())
