"""`ciflow vars HOST [NAME]`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ciflow.cli.options import inventory_of, json_option, roles_path
from ciflow.cli.passwords import live_files, vault_options
from ciflow.cli.showing import Showing
from ciflow.diagnostics import CiflowError, ExitCode, NoSuch

if TYPE_CHECKING:
    from ciflow.lang.scope import Scope
    from ciflow.lang.variables import Reason
    from ciflow.model import Play


@click.command("vars")
@click.argument("host")
@click.argument("name", default="")
@click.option("-i", "--inventory", multiple=True, help="Inventory file, folder, script, or host list with commas.")
@click.option("-e", "--extra-vars", multiple=True, help="key=value, JSON, or @file; wins over all else.")
@click.option("-p", "--playbook", default="", help="Variables of its plays too.")
@click.option(
    "--play", "chosen", default="", help="Of this play of it, by name or id; else the first that runs on HOST."
)
@click.option("--why", is_flag=True, help="Every level that sets them, the winner first, with file and line.")
@vault_options
@json_option
def command(
    host: str, name: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], playbook: str, chosen: str,
    why: bool, as_json: bool,
) -> int:  # fmt: skip
    """Show the variables of HOST, or NAME alone, as they are before anything runs; with --why where each comes from."""
    from ciflow.lang.reasons import reasons
    from ciflow.lang.scope import Level

    scope, play, showing = _seen(host, inventory, extra_vars, playbook, chosen)
    names = (
        [name]
        if name
        else sorted(n for n in scope.names() if any(r.level < Level.LOOP for r in reasons(n, scope, play)))
    )
    if name and not reasons(name, scope, play):
        near = scope.nearest(name)
        hint = f"did you mean {near[0]}?" if near else "facts and results are known only while a run goes"
        raise NoSuch(f"nothing sets `{name}` for {host}", help=hint)
    for one in names:
        found = reasons(one, scope, play)
        shown = showing.value(_rendered(one, scope), one)
        if as_json:
            levels = [_data(one, reason, showing) for reason in found]
            click.echo(json.dumps({"name": one, "value": shown, **({"levels": levels} if why else {})}))
        else:
            click.echo(showing.line(f"{one} = {json.dumps(shown, ensure_ascii=False)}"))
            for line in _lines(one, found, showing) if why else ():
                click.echo(showing.line(line))
    return ExitCode.OK


def _seen(
    host: str, sources: tuple[str, ...], extra_vars: tuple[str, ...], playbook: str, chosen: str
) -> tuple[Scope, Play | None, Showing]:
    from ciflow.engine.request import Request, prepare
    from ciflow.lang.extravars import extra_vars as read_extra
    from ciflow.lang.include import load_vars_files
    from ciflow.lang.inventory import load_inventory
    from ciflow.lang.reasons import scope_of

    files = live_files()
    if not playbook:
        extra = read_extra(extra_vars, files)
        inventory = load_inventory(inventory_of(sources), files, playbook_dir=".")
        known = _host(inventory.host(host), host)
        return scope_of(known, inventory, extra), None, Showing.of(inventory, files.vault, extra)
    request = Request(playbook, inventory_of(sources), extra_vars, roles_path=roles_path())
    loaded, plan = prepare(request, files)
    known = _host(loaded.inventory.host(host), host)
    plays = [
        s.play for s in plan.stages if chosen in ("", s.play.name, s.play.id) and host in [h.name for h in s.hosts]
    ]
    if not plays:
        raise NoSuch(f"no play {chosen} of {playbook} runs on {host}".replace("  ", " "))
    bare = scope_of(known, loaded.inventory, loaded.extra, loaded.playbook, plays[0])
    read = load_vars_files(plays[0].vars_files, bare, files, playbook.rpartition("/")[0])
    scope = scope_of(known, loaded.inventory, loaded.extra, loaded.playbook, plays[0], read)
    return scope, plays[0], Showing.of(loaded.inventory, files.vault, loaded.extra)


def _host(found: Any, name: str) -> Any:
    if found is None:
        raise NoSuch(f"the inventory has no host {name}", help="`ciflow inventory` shows those it has")
    return found


def _rendered(name: str, scope: Scope) -> Any:
    """The value; a template as it is written where it can't be known before a run, a closed vault starred out."""
    from ciflow.lang.scope import MISSING, Need, NeedFacts

    try:
        value = scope.find(name)
        return "(known while the run goes)" if value is MISSING else value
    except (CiflowError, Need, NeedFacts):
        return next(scope.why(name))[1]


def _lines(name: str, found: tuple[Reason, ...], showing: Showing) -> Iterator[str]:
    from ciflow.lang.reasons import CALLED

    rows = [
        (
            CALLED[one.level],
            json.dumps(showing.value(one.value, name), ensure_ascii=False),
            str(one.span or ""),
            one.owner,
        )
        for one in found
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for number, row in enumerate(rows):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        yield f"  {'*' if number == 0 else ' '} {cells}  {row[3]}".rstrip()


def _data(name: str, one: Reason, showing: Showing) -> dict[str, Any]:
    from ciflow.lang.reasons import CALLED

    span = one.span
    place = {"file": span.file, "line": span.line, "column": span.column} if span is not None else {}
    return {"level": int(one.level), "what": CALLED[one.level], "value": showing.value(one.value, name), **place,
            "owner": one.owner}  # fmt: skip
