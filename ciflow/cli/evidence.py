"""`ciflow evidence RELEASE`: one verified archive of all that vouches for a release."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ciflow.cli.options import journal_of, json_option, state_option
from ciflow.cli.sign import asked_passphrase
from ciflow.diagnostics import ExitCode, NoSuch, Refused
from ciflow.store.folds import Release, history
from ciflow.store.place import Place
from ciflow.store.store import Store

_PLACE = click.Path(path_type=Path, resolve_path=True)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True)


@click.command("evidence")
@click.argument("release")
@click.option("-o", "--output", type=_PLACE, metavar="FILE", help="The archive; else SERVICE-VERSION.evidence.tar.")
@click.option("--policy", type=_FILE, help="Hold signatures against this policy; else against the run's own keys.")
@click.option("--key", type=_PLACE, help="Sign the archive with this key.")
@click.option("--passphrase-file", type=_PLACE, metavar="FILE", help="The file with its passphrase.")
@click.option("--complete", is_flag=True, help="Refuse a release that lacks some kind of evidence.")
@click.option("--check", is_flag=True, help="RELEASE is an archive: is it whole, and signed as --policy says?")
@json_option
@state_option
def command(
    release: str, output: Path | None, policy: Path | None, key: Path | None, passphrase_file: Path | None,
    complete: bool, check: bool, as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    """Pack all that vouches for a release: bills of materials, scans, signatures, provenance, tests, gates, approvals.

    RELEASE is a version, SERVICE/VERSION, or the run that released it.
    """
    from ciflow.supply.errors import SupplyError

    try:
        if check:
            return _check(Path(release), policy, as_json)
        return _make(release, output, policy, (key, passphrase_file), complete, as_json, state)
    except SupplyError as error:
        click.echo(f"error: {error}", err=True)
        return ExitCode.TASK_FAILED


def _make(
    named: str, output: Path | None, policy: Path | None, key: tuple[Path | None, Path | None], complete: bool,
    as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    from ciflow.modules.files.keyfile import put
    from ciflow.modules.files.verify import policy_at
    from ciflow.report.evidence import Kept, gather
    from ciflow.store.artifacts import open_shelf
    from ciflow.supply.evidence import pack

    with Store.open(journal_of(state), read_only=True) as store:
        found = _release(store, named)
        events = list(store.events(run=found.run))
        wanted = policy_at(str(policy)) if policy else None
        kept = Kept(store.blobs.get, lambda digest: open_shelf(store.path).take(digest).read_bytes())
        gathered = gather(asdict(found), events, kept, wanted, time.time())
    if gathered.faults or (complete and gathered.missing):
        lacking = [f"{found.service} {found.version} has no {kind}" for kind in gathered.missing] if complete else []
        raise Refused("\n".join((*gathered.faults, *lacking)), help="no archive was written")
    archive = pack(gathered.about, gathered.files)
    target = output or Path(f"{found.service}-{found.version}.evidence.tar".replace("/", "_"))
    put(target, archive, 0o644)
    bundle = _signed(target, archive, *key)
    _tell({"archive": str(target), "bundle": bundle, "files": len(gathered.files), **gathered.about}, as_json)
    return ExitCode.OK


def _release(store: Store, named: str) -> Release:
    """The newest release that is meant. NoSuch where there is none, or where two services have that version."""
    service, _, version = named.rpartition("/")
    known = history(store, service)
    found = [one for one in known if version in (one.version, one.run)]
    services = sorted({one.service for one in found})
    if len(services) > 1:
        each = " or ".join(f"{one}/{version}" for one in services)
        raise NoSuch(f"{named} is a release of several services", help=f"say {each}")
    if not found:
        there = ", ".join(f"{one.service}/{one.version}" for one in known[:5]) or "none"
        raise NoSuch(f"no release is called {named}", help=f"there are: {there}")
    return found[0]


def _signed(target: Path, archive: bytes, key: Path | None, passphrase_file: Path | None) -> str:
    """The bundle beside the archive; "" where nobody is to sign it."""
    if key is None:
        return ""
    from ciflow.modules.files import keyfile
    from ciflow.supply.bundle import sign_blob, signature_name

    asked = asked_passphrase(passphrase_file)
    said = {"key": str(key), "passphrase": asked, "passphrase_file": str(passphrase_file or "")}
    bundle = target.with_name(signature_name(target.name))
    keyfile.put(bundle, sign_blob(archive, keyfile.opened(said)), 0o644)
    return str(bundle)


def _check(archive: Path, policy: Path | None, as_json: bool) -> int:
    """Whether an archive is whole, and by whom. Without a policy nobody vouches for it but itself."""
    from ciflow.modules.files.verify import judged, policy_at
    from ciflow.supply.evidence import MOST_BYTES, unpack

    if not archive.is_file():
        raise NoSuch(f"no archive is at {archive}")
    with archive.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    about, files = unpack(content)
    signers: list[str] = []
    if policy is not None:
        signers = judged(content, archive.name, archive.absolute().parent, policy_at(str(policy)), time.time()).signers
    _tell({"archive": str(archive), "files": len(files), **about, "signed_by": signers}, as_json)
    return ExitCode.OK


def _tell(told: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(told))
        return
    release = told["release"]
    what = f"{release['service']} {release['version']} ({release['run']})"
    click.echo(f"{told['archive']}: {told['files']} files about {what}")
    for one in told["vouched"]:
        click.echo(f"  {one['name']}: signed by {', '.join(one['signers'])}, held against {told['held_against']}")
    for kind in told["missing"]:
        click.echo(f"  missing: {kind}")
    if "signed_by" in told:
        click.echo(f"  the archive is whole; signed by {', '.join(told['signed_by']) or 'nobody that was asked for'}")
