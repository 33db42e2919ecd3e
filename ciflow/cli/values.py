"""What may stand for a parameter of a command, as a shell offers it: looked up when somebody presses TAB.

Nothing is asked of a network, no program is started and no password is asked for: where only that would tell, nothing
is offered. Neither is an error said: the line that somebody types has no room for it, and the command itself says it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click
from click.shell_completion import CompletionItem

from ciflow.diagnostics import CiflowError, Invalid, Refused
from ciflow.lang.files import Files
from ciflow.lang.sops import is_sops
from ciflow.lang.vault import is_vaulted
from ciflow.store.place import default_state

if TYPE_CHECKING:
    from ciflow.lang.inventory import Inventory
    from ciflow.plan import Plan
    from ciflow.store.store import Store

Offer: TypeAlias = CompletionItem
Source: TypeAlias = Callable[[click.Context, str], Iterable[Offer]]

HEAD = 64 * 1024  # bytes of a file that are looked at to tell whether it is a playbook
LOOKED = 5_000  # events of a run that are looked at for its hosts: all of 1,000 hosts' first tasks
_PLAYS = re.compile(rb"^(?:- |  )(?:ansible\.builtin\.)?(?:hosts|import_playbook) *:|^plays *:", re.MULTILINE)


class Values(click.types.StringParamType):
    """The type of a parameter whose values are known by `source`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Offer]:  # noqa: ARG002
        try:
            found = list(self._source(ctx, incomplete))
        except (CiflowError, OSError):
            return []
        return [one for one in found if one.type != "plain" or (one.value.startswith(incomplete) and _typeable(one))]


def _typeable(one: Offer) -> bool:
    """Whether its value fits on a line: no control characters, which a shell would take for its own."""
    return bool(one.value) and one.value.isprintable()


def paths(_ctx: click.Context, incomplete: str) -> Iterator[Offer]:
    """Any file: the shell knows them best."""
    yield Offer(incomplete, type="file")


def playbooks(ctx: click.Context, incomplete: str) -> Iterable[Offer]:
    """Playbooks where the word leads, or in `playbooks`; else any file."""
    begun = incomplete.rpartition("/")[0]
    folders = (f"{begun}/",) if begun or incomplete.startswith("/") else ("", "playbooks/")
    found = [Offer(path) for folder in folders for path in playbooks_in(folder)]
    return [one for one in found if one.value.startswith(incomplete)] or paths(ctx, incomplete)


def playbooks_in(folder: str) -> Iterator[str]:
    """Playbooks right in a folder (`playbooks/`, or "" for the one that one stands in)."""
    for path in sorted(Path(folder or ".").glob("*.y*ml")):
        if not (path.is_file() and os.access(path, os.R_OK)):
            continue
        with path.open("rb") as file:
            if _PLAYS.search(file.read(HEAD)):
                yield folder + path.name


