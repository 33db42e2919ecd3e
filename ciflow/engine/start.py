"""How a run begins: anew, taken up again after a kill, or as a deployment of what was released before."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import ExitCode, NoSuch
from ciflow.engine.again import taken_over
from ciflow.engine.context import Options
from ciflow.engine.keys import new_run
from ciflow.engine.process import Process, free, project_of
from ciflow.engine.questions import Person
from ciflow.engine.record import Sink, told
from ciflow.engine.request import Ready, Request, asked, go_back, password_of, prepare
from ciflow.engine.runner import runner
from ciflow.engine.secrets import secrets_of
from ciflow.engine.sharing import check_sharing, floor
from ciflow.engine.snapshot import files_of, keep_snapshot, snapshots_in
from ciflow.lang.files import Files
from ciflow.lang.load import Loaded
from ciflow.lang.passwords import read_vault
from ciflow.model import Event
from ciflow.plan import Plan
from ciflow.store.artifacts import Shelf, open_shelf
from ciflow.store.folds import Release, RunSummary, summary
from ciflow.store.locks import Holder, Observer
from ciflow.store.mask import Mask
from ciflow.store.store import Store

if TYPE_CHECKING:
    from ciflow.report.notify import Notices


def apply(
    request: Request, store: Store, sinks: Sequence[Sink], ready: Ready | None = None, person: Person | None = None
) -> ExitCode:
    """A new run, from its first event to its last; of what is `ready`, else of what the request finds now.

    `person` answers what is asked on the way.
    """
    if ready is None:
        request, ready = asked(request, person)
    return _begun(
        request, ready, new_run(len(store.runs())), (), store, sinks, person, f"ciflow apply {request.playbook}"
    )


def _begun(
    request: Request, ready: Ready, run: str, before: tuple[Event, ...], store: Store, sinks: Sequence[Sink],
    person: Person | None, command: str,
) -> ExitCode:  # fmt: skip
    """`before`: events that are the new run's from its beginning."""
    loaded, plan, files = ready.loaded, ready.plan, ready.files
    shelf = _shelf(store, plan, request)
    check_sharing(request, plan, files, store)
    holder = Holder.me(run, request.options.who, command)
    tell = person.say if person is not None else None
    lease = store.locks.acquire(project_of(request), holder, token_floor=floor(request), tell=tell)
    try:
        started = time.time()
        mask = secrets_of(request, loaded)
        notices = _notices(request, ready, run, store, sinks, mask)
        sinks = (*notices, *sinks)
        snapshot = keep_snapshot(store, files, store.keys.of(run), mask)
        begin = Event(
            kind="run_started",
            run=run,
            at=started,
            data={
                "playbook": request.playbook,
                "name": plan.name,
                "who": request.options.who,
                "version": _version(),
                "snapshot": snapshot,
                "request": request.to_data(store.keys.of(run)),
                "holder": holder.to_data(),
                "pid": os.getpid(),
                "check": request.options.check,
                **_traced(request.options),
                "on": runner(),
            },
        )
        warned = [Event(kind="warning", run=run, at=started, data=data) for data in _warnings(loaded)]
        store.append([begin, *warned, *before], lease)
        for sink in sinks:
            for event in (begin, *warned):
                sink.event(event)
            for event in filter(told, before):
                sink.past(event)
        process = Process(
            request, store, sinks, run, lease, loaded, plan, files, started, before, person, mask, shelf, (snapshot,)
        )
        return _walked(process, notices)
    finally:
        free(store, lease)


def _traced(options: Options) -> dict[str, Any]:
    """Which trace it is part of, and where it is looked at."""
    trace = {"trace": {"parent": options.trace, "state": options.tracestate}} if options.trace else {}
    return {**trace, **({"url": options.page} if options.page else {})}


def _notices(
    request: Request, ready: Ready, run: str, store: Store, sinks: Sequence[Sink], mask: Mask
) -> tuple[Notices, ...]:
    """The sink that tells those whom the playbook names; none where it names nobody."""
    playbook = ready.loaded.playbook
    if not playbook.notifications or request.options.no_notify:
        return ()
    from ciflow.engine.notices import notices_of  # HTTP, mail: only who is to be told pays for them

    return (notices_of(request, playbook, ready.loaded.extra, ready.files, run, store, sinks, mask),)


def _walked(process: Process, notices: tuple[Notices, ...]) -> ExitCode:
    for each in notices:
        each.journal = process.append
        each.tick(time.time())  # who can't be told, or would be, is said before the first task
    return process.run()


def _warnings(loaded: Loaded) -> Iterator[dict[str, Any]]:
    """What was found while reading and will go wrong, as data of events: for those who run without `validate`."""
    for one in (found for found in loaded.findings if found.severity == "warning"):
        place = f"{one.span}: " if one.span else ""
        yield {"message": f"{place}{one.message}", "help": one.label or one.help, "code": one.code}


