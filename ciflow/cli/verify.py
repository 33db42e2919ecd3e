"""`ciflow verify`: hold a file, its signatures and attestations against a policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ciflow.cli.options import json_option, state_option
from ciflow.store.place import Place

_FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True)


@click.command("verify")
@click.argument("file", type=_FILE)
@click.option("--policy", "--key", type=_FILE, required=True, help="A policy, or a public key (PEM).")
@click.option("--bundles", type=_FOLDER, default="", metavar="FOLDER", help="Where bundles lie; else beside the file.")
@json_option
@state_option
def command(file: Path, policy: Path, bundles: str, as_json: bool, state: Place | None) -> int:
    """Say who vouches for a file, and refuse it (exit 4) unless that is what the policy asks for."""
    from ciflow.cli.working import work
    from ciflow.store.place import default_state
    from ciflow.store.store import Store

    asked = {"verify_path": str(file), "verify_policy": str(policy), "verify_bundles": bundles}
    with Store.open(state or default_state()) as store:
        code, last = work("verify", asked, store, subject=str(file))
    if as_json:
        click.echo(json.dumps(last.outcome))
    elif code:
        click.echo(f"error: {last.outcome.get('msg')}", err=True)
    else:
        _tell(last.outcome)
    return code


def _tell(told: Mapping[str, Any]) -> None:
    from ciflow.supply.times import stamp

    click.echo(f"{told['path']} holds (sha256:{told['sha256']})")
    click.echo(f"  signed by   {', '.join(told['signers'])}")
    for kind in told["attestations"]:
        click.echo(f"  attested    {kind}")
    origin = told["origin"]
    if origin:
        when = f" at {stamp(origin['finished'])}" if origin["finished"] else ""
        click.echo(f"  built by    {origin['builder']}{when}")
        changed = {True: "", False: ", with changes", None: ""}[origin["clean"]]
        click.echo(f"  built from  {origin['source'] or 'it does not say'} {origin['ref']} {origin['commit']}{changed}")
