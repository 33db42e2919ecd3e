"""The sink that tells people who don't watch: in the background, and never in the run's way.

Each receiver has a thread and hears its messages in their order. What came of each is an event `notified`, by which a
resumed run knows what was told. A run waits for what is still under way when it ends, PATIENCE in all.
"""

from __future__ import annotations

import contextlib
import datetime
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, Invalid
from ciflow.lang.files import Files
from ciflow.lang.notifications import Receiver, said, sample, wanted
from ciflow.lang.scope import Scope
from ciflow.model import Event
from ciflow.report.delivery import Answer, Programs, attempt
from ciflow.report.messages import Message, for_slack, message, where
from ciflow.report.occasions import Occasion, Occasions, cleaned
from ciflow.report.sink import Sink

PATIENCE = 2.5  # seconds that a run waits at its end for messages under way; 3 are promised
TRIES = 4
WAITS = (1.0, 4.0, 15.0)  # seconds between tries
HURRIED = 0.3  # between tries once the run has ended
Record = Callable[[Sequence[Event]], object]


@dataclass(frozen=True, slots=True)
class Words:
    """What messages are written by. `hide` stars secrets out of a text; `playbook` is the path of who says them."""

    scope: Scope
    files: Files
    hide: Callable[[str], str]
    playbook: str

    def starred(self, value: Any) -> Any:
        """A JSON value without the run's secrets."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, Mapping):
            return {key: self.starred(below) for key, below in value.items()}
        return [self.starred(below) for below in value] if isinstance(value, list) else value

    def event(self, receiver: Receiver, occasion: Occasion, name: str) -> tuple[dict[str, Any], Any, list[str]] | None:
        """The event as the receiver is told it, its own body, and what of its templates failed; None where its `when`
        says no. Who is told in ciflow's words, for his own failed, is told."""
        spec, faults = receiver.spec, list[str]()
        event: dict[str, Any] = self.starred({**occasion.event, "on": name})
        try:
            if not wanted(spec, event, self.scope, self.files):
                return None
        except Invalid as fault:
            faults.append(_placed(fault))
        event = for_slack(event) if spec.to == "slack" else event
        known = dict(event)
        for part in ("title", "text"):
            known[part] = self._own(spec, part, event, faults) or event[part]
        known = {**known, **{part: self.hide(cleaned(str(known[part]))) for part in ("title", "text")}}
        known["title"] = " ".join(known["title"].split())
        if event["test"] and not known["title"].startswith("Test: "):
            known["title"] = f"Test: {known['title']}"
        return known, self._own(spec, "body", known, faults), faults

    def _own(self, spec: Any, part: str, event: Mapping[str, Any], faults: list[str]) -> Any:
        try:
            return said(getattr(spec, part), event, self.scope, self.files, spec.spans.get(part))
        except Invalid as fault:
            faults.append(_placed(fault))
            return None


def _placed(fault: Invalid) -> str:
    return "; ".join(f"{one.span}: {one.message}" if one.span else one.message for one in fault.diagnostics)


# --- one receiver --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a message."""

    receiver: int
    id: str
    on: str
    title: str
    tries: int
    answer: Answer


class Line:
    """The thread of one receiver. `results` gets a Told for each message that was put into it."""

    def __init__(self, number: int, folder: Path, programs: Programs, results: queue.SimpleQueue[Told]) -> None:
        self._number = number
        self._folder = folder
        self._programs = programs
        self._results = results
        self._queue: queue.SimpleQueue[tuple[Message, Told]] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._over = threading.Event()
        self._well = True
        self._begun = False

    def put(self, message: Message, told: Told) -> None:
        self._queue.put((message, told))
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._work, name=f"notifications {self._number}", daemon=True).start()

    def hurry(self) -> None:
        """The run has ended: waits between tries are short from now on."""
        self._hurry.set()

    def stop(self) -> None:
        """No try begins any more."""
        self._over.set()
        self._hurry.set()

    def _work(self) -> None:
        while not self._over.is_set():
            message, told = self._queue.get()
            self._results.put(self._sent(message, told))

    def _sent(self, message: Message, told: Told) -> Told:
        """After a few tries; after one, where the message before came to nothing."""
        for number in range(1, (TRIES if self._well else 1) + 1):
            answer = attempt(message, self._folder, self._programs)
            if answer.sent or not answer.again or self._over.is_set():
                break
            if number < TRIES and self._well:
                self._hurry.wait(max(WAITS[number - 1], answer.after))
                if self._hurry.is_set():
                    time.sleep(HURRIED)
        self._well = answer.sent
        return replace(told, tries=number, answer=answer)


# --- the sink ------------------------------------------------------------------------------------------


