"""The lines of a run: pure layout of what the board knows. Columns: name, status, detail, duration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.model import Event
from ciflow.report import humane
from ciflow.report.board import GRAVITY, PlayLine, TaskLine
from ciflow.report.dial import Dial
from ciflow.report.text import Line, Piece, fit, left, line, right, safe, width

STYLES = {
    "ok": "ok", "cached": "ok", "rescued": "changed", "changed": "changed", "ignored": "changed",
    "failed": "failed", "unreachable": "failed", "unknown": "failed", "rolled back": "failed", "paused": "changed",
    "skipped": "dim",
}  # fmt: skip
STATUS = 12
TOOK = 9
NAMES = 3  # hosts named in a line; more are counted


def row(name: str, status: str, detail: str, took: str, columns: int, *, style: str = "", indent: int = 0) -> Line:
    """One line in the four columns, exactly fitting `columns`."""
    first = max(columns * 36 // 100, 16)
    room = max(columns - first - STATUS - TOOK, 0)
    return line(
        Piece(" " * indent + left(name, first - indent - 1) + " ", style),
        Piece(left(status, STATUS), STYLES.get(status, "")),
        left(fit(detail, room), room),
        right(took, TOOK),
    )


def play_title(play: PlayLine) -> Line:
    """`Test`, or `Roll out  shield 1.4.0 -> slot b, 4 hosts`."""
    if play.dial is None:
        return line(Piece(safe(play.name), "bold"))
    return line(Piece(safe(play.name), "bold"), "  ", safe(play.dial.title))


def batch_title(play: PlayLine) -> Line:
    """`  batch 2 of 3: web3, web4`."""
    data = play.batch
    return line("  ", Piece(safe(f"batch {data['number']} of {data['of']}: {names(list(data['hosts']))}"), "dim"))


def indented(dial: Dial | None) -> Line:
    """The rollout's title below a play's title that already stands."""
    return line("  ", safe(dial.title if dial else ""))


def stable(event: Event) -> str:
    return str(event.data["sentence"] or f"the version beside {event.data['version']} fails no more")


def turned(event: Event, columns: int) -> list[Line]:
    """Why a rollout turned back, stopped or waits for somebody, and whether stable fails as well; no line for its other
    states."""
    state, reason = event.data.get("state"), str(event.data.get("reason") or "")
    if event.kind == "stable":
        return labelled("stable", stable(event), columns)
    if event.kind != "canary_state" or state not in _TURNED or not reason:
        return []
    following = pause_ends(event.run, str(event.data.get("service") or ""), columns) if state == "paused" else []
    return labelled(_TURNED[state], reason, columns) + following


def pause_ends(run: str, service: str, columns: int) -> list[Line]:
    """What somebody may type: to go on, whatever the gates said, or not to."""
    back = labelled("or", f"ciflow rollback {service}", columns) if service else []
    return labelled("next", f"ciflow resume {run}", columns) + back


_TURNED = {"rolling_back": "rolling back", "failed": "failed", "paused": "paused"}


def play_end(play: PlayLine, columns: int) -> Line:
    detail = play.did or (play.dial.came_to if play.dial else "") or play.reason
    return row(play.name, play.result.replace("_", " "), detail, humane.duration(play.duration), columns, style="bold")


def matters(task: TaskLine) -> bool:
    """Whether a task is worth a line when nobody asked for all: it did, said or took something."""
    quiet = set(task.counts) <= {"ok", "skipped"}
    return not quiet or task.ended - task.began >= 2.0 or (bool(task.msgs) and task.word == "ok")


def task_row(task: TaskLine, columns: int, now: float) -> Line:
    took = humane.duration((task.ended or now) - task.began)
    return row(task.name, task.word, _hosts(task), took, columns, indent=2)


def _hosts(task: TaskLine) -> str:
    """`4 hosts` when all went alike, else `3 changed, 1 ok: web4`; of a single host, what it said."""
    said = next(iter(task.msgs.values()), "")
    if task.counts.total() <= 1:
        return said
    if len(task.counts) == 1:
        alike = len(set(task.msgs.values())) == 1
        return humane.counted(task.counts.total(), "host") + (f"   {said}" if said and alike else "")
    grave_first = sorted(task.counts, key=GRAVITY.index)
    few = min(task.counts, key=lambda s: (task.counts[s], GRAVITY.index(s)))
    return ", ".join(
        f"{task.counts[s]} {s}" + (f": {names(task.hosts_with(s))}" if s == few else "") for s in grave_first
    )


def names(hosts: list[str]) -> str:
    """The first few, and how many more."""
    more = f" and {len(hosts) - NAMES} more" if len(hosts) > NAMES else ""
    return ", ".join(hosts[:NAMES]) + more


# --- failures ---------------------------------------------------------------------------------------------


def failure(event: Event, task: TaskLine, columns: int, run: str) -> list[Line]:
    """At once, with the last lines of output, the likely cause where it is known, and what to type next."""
    data = event.data
    status = str(data["status"])
    took = humane.duration(float(data.get("duration", 0.0)))
    found = [
        line("  ", fit(task.name, max(columns - 40, 20)), " ", Piece(status, "failed"), " on ",
             Piece(safe(event.host), "name"), f" after {took}"),
    ]  # fmt: skip
    msg = str(data.get("msg") or "")
    tail = last_lines(event, task)
    if msg and msg not in tail:
        found += [line("    ", part) for part in wrapped(msg, columns - 4)]
    found += _place(data, columns)
    found += [line(Piece("    | ", "dim"), fit(text, columns - 6)) for text in tail]
    found += labelled("likely", str(data.get("explanation") or ""), columns)
    found += labelled("help", _help(event), columns)
    following = str(data.get("next") or "") or (f"ciflow logs {run} --host {event.host}" if run else "")
    return found + labelled("next", following, columns)


def _place(data: Mapping[str, Any], columns: int) -> list[Line]:
    """Where in the playbook's files it went wrong, with the line itself and a caret."""
    found = str(data.get("diagnostic") or "\n".join(map(str, data.get("places") or ())))
    return [line("    ", fit(text, columns - 4)) for text in found.split("\n") if found]


