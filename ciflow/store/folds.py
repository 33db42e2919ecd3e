"""Runs and releases, folded from events. Nothing of it is stored, so nothing of it can disagree with the events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import NoSuch
from ciflow.model import Event
from ciflow.store.locks import Holder
from ciflow.store.store import Store

RUN_KINDS = ("run_started", "run_resumed", "run_ended")
DOING_KINDS = ("play_started", "play_ended", "task_started", "approval_wanted", "approval_given")
RELEASE_KINDS = ("run_started", "canary_started", "canary_state", "dial", "rollback", "found")
FULL = 10_000  # hundredths of a percent
ENDED = ("good", "rolled_back", "failed", "fenced", "warm", "live")  # states of a release that moves no more
KEPT = 2  # releases of a service that were observed good: the newest, and the one to go back to

_BY_EXIT = {0: "ok", 2: "ok", 7: "rolled_back", 8: "paused", 130: "interrupted", 143: "interrupted"}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one line. `state`: running, ok, failed, paused, rolled_back, or interrupted. Times in Unix seconds."""

    run: str
    playbook: str
    who: str = ""
    state: str = "running"
    started: float = 0.0
    ended: float = 0.0
    exit: int | None = None
    result: str = ""
    check: bool = False
    holder: Holder | None = None
    planned: bool = True  # it walks a plan, which can be gone on with; a rollback does not

    @property
    def resumable(self) -> bool:
        return self.planned and not self.check and self.state in ("interrupted", "paused", "failed")


@dataclass(frozen=True, slots=True)
class Doing:
    """What a play under way is at, `since` when in Unix seconds: the `task` that began last, or the `question` that
    somebody's yes is waited for."""

    play: str
    task: str = ""
    question: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a service in a slot. `share` is its own part of the traffic, in hundredths of a percent.

    `observed_good` is when its bake ended well, in Unix seconds, 0 if it hasn't; `since` when `share` last changed.
    `state` is the canary controller's word, or `warm` when a newer one has all traffic, `live` again after a rollback
    to it, `given_back` when the dead-man has done that. `dead_man` in seconds, 0 where it is not known; `left` are
    routers that a rollback to it could not turn.
    """

    service: str
    version: str
    slot: str
    share: int
    state: str
    observed_good: float
    since: float
    who: str
    run: str
    play: str = ""
    token: int = 0
    dead_man: float = 0.0
    left: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether its rollout is under way, as far as the journal knows."""
        return self.state not in ENDED


def summary(store: Store, run: str, *, ours: bool = False) -> RunSummary | None:
    """One run; None when the store doesn't know it. `ours`: the caller has its lock, so nobody else is at it."""
    found = _fold_runs(store.events(run=run, kinds=RUN_KINDS)).get(run)
    if found is None or not ours:
        return found and _with_fate(store, found)
    return replace(found, state="interrupted") if found.state == "running" else found


def summaries(store: Store) -> list[RunSummary]:
    """All runs, the newest first."""
    return [_with_fate(store, s) for s in reversed(_fold_runs(store.events(kinds=RUN_KINDS)).values())]


def doing(store: Store, runs: Iterable[str]) -> dict[str, list[Doing]]:
    """What runs that are not over are at, the plays in the order in which they began."""
    found: dict[str, dict[str, Doing]] = {run: {} for run in runs}
    if not found:
        return {}
    first = min((event.seq for event in store.events(kinds=("run_started",)) if event.run in found), default=1)
    for event in store.events(kinds=DOING_KINDS, after=first - 1):
        if event.run in found:
            _fold_doing(found[event.run], event)
    return {run: list(plays.values()) for run, plays in found.items()}


def _fold_doing(plays: dict[str, Doing], event: Event) -> None:
    named = plays.get(event.play, Doing(event.play, since=event.at))
    if event.kind == "play_ended":
        plays.pop(event.play, None)
    elif event.kind == "play_started":
        plays[event.play] = Doing(str(event.data.get("name") or event.play), since=event.at)
    elif event.kind == "task_started":
        plays[event.play] = replace(named, task=str(event.data.get("name", "")), since=event.at)
    else:
        wanted = str(event.data["prompt"]) if event.kind == "approval_wanted" else ""
        plays[event.play] = replace(named, question=wanted, since=event.at)


def find_run(store: Store, name: str) -> RunSummary:
    """A run by its id or the beginning of it, or the newest that released a service; without a name the newest."""
    every = summaries(store)
    if not name and not every:
        raise NoSuch("nothing was run yet")
    if not name:
        return every[0]
    matching = [one for one in every if one.run == name] or [one for one in every if one.run.startswith(f"{name}-")]
    begun = [] if matching else [release.run for release in history(store, name) if release.play]
    matching = matching or [one for one in every if one.run in begun[:1]]
    if len(matching) == 1:
        return matching[0]
    raise NoSuch(f"no run is called {name}", help="`ciflow history` lists them")


