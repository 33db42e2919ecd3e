"""The end of a run on one screen: what came of it, what it left, what users saw, and what to type next."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Event
from ciflow.report import humane
from ciflow.report.board import BAD, title
from ciflow.report.dial import Dial
from ciflow.report.lines import annotation, labelled, names, row, told, wrapped
from ciflow.report.text import Line, Piece, fit, left, line, right, safe

MOST_PLAYS = 20
MOST_FAILED = 5
GOOD_EXITS = (0, 2)


@dataclass(slots=True)
class PlayEnd:
    """What is left of a play when it has ended."""

    name: str
    result: str = "interrupted"
    duration: float = 0.0
    did: str = ""
    statuses: Counter[str] = field(default_factory=Counter)
    tests: Counter[str] = field(default_factory=Counter)  # passed, flaky (of these), failed, in quarantine

    @property
    def words(self) -> str:
        """What it did, in its own words, else what came of tests, else how many tasks changed and failed."""
        counts = (
            f"{humane.number(n)} {s}" for s, n in sorted(self.statuses.items()) if n and s not in ("ok", "skipped")
        )
        tested = ", ".join(f"{humane.number(n)} {what}" for what, n in self.tests.items() if n)
        return self.did or tested or ", ".join(counts) or ("nothing changed" if self.result == "ok" else "")


@dataclass(slots=True)
class Summary:
    """A fold. Feed it the events of one run in order; `lines` may be asked at any time."""

    run: str = ""
    began: float = 0.0
    ended: float = 0.0
    last: float = 0.0  # when anything was heard of it
    exit: int | None = None
    result: str = ""
    check: bool = False
    following: str = ""
    error: str = ""  # the last that was no task's
    report: str = ""
    plays: dict[str, PlayEnd] = field(default_factory=dict)
    failed: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    artifacts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    sboms: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    signatures: list[Mapping[str, Any]] = field(default_factory=list)
    dials: dict[str, Dial] = field(default_factory=dict)
    users: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    rollbacks: list[Event] = field(default_factory=list)
    annotations: list[Mapping[str, Any]] = field(default_factory=list)
    caches: dict[str, dict[str, Any]] = field(default_factory=dict)  # by play, its builds added up
    stats: dict[str, dict[str, Any]] = field(default_factory=dict)  # by host, "" for those of the run

    def event(self, event: Event) -> None:
        self.run, self.last = self.run or event.run, max(self.last, event.at)
        if event.kind in ("canary_started", "canary_state", "dial", "interval", "gate"):
            self._dial(event)
        elif event.kind == "rollback":
            self.rollbacks.append(event)
        elif event.kind == "annotation":
            self.annotations.append(event.data)
        elif event.kind in ("artifact", "sbom", "signature", "users"):
            self._left(event)
        elif event.kind in _HANDLERS:
            _HANDLERS[event.kind](self, event)

    def _dial(self, event: Event) -> None:
        if event.kind == "canary_started" and event.play not in self.dials:
            self.dials[event.play] = Dial.of(event)
        elif event.play in self.dials:
            self.dials[event.play].event(event)

    def _left(self, event: Event) -> None:
        data = event.data
        if event.kind == "users":
            self.users[event.play] = data
        elif event.kind == "signature":
            self.signatures.append(data)
        else:
            kept = self.artifacts if event.kind == "artifact" else self.sboms
            kept[str(data.get("name"))] = data

    def goes_on(self) -> None:
        """Its process lives: what has not ended was not interrupted."""
        for play in self.plays.values():
            play.result = "running" if play.result == "interrupted" else play.result

    @property
    def sentence(self) -> str:
        """What came of it."""
        return self.result if " " in self.result else outcome(self)

    @property
    def served(self) -> tuple[int, int, int]:
        """Requests that were served, that failed, and that met a faulty version."""
        served, failed, met = (
            sum(int(data.get(key, 0)) for data in self.users.values()) for key in ("served", "failed", "met_fault")
        )
        return served, failed, met

    # --- the screen ------------------------------------------------------------------------------------------

    def lines(self, columns: int) -> list[Line]:
        """Result in one sentence first, command to type last."""
        found = self._sentence(columns)
        found += self._failures(columns)
        found += self._plays(columns)
        for dial in self.dials.values():
            found += self._history(dial, columns)
        found += [each for event in self.rollbacks for each in told(event, columns)]
        found += [each for data in self.annotations for each in annotation(data, columns)]
        found += self._things(columns)
        found += self._caches(columns)
        found += self._users(columns)
        for host, values in self.stats.items():
            said = ", ".join(f"{name}: {_shown(value)}" for name, value in values.items())
            found += labelled(f"stats {host}".rstrip(), said, columns)
        if self.report:
            found += labelled("report", self.report, columns)
        found += labelled("next", self.following, columns)
        paused = [dial.service for dial in self.dials.values() if dial.state == "paused" and self.following]
        return found + labelled("or", f"ciflow rollback {paused[-1]}" if paused else "", columns)

    def _sentence(self, columns: int) -> list[Line]:
        style = "ok" if self.exit in GOOD_EXITS else "changed" if self.exit in (7, 8) else "failed"
        took = humane.duration(self.ended - self.began) if self.ended else ""
        parts = wrapped(f"{self.sentence}  {self.run}{', ' + took if took else ''}", columns)
        return [line(Piece(part, style)) for part in parts]

    def _failures(self, columns: int) -> list[Line]:
        found = [
            line(
                "  ",
                Piece("failed  ", "failed"),
                fit(f"{self.names.get(task, task[1])}: {names(list(hosts))}", columns - 10),
            )
            for task, hosts in list(self.failed.items())[:MOST_FAILED]
        ]
        more = len(self.failed) - MOST_FAILED
        return [*found, line(f"  and {humane.counted(more, 'task')} more")] if more > 0 else found

    def _plays(self, columns: int) -> list[Line]:
        ends = list(self.plays.items())
        found = [self._play(id, end, columns) for id, end in ends[:MOST_PLAYS]]
        more = len(ends) - MOST_PLAYS
        return [*found, line(f"  and {humane.counted(more, 'play')} more")] if more > 0 else found

    def _play(self, id: str, end: PlayEnd, columns: int) -> Line:
        words = (self.dials[id].came_to if id in self.dials else "") or end.words
        result = "paused" if end.result == "interrupted" and self.exit == 8 else end.result.replace("_", " ")
        return row(end.name, result, words, humane.duration(end.duration), columns, indent=2)

    def _history(self, dial: Dial, columns: int) -> list[Line]:
        state = dial.state.replace("_", " ")
        found = [line("  ", fit(f"{dial.title}  {state}", columns - 2))]
        for stand in dial.stands:
            found.append(stand.line(self.ended or stand.ended or self.last, columns))
            found += [line(" " * 10, part) for words in stand.evidence() for part in wrapped(words, columns - 10)]
        return found + labelled(state, dial.why, columns)

    def _things(self, columns: int) -> list[Line]:
        signed = {str(s.get("name")) for s in self.signatures}
        found = [_thing("artifact", name, data, columns, name in signed) for name, data in self.artifacts.items()]
        return found + [_thing("sbom", name, data, columns, name in signed) for name, data in self.sboms.items()]

    def _caches(self, columns: int) -> list[Line]:
        """Of each play what the cache of compiled crates did for it, or why there was none."""
        if not self.caches:
            return []
        from ciflow.cargo.cache import sentence

        found: list[Line] = []
        for play, counts in self.caches.items():
            name = self.plays[play].name if play in self.plays else play
            found += labelled(f"cache {name}", sentence(counts), columns)
        return found

    def _users(self, columns: int) -> list[Line]:
        if not self.users:
            return []
        served, failed, met = self.served
        text = (
            f"{humane.number(served)} requests served, {humane.number(failed)} failed, "
            f"{humane.number(met)} met by a faulty version"
        )
        return [line("  ", fit(text, columns - 2))]


def _thing(kind: str, name: str, data: Mapping[str, Any], columns: int, signed: bool) -> Line:
    digest = str(data.get("sha256") or "")[:12]
    extent = f"{humane.counted(int(data['components']), 'component')}" if "components" in data else ""
    extent = humane.size(float(data["size"])) if "size" in data else extent
    words = "   ".join(filter(None, (f"sha256:{digest}" if digest else "", extent, "signed" if signed else "")))
    first = max(columns * 36 // 100, 16)
    return line(left(f"  {kind} {safe(name)}", first), fit(words, columns - first), right("", 0))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _run_started(summary: Summary, event: Event) -> None:
    summary.began = event.at
    summary.check = bool(event.data.get("check"))


def _run_ended(summary: Summary, event: Event) -> None:
    data = event.data
    summary.ended, summary.exit, summary.result = event.at, int(data["exit"]), str(data.get("result") or "")
    details = data.get("summary")
    if isinstance(details, Mapping):
        summary.following = str(details.get("next") or "")
        summary.report = str(details.get("report") or "")
    if not summary.following and not summary.check:
        summary.following = _next(summary, event.run)


def _next(summary: Summary, run: str) -> str:
    """The command that most people type now."""
    if summary.exit in GOOD_EXITS:
        back = [dial.service for dial in summary.dials.values() if dial.state == "good" and dial.before]
        return f"ciflow rollback {back[-1]}" if back else ""
    kept = [dial for dial in summary.dials.values() if dial.kept]
    if kept:
        return f"ciflow rollback {kept[-1].service}" if kept[-1].before else "ciflow apply, once it is mended"
    if summary.exit == 6 or any(dial.state == "fenced" for dial in summary.dials.values()):
        return "ciflow status"  # somebody has taken over: resumed, it would be refused again
    if summary.exit == 3:  # what is wrong with the files stays so in a run that was begun with them
        return "ciflow apply, once it is mended"
    return f"ciflow resume {run}" if summary.exit != 7 else ""


def outcome(summary: Summary) -> str:
    """What came of the run, in one sentence."""
    dial = next(reversed(summary.dials.values()), None)
    release = f"{dial.service} {dial.version}" if dial else ""
    failed = [f"{summary.names.get(task, task[1])} on {names(list(on))}" for task, on in summary.failed.items()]
    if summary.exit is None:
        return "It has not ended."
    if summary.check:
        return "Checked; nothing was changed."
    if summary.exit in GOOD_EXITS:
        good = dial is not None and dial.state == "good"
        return f"{release} has all traffic and was observed good." if good else "Done."
    if summary.exit == 7 and dial is not None:
        return f"{release} was turned back; {dial.before or 'the version before it'} has all traffic."
    if summary.exit == 8:
        return f"Paused: {release} waits for somebody." if dial else "Paused: it waits for somebody."
    if dial is not None and dial.kept:
        return f"{release} did not do well, and has all traffic."
    if dial is not None and dial.state == "fenced":
        return f"{release} was stopped: somebody else has taken over its dial."
    if failed:
        return f"Failed: {failed[0]}."
    if dial is not None and dial.state == "failed" and dial.reason:
        return f"{release} was not released: {dial.reason.rstrip('.')}."
    words = {130: "Interrupted.", 143: "Terminated.", 6: "Locked by somebody else."}
    if summary.exit not in words and summary.error:
        return f"Failed: {summary.error.rstrip('.')}."
    return words.get(summary.exit, f"Ended with exit code {summary.exit}.")


def _run_resumed(summary: Summary, _: Event) -> None:
    summary.ended, summary.exit, summary.result, summary.following = 0.0, None, "", ""


def _play_started(summary: Summary, event: Event) -> None:
    summary.plays[event.play] = PlayEnd(title(event))


def _play_ended(summary: Summary, event: Event) -> None:
    data = event.data
    play = summary.plays.setdefault(event.play, PlayEnd(title(event)))
    play.result, play.duration = str(data["result"]), float(data.get("duration", 0.0))
    play.did = str(data.get("did") or data.get("reason") or "")


def _task_started(summary: Summary, event: Event) -> None:
    summary.names[event.play, event.task] = str(event.data.get("name") or event.task)


def _task_ended(summary: Summary, event: Event) -> None:
    status, task = str(event.data["status"]), (event.play, event.task)
    statuses = summary.plays.setdefault(event.play, PlayEnd(event.play)).statuses
    statuses[status] += 1
    if event.data.get("name"):
        summary.names[task] = str(event.data["name"])
    if status in BAD:
        summary.failed.setdefault(task, {})[event.host] = status
    elif event.host in summary.failed.get(task, {}):  # rescued, or done at another try
        statuses[summary.failed[task].pop(event.host)] -= 1
        if not summary.failed[task]:
            del summary.failed[task]


def _error(summary: Summary, event: Event) -> None:
    summary.error = str(event.data.get("message") or "").partition("\n")[0]


def _tests(summary: Summary, event: Event) -> None:
    counts = summary.plays.setdefault(event.play, PlayEnd(event.play)).tests
    results = [str(letters) for letters, _ in event.data["results"].values()]
    if event.data.get("part"):
        counts["in quarantine"] += len(results)
        return
    passed = [letters for letters in results if letters.endswith("P")]
    counts.update({"passed": len(passed), "flaky": sum(len(letters) > 1 for letters in passed)})
    counts["failed"] += len(results) - len(passed)


def _cache(summary: Summary, event: Event) -> None:
    from ciflow.cargo.cache import added

    summary.caches[event.play] = added(summary.caches.get(event.play, {}), event.data)


def _stats(summary: Summary, event: Event) -> None:
    """`set_stats`: values are put down, or added to what is there, as Ansible adds them."""
    values = summary.stats.setdefault(event.host if event.data["per_host"] else "", {})
    for name, value in event.data["data"].items():
        before = values.get(name)
        alike = event.data["aggregate"] and before is not None and isinstance(value, type(before))
        values[name] = _added(before, value) if alike else value


def _added(before: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {**before, **value}
    return before + value if isinstance(value, int | float | str | list) and not isinstance(value, bool) else value


_HANDLERS = {
    "cache": _cache,
    "tests": _tests,
    "stats": _stats,
    "error": _error,
    "run_started": _run_started,
    "run_ended": _run_ended,
    "run_resumed": _run_resumed,
    "play_started": _play_started,
    "play_ended": _play_ended,
    "task_started": _task_started,
    "task_ended": _task_ended,
}
