"""`ciflow inventory`."""

from __future__ import annotations

import json

import click

from ciflow.cli.options import inventory_of, json_option
from ciflow.cli.passwords import live_files, vault_options
from ciflow.cli.showing import Showing
from ciflow.diagnostics import ExitCode, NoSuch


@click.command("inventory")
@click.argument("group", default="all")
@click.option("-i", "--inventory", multiple=True, help="Inventory file, folder, script, or host list with commas.")
@click.option("-l", "--limit", default="", help="Only hosts that match this pattern, by name, one a line.")
@click.option("--list", "form", flag_value="list", help="All of it as JSON, as ansible-inventory prints it.")
@click.option("--graph", "form", flag_value="graph", help="The tree of groups below GROUP (the usual).")
@click.option("--host", default="", help="The variables of one host, as JSON.")
@click.option("--vars", "variables", is_flag=True, help="With --graph: variables too.")
@vault_options
@json_option
def command(
    group: str, inventory: tuple[str, ...], limit: str, form: str | None, host: str, variables: bool, as_json: bool
) -> int:
    """Show who is in the inventory, in which groups, with which variables. Secrets are starred out."""
    from ciflow.lang.inventory import load_inventory
    from ciflow.lang.listing import graph, listed

    files = live_files()
    found = load_inventory(inventory_of(inventory), files, playbook_dir=".")
    showing = Showing.of(found, files.vault)
    if host:
        known = found.host(host)
        if known is None:
            raise NoSuch(f"the inventory has no host {host}", help="`ciflow inventory` shows those it has")
        click.echo(json.dumps(showing.value(known.vars), indent=None if as_json else 4, sort_keys=True))
    elif limit:
        names = [one.name for one in found.select(limit)]
        click.echo(json.dumps(names) if as_json else "\n".join(map(showing.line, names)), nl=as_json or bool(names))
    elif form == "list" or as_json:
        click.echo(json.dumps(listed(found, showing.value), indent=None if as_json else 4))
    elif group not in found.tree:
        raise NoSuch(f"the inventory has no group {group}", help="`ciflow inventory` shows those it has")
    else:
        for line in graph(found, group, showing.value, variables=variables):
            click.echo(showing.line(line))
    return ExitCode.OK
