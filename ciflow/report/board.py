"""What is known of plays and tasks while a run goes on, folded from events. No text is laid out here."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Event
from ciflow.report.dial import Dial, Stand

BAD = frozenset({"failed", "unreachable", "unknown"})
# The word for a task is the gravest of its hosts' words.
GRAVITY = ("failed", "unreachable", "unknown", "rescued", "ignored", "changed", "ok", "skipped")
TAIL = 10  # lines of output kept for each task of a host, shown when it fails


@dataclass(slots=True)
class TaskLine:
    """One task of one play over its hosts. Times in Unix seconds of the events."""

    name: str
    module: str
    hosts_total: int
    began: float
    ended: float = 0.0
    statuses: dict[str, str] = field(default_factory=dict)  # by host; emptied when the task's line is written
    accounted: set[str] = field(default_factory=set)  # hosts that ended it, passed it by, or are out of the play
    counts: Counter[str] = field(default_factory=Counter)
    msgs: dict[str, str] = field(default_factory=dict)
    shown: int = 0  # failures shown in full
    tails: dict[str, deque[str]] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""  # what it waits for: a retry, an approval
    printed: bool = False

    @property
    def complete(self) -> bool:
        return len(self.accounted) >= self.hosts_total > 0 and bool(self.counts)

    @property
    def word(self) -> str:
        return min(self.counts, key=GRAVITY.index, default="ok")

    def end(self, host: str, status: str, msg: str) -> None:
        before = self.statuses.get(host)
        if before:
            self.counts[before] -= 1  # a failure that a rescue turned
        self.statuses[host] = status
        self.accounted.add(host)
        self.counts = +(self.counts + Counter({status: 1}))
        if msg:
            self.msgs[host] = msg
        if status not in BAD:
            self.tails.pop(host, None)

    def hosts_with(self, status: str) -> list[str]:
        return [host for host, s in self.statuses.items() if s == status]

    def written(self) -> None:
        """Its line stands: forget what only the line needed (a run may have 10,000 hosts)."""
        self.printed = True
        self.msgs.clear()
        self.tails.clear()
        self.statuses.clear()
        self.accounted.clear()

    def again(self, at: float) -> None:
        """A new round on other hosts (`serial`), or another attempt: it gets a line of its own."""
        self.printed, self.began, self.ended, self.shown = False, at, 0.0, 0
        self.counts.clear()


@dataclass(slots=True)
class PlayLine:
    """A play: its tasks in the order in which they began."""

    id: str
    name: str
    hosts: int
    began: float
    ended: float = 0.0
    result: str = ""
    reason: str = ""
    did: str = ""
    duration: float = 0.0
    tasks: dict[str, TaskLine] = field(default_factory=dict)
    open: dict[str, TaskLine] = field(default_factory=dict)  # those whose line is not written: few, in a play of many
    out: set[str] = field(default_factory=set)  # hosts that failed and take part no more
    dial: Dial | None = None
    batch: Mapping[str, Any] = field(default_factory=dict)  # the data of `batch_started`, until it is shown

    @property
    def running(self) -> list[TaskLine]:
        return [t for t in self.open.values() if not t.ended]

    def begin(self, path: str, task: TaskLine) -> None:
        self.tasks[path] = self.open[path] = task

    def written(self, path: str) -> None:
        """The task's line stands."""
        self.open.pop(path).written()

    def passed(self, host: str, task: TaskLine, status: str, at: float) -> None:
        """A host that ended a task is past all that began before; one that failed won't come to those that follow."""
        if status in BAD:
            self.out.add(host)
        elif host in self.out:  # rescued
            self.out.discard(host)
        bad = status in BAD
        for other in self.open.values():
            if other is task and not bad:
                return
            if other is not task and not other.ended:
                other.accounted.add(host)
                if other.complete:
                    other.ended = at