def _help(event: Event) -> str:
    """What whoever refused says to do, such as the command that accepts a host key."""
    outcome = event.data.get("outcome")
    return str(outcome.get("help") or "") if isinstance(outcome, Mapping) else ""


def last_lines(event: Event, task: TaskLine) -> list[str]:
    """The last lines: those in the event, else those that were streamed, else what the outcome holds."""
    given = event.data.get("tail")
    if given:
        text = given if isinstance(given, str) else "\n".join(given)
        return text.rstrip("\n").split("\n")[-10:]
    if task.tails.get(event.host):
        return list(task.tails[event.host])
    outcome = event.data.get("outcome")
    values = outcome.get("data", outcome) if isinstance(outcome, Mapping) else {}
    text = str(values.get("stderr") or values.get("stdout") or "")
    return text.rstrip("\n").split("\n")[-10:] if text else []


def labelled(label: str, text: str, columns: int) -> list[Line]:
    """`    likely: ..`, wrapped under itself."""
    if not text:
        return []
    first = f"    {label + ':':<7} "
    parts = wrapped(text, columns - len(first))
    return [line(Piece(first if not at else " " * len(first), "bold"), part) for at, part in enumerate(parts)]


def wrapped(text: str, columns: int) -> list[str]:
    """Safe lines of at most `columns`, broken at blanks where there are any. One that is indented is to be pasted
    somewhere: it stays whole."""
    found: list[str] = []
    for paragraph in text.rstrip("\n").split("\n"):
        if paragraph.startswith(" "):
            found.append(safe(paragraph))
            continue
        current = ""
        for word in safe(paragraph).split(" "):
            if current and width(current) + 1 + width(word) > columns:
                found.append(current)
                current = word
            else:
                current = f"{current} {word}" if current else word
        found.append(current)
    return found


# --- single events ----------------------------------------------------------------------------------------