def passed(store: Store, play: str, inputs: Sequence[str]) -> Mapping[str, Any]:
    """The newest good end of a play that had any of these inputs: its `run`, and what it `left`; empty for none."""
    wanted = set(inputs)
    found: dict[str, Any] = {}
    for event in store.events(kinds=("play_ended",)) if wanted else ():
        if event.play == play and event.data["result"] == "ok" and wanted & set(event.data.get("inputs", ())):
            found = {"run": event.run, "left": event.data["left"]}
    return found


def _fold_runs(events: Iterable[Event]) -> dict[str, RunSummary]:
    runs: dict[str, RunSummary] = {}
    for event in events:
        data = event.data
        if event.kind == "run_started":
            runs[event.run] = RunSummary(
                event.run, data.get("playbook", ""), data.get("who", ""), started=event.at,
                check=bool(data.get("check")), holder=_holder(event), planned="request" in data,
            )  # fmt: skip
        elif event.run not in runs:
            continue
        elif event.kind == "run_resumed":
            runs[event.run] = replace(
                runs[event.run], state="running", ended=0.0, exit=None, result="", holder=_holder(event)
            )
        else:
            code = int(data.get("exit", 1))
            runs[event.run] = replace(
                runs[event.run], state=_BY_EXIT.get(code, "failed"), ended=event.at, exit=code,
                result=str(data.get("result", "")),
            )  # fmt: skip
    return runs


def _holder(event: Event) -> Holder | None:
    data = event.data.get("holder")
    return Holder(**data) if data else None


def _with_fate(store: Store, found: RunSummary) -> RunSummary:
    """A run without an end whose process is gone was interrupted. On another machine only its locks can say. What it
    wrote last may have come after `found` was read: so that is read again once nobody can write any more."""
    if found.state != "running" or found.holder is None or found.holder.lives():
        return found
    holds = any(h.holder and h.holder.run == found.run and not h.holder.gone() for h in store.locks.all())
    if holds:
        return found
    now = _fold_runs(store.events(run=found.run, kinds=RUN_KINDS))[found.run]
    return now if now != found else replace(found, state="interrupted")


def releases(events: Iterable[Event]) -> dict[str, list[Release]]:
    """By service, the newest first. Takes events of RELEASE_KINDS in order."""
    books: dict[str, _Book] = {}
    of_play: dict[tuple[str, str], str] = {}
    who: dict[str, str] = {}
    for event in events:
        data = event.data
        if event.kind == "run_started":
            who[event.run] = data.get("who", "")
        elif event.kind == "canary_started":
            of_play[event.run, event.play] = service = str(data["service"])
            books.setdefault(service, _Book([])).start(event, who.get(event.run, ""))
        elif event.kind in ("rollback", "found"):
            book = books.setdefault(str(data["service"]), _Book([]))
            (book.roll_back if event.kind == "rollback" else book.find)(event, who.get(event.run, ""))
        elif event.kind in ("dial", "canary_state") and (event.run, event.play) in of_play:
            books[of_play[event.run, event.play]].note(event)
    return {service: book.newest_first for service, book in books.items()}


def proof_of(events: Iterable[Event], sha256: str) -> str:
    """The blob that says how the artifact with this digest was built, as it was first; "" where nobody saw it."""
    return next((str(event.data["predicate"]) for event in events if event.data["sha256"] == sha256), "")


def history(store: Store, service: str = "") -> list[Release]:
    """Releases of one service, or of all, the newest first."""
    if next(store.events(kinds=("canary_started", "rollback", "found")), None) is None:
        return []  # without reading who began each of a thousand runs
    found = releases(store.events(kinds=RELEASE_KINDS))
    if service:
        return found.get(service, [])
    return sorted((r for rows in found.values() for r in rows), key=lambda r: r.since, reverse=True)