def _changed(files: Files, playbook: str) -> Iterator[dict[str, Any]]:
    """Whoever mends a file and resumes would wait for the mended one to be run."""
    if changed := files.changed():
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        message = f"changed since this run began, which goes on by what they were: {', '.join(changed[:3])}{more}"
        yield {"message": message, "help": f"`ciflow apply {playbook}` runs them as they are now"}


def resume(
    run: str, store: Store, sinks: Sequence[Sink], *, who: str, person: Person | None = None,
    vault_ids: tuple[str, ...] = (), others: str | None = None, observer: Observer | None = None,
) -> ExitCode:  # fmt: skip
    """Take up a run that was killed, paused or failed: nothing that is finished is done again.

    With `others` as workers than the first start's, or, where it is "", none. `observer` has watched whoever may still
    be at it. What it did is read under its lock: until then another may have gone on with it, or have ended it.

    Vault passwords were not kept: they are read, or asked for, again where `vault_ids` say, else where the first start
    found them.
    """
    _check_resumable(summary(store, run, ours=True), run)
    begin = next(store.events(run=run))
    request = Request.from_data(begin.data["request"], store.keys.existing(run))
    if others is not None:
        request = replace(request, options=replace(request.options, workers=others))
    go_back(request)
    vault = read_vault(vault_ids or request.vault_ids, password_of(person))
    holder = Holder.me(run, who, f"ciflow resume {run}")
    lease = store.locks.acquire(project_of(request), holder, token_floor=floor(request), observer=observer)
    try:
        _check_resumable(summary(store, run, ours=True), run)
        past = tuple(store.events(run=run))
        files = files_of(store, run, past, vault)
        loaded, plan = prepare(request, files)
        shelf = _shelf(store, plan, request)
        check_sharing(request, plan, files, store)
        mask = secrets_of(request, loaded)
        notices = _notices(request, Ready(loaded, plan, files), run, store, sinks, mask)
        sinks = (*notices, *sinks)
        again = Event(kind="run_resumed", run=run, at=time.time(), data={
            "who": who, "holder": holder.to_data(), "on": runner(), "last": past[-1].at,
        })  # fmt: skip
        warned = [Event(kind="warning", run=run, at=again.at, data=data) for data in _changed(files, request.playbook)]
        store.append([again, *warned], lease)
        for sink in sinks:
            for event in filter(told, past):
                sink.past(event)
            for event in (again, *warned):
                sink.event(event)
        process = Process(
            request,
            store,
            sinks,
            run,
            lease,
            loaded,
            plan,
            files.thawed(),
            begin.at,
            past,
            person,
            mask,
            shelf,
            snapshots_in(past),
        )
        return _walked(process, notices)
    finally:
        free(store, lease)


def _check_resumable(found: RunSummary | None, run: str) -> None:
    if found is None:
        raise NoSuch(f"no run is called {run}", help="`ciflow history` lists them")
    if not found.resumable:
        raise NoSuch(f"{run} is {found.state}: there is nothing to resume")


def deploy_again(
    release: Release, store: Store, sinks: Sequence[Sink], *, who: str, person: Person | None = None,
    vault_ids: tuple[str, ...] = (), trace: str = "", tracestate: str = "",
) -> ExitCode:  # fmt: skip
    """A new run that puts a version which was observed good into the idle slot again, and gives it all traffic.

    It begins where the run that released it began to deploy: what the plays before came to is taken over, so that the
    very artifacts are deployed, by digest, and nothing is built.
    """
    past, seal = tuple(store.events(run=release.run)), store.keys.existing(release.run)
    request = Request.from_data(past[0].data["request"], seal)
    options = replace(request.options, again=release.play, who=who, replace_warm=True, check=False, step=False)
    options = replace(options, trace=trace, tracestate=tracestate, page="")
    request = replace(request, options=options)
    go_back(request)
    files = files_of(store, release.run, past, read_vault(vault_ids or request.vault_ids, password_of(person)))
    ready = Ready(*prepare(request, files), files.thawed())
    run = new_run(len(store.runs()))
    before = taken_over(past, ready.plan, release, seal, store.keys.of(run), run)
    return _begun(request, ready, run, before, store, sinks, person, f"ciflow rollback {release.service}")


def _shelf(store: Store, plan: Plan, request: Request) -> Shelf:
    """Where the playbook says, else the environment; Refused before anything runs where that can't be."""
    return open_shelf(store.path, plan.playbook.artifact_store or request.options.artifact_store)


def _version() -> str:
    from ciflow import __version__

    return __version__
