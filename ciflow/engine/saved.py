"""Saved plans: `plan --out` keeps what was planned, `apply` runs exactly that or says what has changed since.

A plan file says in plain text who planned what, and nothing else: the sources, which may hold secrets, and the
variables of the command line rest sealed under a key beside the journal of this machine. Whoever has no such key can
neither read nor apply the plan; the plain part can't be changed either, for the seal is bound to it.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ciflow import __version__
from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, Diagnostic, Invalid, NoSuch, Span, StoreError
from ciflow.engine.connect import NOTHING_SAID, Reach
from ciflow.engine.context import Options
from ciflow.engine.request import Ready, Request, go_back, prepare
from ciflow.lang.extravars import extra_vars
from ciflow.lang.files import Files
from ciflow.lang.load import Loaded
from ciflow.lang.scope import Vars
from ciflow.lang.used_files import used_paths
from ciflow.lang.vault import Encrypted, Vault
from ciflow.model import EMPTY, Template
from ciflow.plan import Plan
from ciflow.store.store import Store
from ciflow.whole import write_whole

_HEAD = '{"ciflow": "plan", '
_CODE = "CF0320"
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Saved:
    """A plan file, opened: what was asked for, every source as it was read, and digests of the files it would send."""

    request: Request
    sources: Mapping[str, bytes]
    digests: Mapping[str, str]

    def asked(self, options: Options, reach: Reach) -> Request:
        """The request with what may be said when it is applied: how to go about it, and how to reach the hosts."""
        return replace(self.request, options=options, reach=self.request.reach if reach == NOTHING_SAID else reach)


def save(path: Path, request: Request, ready: Ready, store: Store) -> None:
    """Write the plan file, whole or not at all, for its owner only."""
    head = {"ciflow": "plan", "id": f"P-{os.urandom(6).hex()}", "version": __version__, "who": request.options.who,
            "at": round(time.time(), 3), "playbook": request.playbook}  # fmt: skip
    seal = store.keys.of(str(head["id"]))
    sources = {name: base64.b64encode(data).decode("ascii") for name, data in ready.files.snapshot().items()}
    body = {"request": request.to_data(seal), "sources": sources, "digests": digests_of(ready.loaded)}
    sealed = seal.seal(json.dumps(body).encode("ascii"), _bound(head))
    text = json.dumps({**head, "sealed": sealed}) + "\n"
    try:
        write_whole(path, text.encode(), 0o600)
    except OSError as error:
        raise CiflowError(f"the plan can't be written to {path}: {error.strerror}") from error


def is_plan(path: str) -> bool:
    """Whether a file is a saved plan and no playbook."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_HEAD)) == _HEAD.encode("ascii")
    except OSError:
        return False


def read(path: str, store: Store) -> Saved:
    """Open a plan file. StoreError where this account can't: the key is elsewhere, or somebody changed the file."""
    try:
        head = json.loads(Path(path).read_text())
        sealed, id, version = head.pop("sealed"), str(head["id"]), head["version"]
        seal = store.keys.existing(id)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoSuch(f"{path} is no whole plan file", help="make it again: ciflow plan .. --out FILE") from error
    except StoreError as error:
        where = "a plan is applied where it was made, by the account that made it; its key lies in the folder `--state`"
        raise NoSuch(f"the key of the plan {path} is not here", help=where) from error
    if version != __version__:
        raise NoSuch(f"the plan {path} was made by ciflow {version}; this is {__version__}", help="plan again")
    try:
        body = json.loads(seal.open(sealed, _bound(head)))
    except StoreError as error:
        raise NoSuch(f"the plan {path} was changed after it was made", help="plan again") from error
    sources = {name: base64.b64decode(data) for name, data in body["sources"].items()}
    return Saved(Request.from_data(body["request"], seal), sources, body["digests"])


def ready(saved: Saved, vault: Vault | None = None) -> Ready:
    """What was planned, ready to run, from the very sources that were planned. Raises Invalid with all that changed."""
    go_back(saved.request)
    files = Files.frozen(saved.sources, vault)
    loaded, plan = prepare(saved.request, files)
    now = Files.live(vault)
    try:
        loaded_now, plan_now = prepare(saved.request, now)
    except Invalid as fault:
        read_now = now.snapshot()
        changed = list(_of_sources({name: saved.sources[name] for name in saved.sources if name in read_now}, read_now))
        raise Invalid([*changed, *fault.diagnostics], fault.sources) from fault
    changed = [
        *_of_sources(saved.sources, now.snapshot()),
        *_ofdigests_of(saved.digests, digests_of(loaded_now)),
        *_of_variables(loaded, loaded_now),
        *_of_targets(plan, plan_now),
    ]
    if changed:
        raise Invalid(changed, now.sources())
    return Ready(loaded, plan, files.thawed())


