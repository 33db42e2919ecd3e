"""`ciflow test`: the tests of the Rust workspace one stands in."""

from __future__ import annotations

from pathlib import Path

import click

from ciflow.cli.cache import KINDS
from ciflow.cli.options import json_option, state_option
from ciflow.cli.screen import told
from ciflow.store.place import Place, default_state


@click.command("test")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("-p", "--package", multiple=True, help="Only this package; again for more.")
@click.option("--affected", is_flag=True, help="Only crates that a change touches.")
@click.option("--base", default="", metavar="REF", help="What that is compared with; the main branch unless said.")
@click.option("-E", "--filter", "chosen", default="", help="Only these tests, in nextest's filter language.")
@click.option("--profile", default="default", help="Profile of nextest's configuration.")
@click.option("--shard", default="1/1", metavar="M/N", help="The Mth of N parts of the tests, equally long ones.")
@click.option("--cache", type=click.Choice(("none", *KINDS)), default="none", help="Where compiled crates are kept.")
@click.option("--keep", is_flag=True, help="Begin with the target folder of the last build, where none is here.")
@click.option("--no-doctests", is_flag=True, help="Leave out the examples of the documentation.")
@click.option("--offline", is_flag=True, help="Never ask the network.")
@click.option("-v", "--verbose", count=True, help="Say more; -vv the output too.")
@click.option("-q", "--quiet", is_flag=True, help="Failures and the end only.")
@json_option
@state_option
def command(
    folder: Path, package: tuple[str, ...], affected: bool, base: str, chosen: str, profile: str, shard: str,
    cache: str, keep: bool, no_doctests: bool, offline: bool, verbose: int, quiet: bool, as_json: bool,
    state: Place | None,
) -> int:  # fmt: skip
    """Run the tests of a Rust workspace: with nextest, then doctests; flaky ones again, quarantined ones aside."""
    from ciflow.cli.working import work
    from ciflow.store.store import Store

    part, shards = _shard(shard)
    asked = {
        "test_folder": str(folder.absolute()),
        "test_packages": list(package),
        "test_affected": affected or bool(base),
        "test_base": base,
        "test_filter": chosen,
        "test_profile": profile,
        "test_shard": part,
        "test_shards": shards,
        "test_cache": cache,
        "test_keep": keep,
        "test_doctests": not no_doctests,
        "test_offline": offline,
    }
    screen = told(as_json=as_json, quiet=quiet, verbose=verbose)
    with Store.open(state or default_state()) as store, screen as sinks:
        code, last = work("test", asked, store, sinks, subject=f"{folder.absolute()} {shard}")
    if not as_json and not code:
        click.echo(last.outcome.get("msg"))
    return code


def _shard(text: str) -> tuple[int, int]:
    part, _, shards = text.partition("/")
    if not (part.isdecimal() and shards.isdecimal() and 1 <= int(part) <= int(shards)):
        raise click.BadParameter("it is M/N with M from 1 to N, such as 2/4", param_hint="--shard")
    return int(part), int(shards)