def runs(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    """The newest first, with what became of each."""
    from ciflow.store.folds import summaries

    with _journal(ctx) as store:
        yield from (Offer(run.run, help=f"{run.state.replace('_', ' ')}  {run.playbook}") for run in summaries(store))


def services(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    from ciflow.store.folds import history

    with _journal(ctx) as store:
        newest: dict[str, str] = {}
        for release in history(store):
            newest.setdefault(release.service, release.version)
    yield from (Offer(service, help=version) for service, version in sorted(newest.items()))


def releases(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    from ciflow.store.folds import history

    with _journal(ctx) as store:
        yield from (Offer(f"{one.service}/{one.version}", help=one.state.replace("_", " ")) for one in history(store))


def artifacts(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    with _journal(ctx) as store:
        yield from map(Offer, sorted({str(event.data["name"]) for event in store.events(kinds=("artifact",))}))


def hosts_of_run(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    from ciflow.store.folds import find_run

    with _journal(ctx) as store:
        run = find_run(store, _first(ctx, "run")).run
        yield from map(Offer, sorted({event.host for event in islice(store.events(run=run), LOOKED) if event.host}))


def hosts(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    yield from (Offer(host.name) for host in _inventory(ctx).hosts)
    yield Offer("localhost")


def groups(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    yield from map(Offer, _inventory(ctx).tree)


def patterns(ctx: click.Context, incomplete: str) -> Iterator[Offer]:
    """Hosts and groups, the last of several behind commas."""
    before = _before(incomplete)
    for one in (*groups(ctx, ""), *hosts(ctx, "")):
        yield Offer(before + one.value)


def tags(ctx: click.Context, incomplete: str) -> Iterator[Offer]:
    """Those of the playbook's plays and tasks, the last of several behind commas."""
    from ciflow.cli.listing import Listing

    before = _before(incomplete)
    for play in Listing(tags=True).data(_plan(ctx)):
        yield from (Offer(before + tag) for tag in sorted({*play["tags"], *play["task_tags"]}))


def plays(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    yield from (Offer(name) for name in dict.fromkeys(stage.play.name for stage in _plan(ctx).stages))


def tasks(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    from ciflow.cli.listing import Listing

    for play in Listing(tasks=True).data(_plan(ctx)):
        yield from (Offer(task["name"]) for task in play["tasks"])


def topics(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    """What `ciflow doc` explains: modules, keywords, codes of diagnostics."""
    from ciflow.lang.schema import part_schema

    yield from modules(ctx, "")
    yield from map(Offer, sorted({*part_schema("play").fields, *part_schema("task").fields}))
    yield from codes(ctx, "")


def modules(_ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    from ciflow.lang.schema import verbs

    yield from map(Offer, sorted(verbs()))


def codes(_ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    from ciflow.lang.codes import CODES

    yield from (Offer(code, help=meaning) for code, meaning in sorted(CODES.items()))


def schemas(ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    from ciflow.lang.export import PARTS

    yield from map(Offer, PARTS)
    yield from modules(ctx, "")


def rates(_ctx: click.Context, _incomplete: str) -> Iterator[Offer]:
    from ciflow.lang.rates import UNITS, rates_of

    yield from (Offer(rate.on, help=str(rate)) for rate in rates_of(None).every if rate.per in UNITS)


# By the parameter's name, or by that of its command too where the name alone says not enough.
VALUES: dict[str, Source] = {
    "artifact get wanted": artifacts,
    "artifact list name": artifacts,
    "code": codes,
    "cost on": rates,
    "doc name": topics,
    "document": paths,
    "documents": paths,
    "evidence release": releases,
    "file": paths,
    "files": paths,
    "group": groups,
    "host": hosts,
    "inventory": paths,
    "limit": patterns,
    "logs host": hosts_of_run,
    "new": paths,
    "old": paths,
    "path": paths,
    "playbook": playbooks,
    "plays": plays,
    "playbooks": playbooks,
    "run": runs,
    "schema name": schemas,
    "service": services,
    "skip_tags": tags,
    "start_at_task": tasks,
    "tags": tags,
}


def source_of(command: str, parameter: str) -> Source | None:
    return VALUES.get(f"{command} {parameter}") or VALUES.get(parameter)


# --- where they come from --------------------------------------------------------------------------------------


class _Still(Files):
    """Files on the disk, of which none is run: an inventory script may take its time, and ask who knows whom. Nor is
    one opened that is encrypted: `sops` is a program, too, and asks a keeper of keys."""

    def read(self, path: str) -> bytes:
        content = self._raw(path)
        if is_vaulted(content) or is_sops(path, content):
            raise Invalid((), {})
        return content

    def output(self, path: str, *arguments: str, by: tuple[str, ...] = ()) -> bytes:  # noqa: ARG002
        raise Invalid((), {})


def _journal(ctx: click.Context) -> Store:
    """Refused where there is none, or none on this machine."""
    from ciflow.store.store import Store

    place = ctx.params.get("state") or default_state()
    if not isinstance(place, Path) or not place.exists():
        raise Refused(f"{place} is no journal of this machine")
    return Store.open(place, read_only=True)


def _inventory(ctx: click.Context) -> Inventory:
    from ciflow.cli.options import inventory_of
    from ciflow.diagnostics import Findings
    from ciflow.lang.inventory import read_inventory

    return read_inventory(inventory_of(_several(ctx, "inventory")), _Still(), Findings(), playbook_dir=".")


def _plan(ctx: click.Context) -> Plan:
    from ciflow.cli.options import inventory_of, roles_path
    from ciflow.engine.request import Request, prepare

    wanted = inventory_of(_several(ctx, "inventory"))
    asked = Request(_first(ctx, "playbook"), wanted, _several(ctx, "extra_vars"), roles_path=roles_path())
    return prepare(asked, _Still())[1]


def _several(ctx: click.Context, name: str) -> tuple[str, ...]:
    return tuple(ctx.params.get(name) or ())


def _first(ctx: click.Context, argument: str) -> str:
    """The command's first argument. Click leaves all of them over where an option lacks the value that is typed now."""
    return str(ctx.params.get(argument) or next(iter(ctx.args), ""))


def _before(incomplete: str) -> str:
    """What stands before the last of several behind commas."""
    return incomplete[: incomplete.rfind(",") + 1]
