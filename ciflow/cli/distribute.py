"""`ciflow distribute status`."""

from __future__ import annotations

import json

import click

from ciflow.cli.options import json_option, state_option
from ciflow.store.place import Place


@click.group("distribute")
def group() -> None:
    """Builds that other hosts do: sccache-dist, and farms of the Remote Execution API."""


@group.command("status")
@click.option("--config", type=click.Path(dir_okay=False, resolve_path=True), help="sccache's settings.")
@click.option("--endpoint", default="", help="Ask a farm of the Remote Execution API instead: grpc://HOST:PORT.")
@click.option("--instance", default="", help="Which of its instances.")
@json_option
@state_option
def status(config: str | None, endpoint: str, instance: str, as_json: bool, state: Place | None) -> int:
    """Who compiles for this machine. Exit 4 where nobody does: builds compile here then."""
    from ciflow.cli.working import work
    from ciflow.store.place import default_state
    from ciflow.store.store import Store

    with Store.open(state or default_state()) as store:
        if endpoint:
            code, last = work("farm", {"farm_endpoint": endpoint, "farm_instance": instance}, store)
        else:
            code, last = work("distribute", {"distribute_config": config or ""}, store)
    told = last.outcome
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(f"error: {told.get('msg')}" if code else told.get("msg"), err=bool(code))
    return code
