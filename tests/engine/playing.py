"""Plays a playbook through the whole engine, in this process, against real hosts, and gives what was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

from ciflow.engine.context import Options
from ciflow.engine.request import Request
from ciflow.engine.start import apply, resume
from ciflow.model import Event
from ciflow.plan import Selection
from ciflow.store.store import Store

LOCAL_THREE = "web1 ansible_connection=local\nweb2 ansible_connection=local\nweb3 ansible_connection=local\n"


@dataclass
class Seen:
    """A sink that keeps what the console would be told."""

    events: list[Event] = field(default_factory=list)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def past(self, event: Event) -> None:
        """Of an earlier process: not this one's doing."""

    def tick(self, now: float) -> None:
        """Time alone is no event."""

    def close(self) -> None:
        return


@dataclass
class Played:
    """One finished process of a run."""

    exit: int
    run: str
    events: list[Event]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    def ends(self, host: str = "") -> list[tuple[str, str]]:
        """(task, status) of each task that ended, in order; of one host if it is named."""
        found = [event for event in self.of("task_ended") if not host or event.host == host]
        return [(str(event.data["name"]), str(event.data["status"])) for event in found]

    def status(self, task: str, host: str = "") -> str:
        """The last status of a task."""
        return [status for name, status in self.ends(host) if name == task][-1]

    def names(self, host: str = "") -> list[str]:
        return [name for name, _ in self.ends(host)]

    def outcome(self, task: str, host: str = "") -> dict[str, Any]:
        ends = [event.data for event in self.of("task_ended") if not host or event.host == host]
        return [data["outcome"] for data in ends if data["name"] == task and data["status"] != "rescued"][-1]

    def msg(self, task: str, host: str = "") -> Any:
        return self.outcome(task, host)["msg"]

    def plays(self) -> dict[str, str]:
        return {str(event.data["name"]): str(event.data["result"]) for event in self.of("play_ended")}

    def errors(self) -> str:
        return "\n".join(str(event.data["message"]) for event in self.of("error"))


class Bench:
    """A folder with a playbook, its files, an inventory and a journal. `{here}` in a playbook is the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.out.mkdir(exist_ok=True)
        self.inventory: tuple[str, ...] = ()
        self.store = folder / "state"

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).replace("{here}", str(self.folder)))
        return path

    def hosts(self, text: str = LOCAL_THREE) -> None:
        self.inventory = (str(self.file("inventory.ini", text)),)

    def play(
        self,
        text: str,
        *,
        extra: Sequence[str] = (),
        tags: Sequence[str] = (),
        skip: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Played:
        path = self.file("play.yml", text)
        selection = Selection(frozenset(tags), frozenset(skip))
        how = Options(**{"who": "ann", **(options or {})})
        request = Request(str(path), self.inventory, tuple(extra), selection, how)
        seen = Seen()
        with Store.open(self.store) as store:
            code = apply(request, store, [seen])
        return Played(int(code), seen.events[0].run, seen.events)

    def resume(self, run: str) -> Played:
        seen = Seen()
        with Store.open(self.store) as store:
            code = resume(run, store, [seen], who="ann")
        return Played(int(code), run, seen.events)

    def wrote(self, name: str = "log") -> list[str]:
        """Lines that tasks appended to a file of the `out` folder."""
        path = self.out / name
        return path.read_text().split() if path.exists() else []