class Notices:
    """A Sink. `others` hear what it has to say; `journal` records it, once the run has one."""

    def __init__(
        self, run: str, receivers: Sequence[Receiver], occasions: Occasions, words: Words, folder: Path,
        others: Sequence[Sink], *, check: bool = False,
    ) -> None:  # fmt: skip
        self.lost = ""
        self.journal: Record | None = None
        self._run = run
        self._receivers = receivers
        self._occasions = occasions
        self._words = words
        self._others = others
        self._check = check
        self._programs = Programs()
        self._results: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._lines = [Line(number, folder, self._programs, self._results) for number, _ in enumerate(receivers)]
        self._due: dict[tuple[str, int], Occasion] = {}
        self._under_way: dict[tuple[str, int], Told] = {}
        self._complained: set[int] = set()
        self._news: list[Event] = []
        self._began = False

    def past(self, event: Event) -> None:
        """What an earlier process has recorded: what it has not told, and has not given up, is told by this one."""
        occasion = self._occasions.event(event)
        if self._began:
            return
        if event.kind == "notified" and "id" in event.data:
            self._due.pop((str(event.data["id"]), int(event.data["receiver"])), None)
        for number, receiver in enumerate(self._receivers if occasion else ()):
            if occasion and occasion.for_whom(receiver.spec.on):
                self._due[occasion.id, number] = occasion

    def event(self, event: Event) -> None:
        self._begin(event.at)
        occasion = self._occasions.event(event)
        for number, _ in enumerate(self._receivers if occasion else ()):
            if occasion:
                self._tell(number, occasion)

    def tick(self, now: float) -> None:  # noqa: ARG002
        self._take()
        self._write()

    def close(self) -> None:
        """Waits a little for what is under way; what is not told by then is said."""
        until = time.monotonic() + PATIENCE
        for line in self._lines:
            line.hurry()
        why = f"no answer within {PATIENCE:g} s of the run's end"
        try:
            while self._under_way and (left := until - time.monotonic()) > 0:
                with contextlib.suppress(queue.Empty):
                    self._ended(self._results.get(timeout=left))
        except KeyboardInterrupt:  # somebody doesn't wait even that long, which is no reason for another exit code
            why = "interrupted"
        for line in self._lines:
            line.stop()
        self._take()
        for told in list(self._under_way.values()):
            self._ended(replace(told, answer=Answer(False, why)))
        self._programs.stop()
        self._write()

    # --- private -------------------------------------------------------------------------------------------

    def _begin(self, at: float) -> None:
        if self._began:
            return
        self._began = True
        for number, receiver in enumerate(self._receivers):
            name = f"{receiver.spec.to} {where(receiver.spec.to, receiver.settings)}".rstrip()
            if receiver.lacks:
                help = f"{receiver.spec.span}: a variable or the environment has to say it"
                self._say(
                    "warning", {"message": f"nobody is told by {name}: `{receiver.lacks}` is empty", "help": help}, at
                )
            elif self._check:
                self._say(
                    "notified", {**self._of(number), "on": list(receiver.spec.on), "check": True, "sent": False}, at
                )
        due, self._due = self._due, {}
        for (_, number), occasion in due.items():
            self._tell(number, occasion)

    def _tell(self, number: int, occasion: Occasion) -> None:
        receiver = self._receivers[number]
        name = occasion.for_whom(receiver.spec.on)
        if not name or receiver.lacks or self._check:
            return
        found = self._words.event(receiver, occasion, name)
        if found is None:
            return
        event, body, faults = found
        if faults:
            what = f"a notification by {receiver.spec.to} is told in ciflow's own words"
            self._complain(number, f"{what}: {faults[0]}", "")
        told = Told(number, occasion.id, name, event["title"], 0, Answer(False, ""))
        self._under_way[occasion.id, number] = told
        self._lines[number].put(message(receiver.spec.to, receiver.settings, event, body, time.time()), told)

    def _take(self) -> None:
        while True:
            try:
                self._ended(self._results.get_nowait())
            except queue.Empty:
                return

    def _ended(self, told: Told) -> None:
        if self._under_way.pop((told.id, told.receiver), None) is None:
            return
        answer = told.answer
        said = self._words.hide(cleaned(answer.said))
        data = {**self._of(told.receiver), "id": told.id, "on": told.on, "title": told.title, "sent": answer.sent,
                "answer": said, "tries": told.tries}  # fmt: skip
        self._say("notified", data, time.time())
        if not answer.sent:
            name = f"{data['to']} {data['where']}".rstrip()
            self._complain(told.receiver, f"{name} was not told that {told.title}: {said}",
                           f"`ciflow notify {self._words.playbook}` tries it")  # fmt: skip

    def _of(self, number: int) -> dict[str, Any]:
        receiver = self._receivers[number]
        return {"receiver": number, "to": receiver.spec.to, "where": where(receiver.spec.to, receiver.settings)}

    def _complain(self, number: int, text: str, help: str) -> None:
        """Once for each receiver: what is wrong with it once is so each time."""
        if number not in self._complained:
            self._complained.add(number)
            self._say("warning", {"message": text, "help": help}, time.time())

    def _say(self, kind: str, data: Mapping[str, Any], at: float) -> None:
        key = f"{data['id']}:{data['receiver']}" if "id" in data else ""
        self._news.append(Event(kind=kind, run=self._run, at=at, key=key, data=data))

    def _write(self) -> None:
        news, self._news = self._news, []
        if not news:
            return
        try:
            if self.journal is not None:
                self.journal(news)
        except CiflowError as error:
            self.lost = f"who was told can't be recorded: {error.message}"
        for event in news:
            for sink in self._others:
                sink.event(event)


# --- a try ---------------------------------------------------------------------------------------------


def tried(words: Words, receiver: Receiver, on: str, playbook: str, folder: Path) -> Answer:
    """Send a receiver one made-up message, marked as a test; once, and whatever its `when` says."""
    at = datetime.datetime.now(datetime.UTC)
    event = {**sample(on), "id": f"test:{on}:{at:%Y%m%dT%H%M%S.%f}", "test": True, "playbook": playbook,
             "title": f"Test: {playbook} {on.replace('_', ' ')}", "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
             "text": "A test of a notification: nothing has happened."}  # fmt: skip
    always = replace(receiver, spec=replace(receiver.spec, when=()))
    found = words.event(always, Occasion((on,), event["id"], event), on)
    assert found is not None
    known, body, faults = found
    sent = message(receiver.spec.to, receiver.settings, known, body, time.time())
    programs = Programs()
    answer = attempt(sent, folder, programs)
    programs.stop()
    said = words.hide(cleaned("; ".join((answer.said, *faults))))
    return replace(answer, sent=answer.sent and not faults, said=said)
