"""What of a run is worth telling somebody who does not watch it: a fold from events to occasions.

An occasion has the names that `on` of a notification may have, and what happened as plain values: templates see them as
`event`, a webhook gets them as JSON. `SAMPLE` of `ciflow/lang/notifications.py` has the same fields.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.lang.notifications import TROUBLE
from ciflow.model import Event
from ciflow.report import humane
from ciflow.report.board import BAD
from ciflow.report.dial import WHOLE, Dial
from ciflow.report.summary import GOOD_EXITS, Summary

MOST_FAILURES = 5  # tasks that are named
MOST_HOSTS = 20  # of each
LONGEST = 3_000  # characters of a text, which every receiver takes
LONGEST_LINE = 300
_BY_EXIT = {6: "", 7: "rolled_back", 8: "paused", 130: "interrupted", 143: "interrupted"}


def name_of(exit: int) -> str:
    """What the end of a run is told as; "" of one that somebody else has taken over, who tells it."""
    return "succeeded" if exit in GOOD_EXITS else _BY_EXIT.get(exit, "failed")


@dataclass(frozen=True, slots=True)
class Occasion:
    """Something to tell. `names` are what it may be told as, the most telling first: of these a receiver hears the
    first that it listens to. `id` is the same after a resume. `after` is the trouble that went before a success."""

    names: tuple[str, ...]
    id: str
    event: Mapping[str, Any]
    after: frozenset[str] = frozenset()

    def for_whom(self, on: tuple[str, ...]) -> str:
        """As what it is told to somebody who listens to `on`; "" for not at all.

        They hear that all is well again after what they have heard of; who hears of no trouble, after any.
        """
        heard = self.after & set(on) if set(on) & set(TROUBLE) else self.after
        names = self.names if heard else tuple(name for name in self.names if name != "recovered")
        return next((name for name in names if name in on), "")


@dataclass(slots=True)
class Occasions:
    """A fold. Feed it the events of one run in order. `trouble`: what befell the runs of this playbook since one of
    them last went well. `again`: the run deploys a version again that is rolled back to."""

    playbook: str
    trouble: set[str] = field(default_factory=set)
    again: bool = False
    machine: str = ""
    who: str = ""
    url: str = ""  # of the CI job
    _summary: Summary = field(default_factory=Summary)
    _failures: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    _weights: dict[str, int] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _told: set[str] = field(default_factory=set)  # of trouble, in this process

    def event(self, event: Event) -> Occasion | None:
        self._summary.event(event)
        if event.kind == "task_ended":
            self._note_failure(event)
            return None
        maker = _MAKERS.get(event.kind)
        return maker(self, event) if maker else None

    def _note_failure(self, event: Event) -> None:
        where, data = (event.play, event.task), event.data
        if data["status"] in BAD and (where in self._failures or len(self._failures) < MOST_FAILURES):
            self._failures.setdefault(
                where, {"message": str(data.get("msg") or ""), "cause": str(data.get("explanation") or "")}
            )

    def occasion(self, names: tuple[str, ...], event: Event, title: str, **known: Any) -> Occasion:
        """One of this run, with all that is known of it by now."""
        kind, summary = "succeeded" if names[0] == "recovered" else names[0], self._summary
        self._counts[kind] += 1
        values: dict[str, Any] = {
            "id": f"{event.run}:{kind}:{self._counts[kind]}", "on": kind, "test": False, "title": title, "text": "",
            "playbook": self.playbook, "run": event.run, "who": self.who, "machine": self.machine, "url": self.url,
            "at": _iso(event.at),
            "seconds": round(max(0.0, event.at - summary.began), 3) if summary.began else 0.0, "exit": None,
            "reason": "", "next": "", "play": "", "service": "", "version": "", "before": "", "weight": None,
            "failures": [],
        }  # fmt: skip
        values = cleaned({**values, **self._release(event), **known})
        values["title"] = _line(values["title"])
        values["text"] = _text(values)
        after = frozenset(self.trouble)
        if kind in TROUBLE:
            self.trouble.add(kind)
            self._told.add(kind)
        return Occasion(names, values["id"], values, after if kind == "succeeded" else frozenset())

    def _release(self, event: Event) -> dict[str, Any]:
        dials = self._summary.dials
        dial = dials.get(event.play) or next(reversed(dials.values()), None)
        if dial is None:
            return {}
        weight = self._weights.get(event.play)
        return {"service": dial.service, "version": dial.version, "before": dial.before,
                "weight": None if weight is None else weight / 100}  # fmt: skip

    # --- by kind of event ----------------------------------------------------------------------------------

    def _started(self, event: Event) -> Occasion:
        data = event.data
        self.who = str(data.get("who") or "")
        self.url = str(data.get("url") or "")
        self.machine = str((data.get("holder") or {}).get("host") or "")
        return self.occasion(("started",), event, f"{self.playbook} started")

    def _resumed(self, event: Event) -> None:
        self.who = str(event.data.get("who") or self.who)
        self._told.clear()

    def _approval(self, event: Event) -> Occasion:
        name = self._summary.plays[event.play].name if event.play in self._summary.plays else event.play
        prompt = str(event.data.get("prompt") or "")
        return self.occasion(
            ("approval",), event, f"{self.playbook} waits for approval of {name}", play=name, reason=prompt,
            next=f"ciflow approve {event.run}",
        )  # fmt: skip

    def _dial(self, event: Event) -> Occasion | None:
        data = event.data
        weight, before = int(data["weight"]), self._weights.get(event.play, 0)
        self._weights[event.play] = weight
        dial = self._summary.dials.get(event.play)
        if dial is None or weight <= before:
            return None  # a way back is told when it is over
        reason = str(data.get("reason") or "")
        if weight == WHOLE:
            return self.occasion(("promoted", "dial"), event, f"{_name(dial)} has all traffic", reason=reason)
        return self.occasion(("dial",), event, f"{_name(dial)} has {humane.share(weight)}", reason=reason)

    def _state(self, event: Event) -> Occasion | None:
        state, dial = event.data["state"], self._summary.dials.get(event.play)
        reason = str(event.data.get("reason") or "")
        if dial is None or state not in ("paused", "rolled_back"):
            return None
        if state == "paused":
            at = f" at {humane.share(self._weights[event.play])}" if self._weights.get(event.play) else ""
            follow = f"ciflow resume {event.run}, or ciflow rollback {dial.service}"
            return self.occasion(("paused",), event, f"{_name(dial)} is paused{at}", reason=reason, next=follow)
        back = f" to {dial.before}" if dial.before else ""
        return self.occasion(("rolled_back", "dial"), event, f"{_name(dial)} was rolled back{back}", reason=reason)

    def _rollback(self, event: Event) -> Occasion:
        data = event.data
        self.who = str(data.get("who") or self.who)
        service, left = str(data["service"]), [str(one) for one in data.get("left") or ()]
        title = f"{service} {data['from']} was rolled back to {data['to']}"
        known = {"service": service, "version": str(data["from"]), "before": str(data["to"])}
        if left:
            title += f", but not on {', '.join(left)}"
            known["next"] = f"ciflow rollback {service}"
        return self.occasion(("rolled_back", "dial"), event, title, reason=str(data.get("reason") or ""), **known)

    def _ended(self, event: Event) -> Occasion | None:
        exit = int(event.data["exit"])
        name = name_of(exit)
        if not name or name in self._told & {"rolled_back", "paused"}:
            return None
        names: tuple[str, ...] = ("recovered", "succeeded") if name == "succeeded" else (name,)
        if self.again and name == "succeeded":
            names = ("rolled_back",)
        came_to = _CAME_TO[name]
        if name == "succeeded" and (self.again or self.trouble):
            came_to = "was deployed again" if self.again else "is well again"
        title, summary = f"{self.playbook} {came_to}", self._summary
        made = self.occasion(
            names, event, title, exit=exit, reason=summary.sentence, next=summary.following,
            failures=self._failed() if name not in ("succeeded", "paused") else [],
        )  # fmt: skip
        if name == "succeeded":
            self.trouble.clear()
        return made

    def _failed(self) -> list[dict[str, Any]]:
        """Tasks that failed and were not rescued since, with the hosts that they failed on."""
        summary = self._summary
        return [
            {"task": summary.names.get(where, where[1]), "hosts": sorted(summary.failed[where])[:MOST_HOSTS],
             "message": said["message"], "cause": said["cause"]}
            for where, said in self._failures.items() if where in summary.failed
        ]  # fmt: skip


_CAME_TO = {"succeeded": "succeeded", "failed": "failed", "rolled_back": "was rolled back", "paused": "is paused",
            "interrupted": "was interrupted"}  # fmt: skip
_MAKERS: Mapping[str, Callable[[Occasions, Event], Occasion | None]] = {
    "run_started": Occasions._started,
    "run_resumed": Occasions._resumed,
    "approval_wanted": Occasions._approval,
    "dial": Occasions._dial,
    "canary_state": Occasions._state,
    "rollback": Occasions._rollback,
    "run_ended": Occasions._ended,
}


def _name(dial: Dial) -> str:
    return f"{dial.service} {dial.version}"


def _iso(at: float) -> str:
    """RFC 3339, in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- words ---------------------------------------------------------------------------------------------


