"""Who is told of a run: the sink of a playbook's `notifications`, made for a run that begins, goes on, or is undone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError
from ciflow.engine.record import Sink
from ciflow.engine.request import Request, go_back
from ciflow.engine.secrets import hiding
from ciflow.engine.snapshot import files_of
from ciflow.lang.extravars import extra_vars
from ciflow.lang.files import Files
from ciflow.lang.notifications import Receiver, receivers, scope_before
from ciflow.lang.passwords import nobody, read_vault
from ciflow.lang.playbook import load_playbook
from ciflow.model import Event, Playbook
from ciflow.report.delivery import Answer
from ciflow.report.notify import Notices, Words, tried
from ciflow.report.occasions import Occasions, name_of
from ciflow.store.mask import Mask
from ciflow.store.store import Store

_KINDS = ("run_started", "run_ended", "canary_started", "rollback")


def notices_of(
    request: Request, playbook: Playbook, extra: Any, files: Files, run: str, store: Store, sinks: Sequence[Sink],
    mask: Mask,
) -> Notices:  # fmt: skip
    """The sink, its receivers' settings rendered and their secrets hidden. Raises Invalid before anything runs."""
    found = receivers(playbook, extra, files)
    occasions = Occasions(playbook.name, trouble_of(request, run, store), again=bool(request.options.again))
    words = _words(playbook, extra, files, mask)
    return Notices(run, found, occasions, words, _folder(request), sinks, check=request.options.check)


def _folder(request: Request) -> Path:
    """Where relative paths of the playbook begin."""
    return Path(request.folder, request.playbook).parent


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a playbook notifies, for who wants to try it."""

    name: str
    receivers: tuple[Receiver, ...]
    words: Words
    folder: Path

    def tried(self, receiver: Receiver, on: str) -> Answer:
        return tried(self.words, receiver, on, self.name, self.folder)


def named(path: str, given: tuple[str, ...], files: Files, roles_path: tuple[str, ...]) -> Named:
    """Read from the disk. Raises Invalid for any fault of the playbook's files."""
    with hiding(files.vault):
        extra = extra_vars(given, files)
        playbook = load_playbook(path, files, roles_path=roles_path, extra=extra)
        found = receivers(playbook, extra, files)
    return Named(playbook.name, found, _words(playbook, extra, files, _mask_of(files)), Path(path).parent)


def _mask_of(files: Files) -> Mask:
    mask = Mask()
    files.vault.listen(mask.add)
    return mask


def _words(playbook: Playbook, extra: Any, files: Files, mask: Mask) -> Words:
    return Words(scope_before(playbook, extra), files, mask.text, playbook.path)


def trouble_of(request: Request, run: str, store: Store) -> set[str]:
    """What befell the runs of this playbook, and what they released, since one of them last went well."""
    path = Path(request.folder, request.playbook)
    found, mine, services = set[str](), set[str](), set[str]()
    for event in store.events(kinds=_KINDS):
        data = event.data
        if event.kind == "run_started":
            asked = data.get("request")
            if (
                asked
                and not data.get("check")
                and event.run != run
                and Path(asked["folder"], asked["playbook"]) == path
            ):
                mine.add(event.run)
        elif event.kind == "rollback" and data["service"] in services:
            found.add("rolled_back")
        elif event.run in mine and event.kind == "canary_started":
            services.add(data["service"])
        elif event.run in mine and event.kind == "run_ended" and (name := name_of(int(data["exit"]))):
            found = set() if name == "succeeded" else found | {name}
    return found


# --- a rollback from another terminal ------------------------------------------------------------------


def tell_of_rollback(open_store: Callable[[], Store], service: str, run: str, sinks: Sequence[Sink]) -> None:
    """Tell those whom the playbook names that released what `run` has rolled back, as far as this journal knows it.

    The rollback is over: whatever fails here is a warning to `sinks`.
    """
    try:
        with open_store() as store:
            _tell(store, service, run, sinks)
    except (CiflowError, OSError) as error:
        said = error.message if isinstance(error, CiflowError) else str(error)
        _warn(f"nobody was told of the rollback: {said.partition(os.linesep)[0]}", run, sinks)


def _tell(store: Store, service: str, run: str, sinks: Sequence[Sink]) -> None:
    event = next(store.events(run=run, kinds=("rollback",)), None)
    begun = [one.run for one in store.events(kinds=("canary_started",)) if one.data["service"] == service]
    begin = next(store.events(run=begun[-1], kinds=("run_started",)), None) if begun else None
    if event is None or begin is None or "request" not in begin.data:
        return
    seal = store.keys.existing(begin.run)
    request = Request.from_data(begin.data["request"], seal)
    go_back(request)
    past = tuple(store.events(run=begin.run, kinds=("run_started", "snapshot")))
    files = files_of(store, begin.run, past, read_vault(request.vault_ids, nobody))
    extra = extra_vars(request.extra, files)
    playbook = load_playbook(request.playbook, files, roles_path=request.roles_path, extra=extra)
    if not playbook.notifications:
        return
    found = receivers(playbook, extra, files)
    occasions = Occasions(playbook.name, machine=os.uname().nodename)
    notices = Notices(run, found, occasions, _words(playbook, extra, files, _mask_of(files)), _folder(request), sinks)
    notices.journal = store.append
    notices.event(event)
    notices.close()


def _warn(message: str, run: str, sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        sink.event(Event(kind="warning", run=run, at=time.time(), data={"message": message, "help": ""}))