@dataclass(frozen=True, slots=True)
class Standing:
    """Runs that are not over, what the running ones are at, and the releases of one service or of all, newest first."""

    runs: tuple[RunSummary, ...] = ()
    releases: tuple[Release, ...] = ()
    doing: Mapping[str, Sequence[Doing]] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As `ciflow status --json` prints it."""
        releases = [asdict(one) for one in self.releases if one.share]
        runs = [{**asdict(run), "doing": [asdict(one) for one in self.doing.get(run.run, ())]} for run in self.runs]
        return {"runs": runs, "releases": releases}


def standing(store: Store, service: str = "") -> Standing:
    """How things stand now."""
    runs = [run for run in summaries(store) if run.state in ("running", "paused", "interrupted")]
    at = doing(store, [run.run for run in runs if run.state == "running"])
    return Standing(tuple(runs), tuple(history(store, service)), at)


def taken_back(run: str, releases: Iterable[Release]) -> bool:
    """Whether what a run released was rolled back, so that there is nothing of it to go on with."""
    mine = [one for one in releases if one.run == run]
    return any(one.state == "rolled_back" for one in mine) and not any(one.share for one in mine)


def to_keep(releases: Iterable[Release]) -> set[str]:
    """The runs of releases (the newest first) that a rollback may deploy again."""
    found: dict[str, list[str]] = {}
    for release in releases:
        runs = found.setdefault(release.service, [])
        if release.observed_good and len(runs) < KEPT:
            runs.append(release.run)
    return {run for runs in found.values() for run in runs}


@dataclass(slots=True)
class _Book:
    """The releases of one service while events are read."""

    newest_first: list[Release]
    hosts: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # of a run's play

    def start(self, event: Event, who: str) -> None:
        data = event.data
        if any((r.run, r.play) == (event.run, event.play) for r in self.newest_first):
            return  # a resumed controller says again what it goes on with
        self.hosts[event.run, event.play] = list(data.get("hosts", ()))
        self.newest_first.insert(
            0,
            Release(
                str(data["service"]), str(data["version"]), str(data["slot"]), 0, "deploying", 0.0, event.at, who,
                event.run, event.play, int(data.get("token", 0)), float(data.get("times", {}).get("dead_man", 0.0)),
            ),
        )  # fmt: skip

    def note(self, event: Event) -> None:
        at = next(i for i, r in enumerate(self.newest_first) if (r.run, r.play) == (event.run, event.play))
        release = self.newest_first[at]
        if event.kind == "dial":
            self._turn(at, int(event.data["weight"]), event)
            return
        state = str(event.data["state"])
        good = release.observed_good or (event.at if state == "good" else 0.0)
        self.newest_first[at] = replace(release, state=state, observed_good=good)

    def _turn(self, at: int, weight: int, event: Event) -> None:
        release = self.newest_first[at]
        token = int(event.data.get("token", release.token))
        if weight != release.share:
            self.newest_first[at] = replace(release, share=weight, since=event.at, token=token)
        other = self._below(at)
        if other is None:
            return
        state = "warm" if weight == FULL else "live"
        below = self.newest_first[other]
        if below.share != FULL - weight:
            self.newest_first[other] = replace(below, share=FULL - weight, state=state, since=event.at)

    def _hosts(self, release: Release) -> list[str]:
        return self.hosts.get((release.run, release.play), [])

    def _below(self, at: int) -> int | None:
        """The release that gets what this one doesn't: the newest older one in the other slot. A service may be in
        several clusters: of the same hosts, and of several plays of a run that of the same play, where there is one."""
        every, mine = self.newest_first, self.newest_first[at]
        older = [i for i in range(at + 1, len(every)) if every[i].slot != mine.slot]
        here = [i for i in older if self._hosts(every[i]) == self._hosts(mine)] or older
        same = (i for i in here if (every[i].run, every[i].play) == (every[here[0]].run, mine.play))
        return next(same, here[0] if here else None)

    def roll_back(self, event: Event, who: str) -> None:
        """One version may be in both slots: then its slot says which release of it is meant."""
        given_up, back, slot = str(event.data["from"]), str(event.data["to"]), str(event.data.get("slot", ""))
        for at, release in enumerate(self.newest_first):
            left = release.share or release.moves
            if release.version == given_up and left and (given_up != back or release.slot != slot):
                self.newest_first[at] = replace(release, share=0, state="rolled_back", since=event.at)
        self._all_to(back, slot, event, who)

    def find(self, event: Event, who: str) -> None:
        """Somebody looked at the routers at `seen`, and one version had all traffic. What this journal thought had some
        since before that was taken back, or followed, from elsewhere, or, where nobody has claimed them since, given
        back by their dead-man."""
        data = event.data
        version, slot, token, seen = str(data["version"]), str(data["slot"]), int(data["token"]), float(data["seen"])
        others = [(i, r) for i, r in enumerate(self.newest_first) if (r.version, r.slot) != (version, slot) and r.share]
        if any(release.since >= seen or release.token > token for _, release in others):
            return  # it was turned meanwhile
        elsewhere = "rolled_back" if self._of(version, slot) else "warm"
        for at, release in others:
            state = elsewhere if token > release.token else "given_back"
            self.newest_first[at] = replace(release, share=0, state=state, since=event.at)
        self._all_to(version, slot, event, who)

    def _of(self, version: str, slot: str) -> list[int]:
        return [i for i, r in enumerate(self.newest_first) if r.version == version and r.slot == (slot or r.slot)]

    def _all_to(self, version: str, slot: str, event: Event, who: str) -> None:
        """All traffic is on that version: on its newest release there, in all clusters, or on one that this journal has
        not seen begin."""
        left = tuple(event.data.get("left", ()))
        known = self._of(version, slot)
        if not known:
            service = str(event.data["service"])
            begun = Release(service, version, slot, FULL, "live", 0.0, event.at, who, event.run, left=left)
            self.newest_first.insert(0 if event.kind == "found" else len(self.newest_first), begun)
            return
        for at in known:
            release = self.newest_first[at]
            if release.run == self.newest_first[known[0]].run:
                here = release.share == FULL
                state, since = (release.state, release.since) if here else ("live", event.at)
                self.newest_first[at] = replace(release, share=FULL, state=state, since=since, left=left)
