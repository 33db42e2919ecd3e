"""`ciflow sign` and `ciflow attest`: vouch for a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import Refused
from ciflow.store.place import Place

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True)
_PLACE = click.Path(path_type=Path, resolve_path=True)
PASSPHRASE = "CIFLOW_KEY_PASSPHRASE"


def key_options(function: F, *, required: bool = True) -> F:
    """The private key, and where its passphrase comes from."""
    for option in reversed(
        (
            click.option("--key", type=_PLACE, required=required,
                         help="The private key: encrypted PEM (`ciflow keys`)."),
            click.option("--passphrase-file", type=_PLACE, metavar="FILE",
                         help=f"The file with its passphrase; else ${PASSPHRASE} is taken, or you are asked."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def asked_passphrase(file: Path | None, *, twice: bool = False) -> str:
    """What is typed, where neither a file nor the environment says it; "" where one of them does."""
    if file is not None or os.environ.get(PASSPHRASE):
        return ""
    from ciflow.cli.passwords import ask, ask_twice

    return (ask_twice if twice else ask)("Passphrase of the key: ", f"say --passphrase-file, or set {PASSPHRASE}")


def _options(function: F) -> F:
    for option in reversed(
        (
            click.argument("file", type=_FILE),
            partial(key_options, required=False),
            click.option("--keyless", is_flag=True, help="Instead of a key: as whom the CI says that the job is."),
            click.option("--fulcio", default="", metavar="URL", help="Who certifies that, instead of Sigstore."),
            click.option("--rekor", default="", metavar="URL", help="The log that it goes to, instead of Sigstore's."),
            click.option("--identity-token", type=_FILE, metavar="FILE", help="The CI's word, where it is in a file."),
            click.option("--dest", type=_PLACE, metavar="FOLDER", help="Where bundles go; beside the file by default."),
            json_option,
            state_option,
        )
    ):
        function = option(function)
    return function


@click.command("sign")
@_options
def sign(
    file: Path, key: Path | None, passphrase_file: Path | None, keyless: bool, fulcio: str, rekor: str,
    identity_token: Path | None, dest: Path | None, as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    """Vouch for a file: FILE.sigstore.json, a Sigstore bundle that cosign and openssl verify, too."""
    who = _keyless(key, fulcio, rekor, identity_token) if keyless else _key(key, passphrase_file)
    return _done("sign_keyless" if keyless else "sign", _asked(file, dest) | who, as_json, state)


@click.command("attest")
@_options
@click.option("--document", "documents", nargs=2, multiple=True, required=True, metavar="KIND FILE",
              help="What is said: cyclonedx, spdx, openvex, test-result or a predicate type; a JSON file.")  # fmt: skip
def attest(
    file: Path, key: Path | None, passphrase_file: Path | None, keyless: bool, fulcio: str, rekor: str,
    identity_token: Path | None, dest: Path | None, documents: tuple[tuple[str, str], ...],
    as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    """Say something of a file, signed: an in-toto statement in a Sigstore bundle for each document."""
    who = _keyless(key, fulcio, rekor, identity_token) if keyless else _key(key, passphrase_file)
    said = {str(Path(path).absolute()): kind for kind, path in documents}
    asked = _asked(file, dest) | who | {"sign_documents": said}
    return _done("attest_keyless" if keyless else "attest", asked, as_json, state)


def _asked(file: Path, dest: Path | None) -> dict[str, Any]:
    return {"sign_path": str(file), "sign_dest": str(dest or "")}


def _key(key: Path | None, passphrase_file: Path | None) -> dict[str, Any]:
    if key is None:
        raise Refused("who signs? Say --key KEY, or --keyless", help="`ciflow keys new KEY` makes one")
    return {
        "sign_key": str(key),
        "sign_passphrase": asked_passphrase(passphrase_file),
        "sign_passphrase_file": str(passphrase_file or ""),
    }


def _keyless(key: Path | None, fulcio: str, rekor: str, token: Path | None) -> dict[str, Any]:
    if key is not None:
        raise Refused("either --key or --keyless, not both")
    said = {"fulcio": fulcio, "rekor": rekor, "token_file": str(token or "")}
    return {"sign_keyless": {name: value for name, value in said.items() if value}}


def _done(playbook: str, asked: Mapping[str, Any], as_json: bool, state: Place | None) -> int:
    from ciflow.cli.working import work
    from ciflow.store.place import default_state
    from ciflow.store.store import Store

    with Store.open(state or default_state()) as store:
        code, last = work(playbook, asked, store, subject=str(asked["sign_path"]))
    told = last.outcome
    if as_json:
        click.echo(json.dumps(told))
    elif code:
        click.echo(f"error: {told.get('msg')}", err=True)
    else:
        click.echo(told["msg"])
        for path in [told["bundle"]] if "bundle" in told else told["attestations"].values():
            click.echo(f"  {path}")
    return code
