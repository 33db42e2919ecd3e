"""`ciflow artifact list|get|push|gc`: what plays have left, on this machine or in the store that machines share."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import ArtifactError, ExitCode, NoSuch
from ciflow.model import Event
from ciflow.report.humane import ago, counted, size
from ciflow.report.text import safe
from ciflow.store.place import Place
from ciflow.whole import whole

if TYPE_CHECKING:
    from ciflow.store.artifacts import Shelf
    from ciflow.store.artifacts.records import Entry
    from ciflow.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])
_SHORTEST = 8  # hexadecimal digits that may stand for a digest


@click.group("artifact")
def group() -> None:
    """What plays have left to later plays, runs and machines."""


def _options(function: F) -> F:
    where = click.option(
        "--store",
        "where",
        envvar="CIFLOW_ARTIFACT_STORE",
        default="",
        help="A folder, s3://BUCKET/PREFIX or oci://HOST/REPOSITORY; else what is on this machine.",
    )
    for option in (where, json_option, state_option):
        function = option(function)
    return function


@group.command("list")
@click.argument("name", default="")
@_options
def list_(name: str, where: str, as_json: bool, state: Place | None) -> int:
    """What there is, the newest first, and what needs it."""
    with _opened(state, where) as (shelf, needed, _):
        found = [one for one in shelf.entries() if not name or one.name == name]
        for one in found:
            held = needed.get(one.digest, "")
            click.echo(json.dumps({**asdict(one), "held": held}) if as_json else _line(one, held))
        if not found:
            click.echo(f"no artifacts in {shelf.main.where}", err=True)
    return ExitCode.OK


@group.command("get")
@click.argument("wanted")
@click.option("--key", default="", help="The one of this name that was made of this.")
@click.option("--dest", type=click.Path(path_type=Path), help="Where to put it; by default its name, here.")
@_options
def get(wanted: str, key: str, dest: Path | None, where: str, as_json: bool, state: Place | None) -> int:
    """Fetch the newest of a name, or the one with a digest. Goes on where it was cut off; every byte is verified."""
    with _opened(state, where) as (shelf, _, _):
        entry = _chosen(shelf, wanted, key)
        place = _place(dest, entry)
        _copied(shelf.take(entry.digest), place)
    told = {**asdict(entry), "dest": str(place)}
    click.echo(json.dumps(told) if as_json else f"{safe(str(place))}  sha256:{entry.digest}  {size(entry.size)}")
    return ExitCode.OK


@group.command("push")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="", help="What plays will call it; the name of the file unless said.")
@click.option("--key", default="", help="What it is made of.")
@_options
def push(file: Path, name: str, key: str, where: str, as_json: bool, state: Place | None) -> int:
    """Keep a file as an artifact."""
    name = name or file.name
    with _opened(state, where) as (shelf, needed, _):
        digest = shelf.put_file(file)
        shelf.name(name, digest, needed, key=key)
        told = {"name": name, "digest": digest, "size": file.stat().st_size, "key": key, "store": shelf.main.where}
    click.echo(json.dumps(told) if as_json else f"{safe(name)}  sha256:{digest}  in {told['store']}")
    return ExitCode.OK


@group.command("gc")
@click.option("--older-than", "days", type=click.FloatRange(min=0), default=30.0, help="Days that everything is kept.")
@click.option("--keep", type=click.IntRange(min=0), default=5, help="How many of each name are kept however old.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be removed.")
@_options
def gc(days: float, keep: int, dry: bool, where: str, as_json: bool, state: Place | None) -> int:
    """Remove what is old and has newer ones of its name, but nothing that an open run or a slot of a service needs."""
    with _opened(state, where, sweeping=True) as (shelf, needed, store):
        swept = shelf.sweep(needed, days, keep, dry=dry)
        if swept.removed and not dry:
            _record(store, shelf, swept.removed)
    if as_json:
        click.echo(json.dumps({**asdict(swept), "dry_run": dry}))
        return ExitCode.OK
    for one in swept.removed:
        click.echo(f"{'would remove' if dry else 'removed'}  {_line(one, '')}")
    for digest, why in swept.held.items():
        click.echo(f"needed  sha256:{digest[:12]}  {safe(why)}")
    click.echo(_sentence(len(swept.removed), swept.strays, swept.freed, len(swept.held), dry=dry))
    return ExitCode.OK


def _record(store: Store, shelf: Shelf, removed: Sequence[Entry]) -> None:
    """Until now they were kept: `ciflow cost` reckons with it. Content that has another name stays; what runs of other
    journals left is for those to know."""
    known, named = set(store.runs()), {one.digest for one in shelf.entries()}
    store.append([
        Event(kind="artifact_removed", run=one.run, play=one.play, key=one.name,
              data={"name": one.name, "sha256": one.digest, "size": one.size})
        for one in removed if one.run in known and one.digest not in named
    ])  # fmt: skip


def _sentence(removed: int, strays: int, freed: int, held: int, *, dry: bool) -> str:
    nameless = f" and {counted(strays, 'content')} without a name" if strays else ""
    much = f", {size(freed)}" if freed else ""
    left = f"; {counted(held, 'old one')} needed" if held else ""
    return f"{counted(removed, 'artifact')}{nameless} {'to remove' if dry else 'removed'}{much}{left}"


@contextmanager
def _opened(
    state: Place | None, where: str, *, sweeping: bool = False
) -> Iterator[tuple[Shelf, Mapping[str, str], Store]]:
    """The shelf, what this machine needs of it, and the journal. Two sweeps of one store from one machine exclude each
    other."""
    from ciflow.engine.who import who
    from ciflow.store.artifacts import open_shelf
    from ciflow.store.holds import holds
    from ciflow.store.locks import Holder
    from ciflow.store.place import default_state
    from ciflow.store.store import Store

    with Store.open(state or default_state()) as store:
        shelf = open_shelf(store.path, where)
        if not sweeping:
            yield shelf, holds(store), store
            return
        lease = store.locks.acquire(f"artifacts:{shelf.main.where}", Holder.me("", who(), "ciflow artifact gc"))
        try:
            yield shelf, holds(store), store
        finally:
            store.locks.release(lease)


def _chosen(shelf: Shelf, wanted: str, key: str) -> Entry:
    """By name, the newest, or by digest. NoSuch names what there is."""
    entries = [one for one in shelf.entries() if not key or one.key == key]
    digest = wanted.removeprefix("sha256:")
    named = [one for one in entries if one.name == wanted]
    if named:
        return named[0]
    alike = [one for one in entries if len(digest) >= _SHORTEST and one.digest.startswith(digest)]
    if len({one.digest for one in alike}) == 1:
        return alike[0]
    names = ", ".join(sorted({one.name for one in entries})) or "none"
    what = "more than one has" if alike else "no artifact is called, or has"
    raise NoSuch(f"{what} {wanted} in {shelf.main.where}", help=f"there are: {safe(names)}")


def _place(dest: Path | None, entry: Entry) -> Path:
    """A name may be any text: only its last part becomes a file here."""
    name = entry.name.rstrip("/").rpartition("/")[2]
    if dest is not None and not dest.is_dir():
        return dest
    if name in ("", ".", "..") or "\0" in name:
        raise NoSuch(f"no file can be called {entry.name!r}", help="say where it goes: --dest FILE")
    return (dest or Path()) / name


def _copied(source: Path, dest: Path) -> None:
    """Whole or not at all."""
    try:
        with source.open("rb") as reading, whole(dest) as file:
            shutil.copyfileobj(reading, file)
    except OSError as e:
        raise ArtifactError(f"{dest} can't be written: {e.strerror}") from e


def _line(one: Entry, held: str) -> str:
    age = ago(max(0.0, time.time() - one.at))
    made = one.run or "pushed"
    words = [f"{safe(one.name):<24}", f"sha256:{one.digest[:12]}", f"{size(one.size):>9}", f"{age:<15}", f"{made:<14}"]
    words += [f"key {safe(one.key)}"] if one.key else []
    return "  ".join([*words, *([f"held: {safe(held)}"] if held else [])]).rstrip()