def same_extra(saved: Saved, given: tuple[str, ...], vault: Vault | None = None) -> None:
    """Extra variables that are given again must be those of the plan. Raises Invalid with those that differ."""
    if not given:
        return
    files = Files.live(vault)
    planned = extra_vars(saved.request.extra, Files.frozen(saved.sources, vault))
    again = extra_vars(given, files)
    if changed := list(_of_owner("of the command line", planned, again)):
        raise Invalid(changed, files.sources())


def _bound(head: Mapping[str, Any]) -> str:
    """The plain part as the context of the seal."""
    return json.dumps(head, sort_keys=True)


# --- what has changed ----------------------------------------------------------------------------------


def _changed(what: str, span: Span | None = None) -> Diagnostic:
    return Diagnostic("error", _CODE, f"{what} since it was planned", span, help="plan again, or take the change back")


def _of_sources(planned: Mapping[str, bytes], now: Mapping[str, bytes]) -> Iterator[Diagnostic]:
    for name in sorted(planned.keys() | now.keys()):
        path, _, arguments = name.partition("\0")
        what = f"what {path} prints" if arguments else path
        if name not in now:
            yield _changed(f"{what} is gone or not read any more", None)
        elif name not in planned:
            yield _changed(f"{what} has come", Span(path))
        elif planned[name] != now[name]:
            yield _changed(f"{what} has changed", Span(path) if arguments else _first(path, planned[name], now[name]))


def _first(path: str, planned: bytes, now: bytes) -> Span:
    """The first line that differs."""
    lines, others = now.split(b"\n"), planned.split(b"\n")
    same = next((at for at, (a, b) in enumerate(zip(lines, others, strict=False)) if a != b), len(lines) - 1)
    return Span(path, same + 1, 1)


def digests_of(loaded: Loaded) -> dict[str, str]:
    """Files that are not read before the run and would be sent or included by it, by digest."""
    files = Files.live(loaded.files.vault)
    return {path: _digest(Path(path)) for path in used_paths(loaded.playbook, loaded.roles, files)}


def _digest(path: Path) -> str:
    found = sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError as error:
        raise CiflowError(f"can't read {path}: {error.strerror}") from error
    return found.hexdigest()


def _ofdigests_of(planned: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Diagnostic]:
    for path in sorted(planned.keys() | now.keys()):
        if path not in now:
            yield _changed(f"{path} is gone")
        elif planned.get(path) != now[path]:
            yield _changed(f"{path} {'has changed' if path in planned else 'has come'}", Span(path))


def _of_variables(planned: Loaded, now: Loaded) -> Iterator[Diagnostic]:
    before, after = dict(_owners(planned)), dict(_owners(now))
    for owner in dict.fromkeys((*before, *after)):
        yield from _of_owner(owner, before.get(owner, EMPTY), after.get(owner, EMPTY))


def _owners(loaded: Loaded) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "of the command line", loaded.extra
    yield "of the playbook", loaded.playbook.vars
    for play in loaded.playbook.plays:
        yield f"of the play {play.name} [{play.id}]", play.vars
        for values in (*play.role_defaults, *play.role_vars):
            if isinstance(values, Vars) and values.label:
                yield f"of the {values.label}", values
    for name, layers in loaded.inventory.layers.items():
        merged = Vars({})
        for layer in reversed(layers):
            merged.update(layer.values)
            merged.spans.update(getattr(layer.values, "spans", {}))
        yield f"of the host {name}", merged


def _of_owner(owner: str, planned: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Names whose values differ; never the values, for they may be secrets."""
    for name in dict.fromkeys((*planned, *now)):
        what = f"the variable `{name}` {owner}"
        span = getattr(now, "spans", {}).get(name)
        if name not in now:
            yield _changed(f"{what} is gone")
        elif name not in planned:
            yield _changed(f"{what} has come", span)
        elif _plain(planned[name]) != _plain(now[name]):
            yield _changed(f"{what} has changed", span)


def _plain(value: Any) -> Any:
    """A value without places: a line that only moved is no change."""
    if isinstance(value, Encrypted):
        return ("vault", value.content)
    if isinstance(value, Template):
        return ("template", value.source, value.expression)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(below) for key, below in value.items()}
    return [_plain(below) for below in value] if isinstance(value, list | tuple) else (type(value).__name__, value)


def _of_targets(planned: Plan, now: Plan) -> Iterator[Diagnostic]:
    before = {stage.id: stage for stage in planned.stages}
    after = {stage.id: stage for stage in now.stages}
    for id in dict.fromkeys((*before, *after)):
        if id not in before or id not in after:
            yield _changed(f"the play {id} {'has come' if id in after else 'is gone'}")
            continue
        old, new = ({host.name: host for host in one.hosts} for one in (before[id], after[id]))
        span = after[id].play.span
        for name in dict.fromkeys((*old, *new)):
            if name not in old or name not in new:
                yield _changed(f"the host {name} {'has come to' if name in new else 'is gone from'} {id}", span)
            elif old[name].connection != new[name].connection:
                yield _changed(f"how the host {name} is reached has changed", span)
        if list(old) != list(new) and old.keys() == new.keys():
            yield _changed(f"the order of the hosts of {id} has changed", span)
