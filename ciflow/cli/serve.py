"""`ciflow serve`."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import ExitCode
from ciflow.store.place import Place, default_state

if TYPE_CHECKING:
    from ciflow.engine.rollback import Asking, Done
    from ciflow.web.serving import Serving
    from ciflow.web.tokens import Tokens

PORT = 8417


@click.command("serve")
@click.option("--address", default="127.0.0.1", help="Where it listens: this machine alone, unless said otherwise.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, help=f"{PORT}; 0 takes any that is free.")
@click.option("--tokens", type=click.Path(path_type=Path, dir_okay=False), help="File of who may look, and who act.")
@click.option("--read-only", is_flag=True, help="The one token that is made here may look, and not act.")
@click.option("--name", "names", multiple=True, help="A name by which browsers reach it; again for more.")
@click.option("--cert", type=click.Path(dir_okay=False), help="PEM file of the certificate, with its chain.")
@click.option("--key", type=click.Path(dir_okay=False), help="PEM file of its key.")
@click.option("--without-tls", is_flag=True, help="Listen beyond this machine though nothing is encrypted.")
@json_option
@state_option
def command(
    address: str, port: int, tokens: Path | None, read_only: bool, names: tuple[str, ...], cert: str | None,
    key: str | None, without_tls: bool, as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    """Show services, rollouts and runs on a live page, and let people roll back and approve there, until Ctrl-C.

    Every token has a name, which is recorded beside what is done with it. Without --tokens there is one: that of
    $CIFLOW_SERVE_TOKEN, or one that is made now and printed as a link.
    """
    from ciflow.web.http import protocol, tls_context
    from ciflow.web.serving import Serving, refuse_in_the_open, serve

    protocol()
    if bool(cert) != bool(key):
        raise click.UsageError("--cert and --key go together")
    if tokens and read_only:
        raise click.UsageError("--tokens says itself who may act")
    refuse_in_the_open(address, secure=bool(cert), explicit=without_tls)
    told = os.environ.pop("CIFLOW_SERVE_TOKEN", "")  # whatever is started from here need not know it
    known = _tokens(tokens, told, read_only=read_only)
    tls = tls_context(cert, key) if cert and key else None
    place = state or default_state()
    serving = Serving(place, known, address, port, names, tls, rolled_back=partial(_pass_on, place))
    fresh = tokens is None and not told
    serve(serving, lambda found: _begun(serving, found, fresh=fresh, as_json=as_json), _tell)
    return ExitCode.OK


def _pass_on(place: Place, asking: Asking, done: Done) -> None:
    from ciflow.cli.rollback import pass_on

    pass_on(asking, done, place)


def _tokens(file: Path | None, told: str, *, read_only: bool) -> Tokens:
    from ciflow.engine.who import who
    from ciflow.web.tokens import ACTS, READS, new_secret, read_tokens, token_of

    if file is not None:
        return read_tokens(file)
    return token_of(who(), told or new_secret(), READS if read_only else ACTS)


def _begun(serving: Serving, port: int, *, fresh: bool, as_json: bool) -> None:
    """The link has the token in it only where that was made here: one of a file or the environment is known."""
    url = serving.url(port)
    one = next(iter(serving.tokens.people), None)
    link = f"{url}enter?token={one.secret}" if fresh and one else url
    if as_json:
        click.echo(json.dumps({"url": link, "address": serving.address, "port": port}))
        return
    click.echo(link)
    if fresh and one:
        click.echo(f"as {one.name}, who may {'act' if one.acts else 'look'}; Ctrl-C ends it", err=True)


def _tell(text: str) -> None:
    click.echo(text, err=True)