def cleaned(value: Any) -> Any:
    """Texts without what could act on a screen: of a host's output anything may be in them."""
    if isinstance(value, str):
        kept = "".join(char if char == "\n" or char.isprintable() else " " for char in value)
        return kept if len(kept) <= LONGEST else f"{kept[: LONGEST - 2]} …"
    if isinstance(value, Mapping):
        return {key: cleaned(below) for key, below in value.items()}
    return [cleaned(below) for below in value] if isinstance(value, list) else value


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 2]} …"


def _text(event: Mapping[str, Any]) -> str:
    """The usual words under a title."""
    lines = [event["reason"]]
    for failure in event["failures"]:
        more = f" and {len(failure['hosts']) - 3} more" if failure["hosts"][3:] else ""
        hosts = ", ".join(failure["hosts"][:3]) + more
        lines.append(_line(f"{failure['task']} on {hosts}: {failure['message']}".rstrip(": ")))
        lines += filter(None, [_line(failure["cause"])])
    took = f", {humane.duration(event['seconds'])}" if event["seconds"] else ""
    lines.append(f"{event['run']} by {event['who'] or 'somebody'}{took}")
    lines += [f"Next: {event['next']}"] if event["next"] else []
    lines += [event["url"]] if event["url"] else []
    return cleaned("\n".join(filter(None, lines)))  # type: ignore[no-any-return]
