"""`ciflow keys`: keys that sign are made, listed, replaced and called back."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ciflow.cli.options import json_option
from ciflow.cli.sign import asked_passphrase
from ciflow.diagnostics import NoSuch, Refused

if TYPE_CHECKING:
    from ciflow.supply.trust import Signer

_PLACE = click.Path(path_type=Path, resolve_path=True)
_PASSPHRASE = click.option("--passphrase-file", type=_PLACE, metavar="FILE", help="The file with its passphrase.")
_KIND = click.option("--kind", type=click.Choice(("ecdsa-p256", "ed25519")), default="ecdsa-p256", help="Which kind.")
_UNTIL = click.option("--until", default="", metavar="TIME", help="When it ends to be good: a date, or RFC 3339.")


@click.group("keys")
def group() -> None:
    """Make, list, replace and call back keys that sign. `signers.json` beside them, a policy, says which are good."""


@group.command("new")
@click.argument("key", type=_PLACE)
@_KIND
@_UNTIL
@_PASSPHRASE
def new(key: Path, kind: str, until: str, passphrase_file: Path | None) -> int:
    """Make a key: KEY (encrypted), KEY.pub, and its line in signers.json. A passphrase file that is missing is made."""
    from ciflow.modules.files import keyfile
    from ciflow.supply.keys import PublicKey
    from ciflow.supply.trust import Signer

    if key.exists():
        raise Refused(f"{key} is there already", help="`ciflow keys rotate` replaces a key")
    with _ours():
        ends = _time(until)
        keyfile.make(_wish(key, passphrase_file, twice=True), kind)
        public = PublicKey(key.with_name(f"{key.name}.pub").read_bytes())
        signer = Signer(keyfile.name_of(key, public), public, time.time(), ends)
        keyfile.remember(key.parent, keyfile.known(key.parent) | {signer.name: signer})
    click.echo(f"{signer.name}: {key}, {key}.pub; may sign by {key.parent / keyfile.SIGNERS}")
    return 0


@group.command("list")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@json_option
def listing(folder: Path, as_json: bool) -> int:
    """The keys that signers.json of a folder tells of."""
    from ciflow.modules.files import keyfile

    with _ours():
        signers = keyfile.known(folder)
    for one in signers.values():
        row = _row(one, time.time())
        words = "{name}  {state:8} {kind:10} {from} .. {until}  {revoked}".format(**row).rstrip()
        click.echo(json.dumps(row) if as_json else words)
    if not signers and not as_json:
        click.echo("no keys: `ciflow keys new` makes one", err=True)
    return 0


def _row(one: Signer, now: float) -> dict[str, str]:
    """A signer as data; a time that is not set is ""."""
    from ciflow.supply.times import stamp

    early, late = now < one.begins, now >= one.ends
    return {
        "name": one.name,
        "state": "revoked" if one.revoked else "expired" if late else "not yet" if early else "good",
        "kind": one.key.kind,
        "id": one.key.id,
        "from": stamp(one.begins) if one.begins else "",
        "until": stamp(one.ends) if one.ends != math.inf else "",
        "revoked": one.revoked,
    }


@group.command("rotate")
@click.argument("key", type=_PLACE)
@click.option("--overlap", default="30d", help="How long what the old key signed is still good.", show_default=True)
@_KIND
@_UNTIL
@_PASSPHRASE
def rotate(key: Path, overlap: str, kind: str, until: str, passphrase_file: Path | None) -> int:
    """Replace a key by a new one under its name and passphrase. The old one stays good for a while, beside it."""
    from ciflow.lang.kinds import duration
    from ciflow.modules.files import keyfile
    from ciflow.supply.keys import SigningKey
    from ciflow.supply.trust import Signer

    with _ours():
        wish, now, ends, stays = _wish(key, passphrase_file), time.time(), _time(until), duration(overlap)
        old, fresh = keyfile.opened(wish).public, SigningKey.fresh(kind)
        known = keyfile.known(key.parent)
        before = next((one for one in known.values() if one.key.id == old.id), Signer(keyfile.name_of(key, old), old))
        after = Signer(keyfile.name_of(key, fresh.public), fresh.public, now, ends)
        listed = known | {before.name: replace(before, ends=min(before.ends, now + stays)), after.name: after}
        keyfile.put(key.with_name(f"{before.name}.pem"), key.read_bytes(), 0o600)
        keyfile.remember(key.parent, listed)  # first who may sign, then who does: a kill between leaves both good
        keyfile.write(key, fresh.encrypted(keyfile.passphrase(wish)))
    click.echo(f"{after.name} signs from now on; {before.name} is good for {overlap} more ({before.name}.pem)")
    return 0


@group.command("revoke")
@click.argument("key")
@click.option("--reason", required=True, help="Why nothing that it ever signed is to count.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".",
              help="Where signers.json lies.")  # fmt: skip
def revoke(key: str, reason: str, folder: Path) -> int:
    """Call a key back, by its name in signers.json: whatever it signed, whenever, is refused from now on."""
    from ciflow.modules.files import keyfile

    with _ours():
        known = keyfile.known(folder)
        if key not in known:
            raise NoSuch(f"no key is called {key}", help=f"{folder / keyfile.SIGNERS} has {', '.join(known) or 'none'}")
        keyfile.remember(folder, known | {key: replace(known[key], revoked=reason)})
    click.echo(f"{key} is revoked: {reason}")
    return 0


@contextmanager
def _ours() -> Iterator[None]:
    """Faults of keys and files as errors that are said in plain words."""
    from ciflow.supply.errors import SupplyError

    try:
        yield
    except SupplyError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error


def _wish(key: Path, passphrase_file: Path | None, *, twice: bool = False) -> dict[str, Any]:
    asked = asked_passphrase(passphrase_file, twice=twice)
    return {"key": str(key), "passphrase": asked, "passphrase_file": str(passphrase_file or "")}


def _time(text: str) -> float:
    from ciflow.supply.times import seconds_of

    try:
        return seconds_of(text) if text else math.inf
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--until") from error