@dataclass(slots=True)
class Board:
    """All plays of a run. `event` keeps it up to date and gives the dial's stand that ended with it, if one did."""

    plays: dict[str, PlayLine] = field(default_factory=dict)
    now: float = 0.0

    def event(self, event: Event) -> Stand | None:
        self.now = max(self.now, event.at)
        handler = _HANDLERS.get(event.kind)
        return handler(self, event) if handler else None

    def play(self, event: Event) -> PlayLine:
        """The event's play, made when it wasn't announced."""
        if event.play not in self.plays:
            self.plays[event.play] = PlayLine(event.play, title(event), 0, event.at)
        return self.plays[event.play]

    def task(self, event: Event) -> TaskLine:
        tasks = self.play(event).tasks
        if event.task not in tasks:
            named = str(event.data.get("name") or event.task)  # a resumed run's task may have begun before
            began = event.at - float(event.data.get("duration") or 0.0)
            self.play(event).begin(event.task, TaskLine(named, str(event.data.get("module", "")), 0, began))
        return tasks[event.task]

    @property
    def running(self) -> list[PlayLine]:
        return [p for p in self.plays.values() if not p.result]


def title(event: Event) -> str:
    """A play's name with its matrix cell: `Build (server)`."""
    of_play = event.kind in ("play_started", "play_ended")
    name = str((event.data.get("name") if of_play else "") or event.play)
    cell = ", ".join(str(v) for v in (event.data.get("cell") or {}).values()) if of_play else ""
    return f"{name} ({cell})" if cell and cell not in name else name


def _play_started(board: Board, event: Event) -> None:
    board.plays[event.play] = PlayLine(event.play, title(event), int(event.data.get("hosts", 0)), event.at)


def _play_ended(board: Board, event: Event) -> None:
    play, data = board.play(event), event.data
    play.name = title(event) if play.name == play.id else play.name
    play.result, play.ended = str(data["result"]), event.at
    play.duration = float(data.get("duration", event.at - play.began))
    play.reason, play.did = str(data.get("reason") or ""), str(data.get("did") or "")
    for task in play.running:
        task.ended = event.at


def _batch_started(board: Board, event: Event) -> None:
    board.play(event).batch = event.data


def _task_started(board: Board, event: Event) -> None:
    data = event.data
    tasks = board.play(event).tasks
    name, module, total = str(data.get("name") or event.task), str(data.get("module", "")), data.get("hosts_total", 1)
    if event.task not in tasks:
        task = TaskLine(name, module, int(total), event.at)
        task.accounted |= board.plays[event.play].out
        board.play(event).begin(event.task, task)
    elif not (task := tasks[event.task]).hosts_total:  # what it prints was heard a moment before
        task.name, task.module, task.hosts_total = name, module, int(total)


def _task_ended(board: Board, event: Event) -> None:
    task, status = board.task(event), str(event.data["status"])
    if task.printed and status != "rescued":
        task.again(event.at - float(event.data.get("duration", 0.0)))
        board.play(event).open[event.task] = task
    task.end(event.host, status, str(event.data.get("msg") or ""))
    task.note, task.progress = "", {}
    if task.complete:
        task.ended = event.at
    board.play(event).passed(event.host, task, status, event.at)


def _output(board: Board, event: Event) -> None:
    task, data = board.task(event), event.data
    if data.get("progress"):
        task.progress = data["progress"]
    text = str(data.get("text") or "")
    if text:
        task.tails.setdefault(event.host, deque(maxlen=TAIL)).extend(text.rstrip("\n").split("\n")[-TAIL:])


def _retry(board: Board, event: Event) -> None:
    data = event.data
    board.task(event).note = f"try {data.get('attempt')} of {data.get('of')}: {data.get('why', '')}"


def _canary_started(board: Board, event: Event) -> None:
    play = board.play(event)
    play.dial = play.dial or Dial.of(event)


def _dial(board: Board, event: Event) -> Stand | None:
    dial = board.play(event).dial
    return dial.event(event) if dial else None


_HANDLERS: Mapping[str, Callable[[Board, Event], Stand | None]] = {
    "play_started": _play_started,
    "play_ended": _play_ended,
    "batch_started": _batch_started,
    "task_started": _task_started,
    "task_ended": _task_ended,
    "output": _output,
    "retry": _retry,
    "canary_started": _canary_started,
    "canary_state": _dial,
    "stable": _dial,
    "dial": _dial,
    "interval": _dial,
    "gate": _dial,
}