def told(event: Event, columns: int) -> list[Line]:
    """Events that are a line of their own, whenever they come."""
    maker = _TOLD.get(event.kind)
    return maker(event, columns) if maker else []


def _warning(event: Event, columns: int) -> list[Line]:
    return _said("warning", "changed", event.data, columns)


def _error(event: Event, columns: int) -> list[Line]:
    return _said("error", "failed", event.data, columns) + _place(event.data, columns)


def _said(word: str, style: str, data: Mapping[str, Any], columns: int) -> list[Line]:
    first, *rest = wrapped(str(data.get("message", "")), columns - len(word) - 2)
    found = [line(Piece(f"{word}: ", style), first), *(line("  ", part) for part in rest)]
    return found + labelled("help", str(data.get("help") or ""), columns)


def _approval_wanted(event: Event, columns: int) -> list[Line]:
    until = float(event.data.get("until") or 0.0)
    limit = f" (until {humane.clock(until, event.at)})" if until else ""
    asked = wrapped(f"waits for approval{limit}: {event.data.get('prompt', '')}", columns - 2)
    return [line(Piece(f"  {part}", "changed")) for part in asked] + labelled(
        "next", f"ciflow approve {event.run}", columns
    )


def _approval_given(event: Event, columns: int) -> list[Line]:
    data = event.data
    word = "approved" if data.get("yes") else "refused"
    reason = f": {data['reason']}" if data.get("reason") else ""
    return [
        line(
            "  ", Piece(word, "ok" if data.get("yes") else "failed"), fit(f" by {data.get('by')}{reason}", columns - 12)
        )
    ]


def _command(event: Event, columns: int) -> list[Line]:
    return [line("  ", fit(f"{event.data.get('verb')} asked for by {event.data.get('by')}", columns - 2))]


def _rollback(event: Event, columns: int) -> list[Line]:
    data = event.data
    reason = f": {data['reason']}" if data.get("reason") else ""
    text = f"{data['service']} {data['from']} -> {data['to']}  by {data.get('who', '')}{reason}"
    took = humane.duration(float(data.get("took", 0.0)))
    return [line(Piece("  rolled back ", "changed"), left(text, max(columns - 14 - TOOK, 10)), right(took, TOOK))]


def _notified(event: Event, columns: int) -> list[Line]:
    """Only what a check would have told: of what was told nobody needs to hear here, too."""
    data = event.data
    names = ", ".join(str(one).replace("_", " ") for one in data["on"]) if data.get("check") else ""
    text = f"  would tell {data['to']} {data['where']} of: {names}"
    return [line(part) for part in wrapped(text, columns)] if names else []


def annotation(data: Mapping[str, Any], columns: int) -> list[Line]:
    """What somebody wrote beside a run when it was over."""
    first, *rest = wrapped(f"noted by {data.get('by')}: {data.get('reason')}", columns - 2)
    return [line("  ", first), *(line("    ", part) for part in rest)]


def _diff(event: Event, columns: int) -> list[Line]:
    from difflib import unified_diff

    data = event.data
    before, after = (str(data.get(k) or "").splitlines() for k in ("before", "after"))
    path = str(data.get("path", ""))
    styles = {"+": "ok", "-": "failed", "@": "name"}
    return [
        line("    ", Piece(fit(text.rstrip("\n"), columns - 4), styles.get(text[:1], "")))
        for text in unified_diff(before, after, f"{event.host}:{path}", f"{event.host}:{path}", lineterm="")
    ]


_TOLD = {
    "warning": _warning,
    "error": _error,
    "approval_wanted": _approval_wanted,
    "approval_given": _approval_given,
    "command": _command,
    "rollback": _rollback,
    "notified": _notified,
    "diff": _diff,
}


def output(event: Event, columns: int) -> Iterable[Line]:
    """Lines of a program's output as they come, for who asked for all."""
    for text in str(event.data.get("text") or "").rstrip("\n").split("\n"):
        yield line(
            "    ", Piece(safe(event.host), "name"), Piece(" | ", "dim"), fit(text, columns - 7 - width(event.host))
        )
