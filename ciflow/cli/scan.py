"""`ciflow scan`: what is known against the packages of a lock file or a bill of materials."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import ExitCode, NoSuch, Refused
from ciflow.store.place import Place
from ciflow.supply.errors import SupplyError
from ciflow.supply.policy import FAIL_ON, FILE

if TYPE_CHECKING:
    from ciflow.supply.findings import Finding
    from ciflow.supply.scan import Report

LAST = "LAST"
FORMS = ("human", "json", "sarif", "openvex", "cyclonedx-vex")
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("scan")
@click.argument("path", type=click.Path(exists=True, path_type=Path), default=".")
@click.option("--db", "databases", multiple=True, type=click.Path(path_type=Path),
              help="A database: RustSec's, or OSV's of an ecosystem; a folder or a zip. Again for more.")  # fmt: skip
@click.option("--online", is_flag=True, help="Ask OSV over the network, which tells it what there is here.")
@click.option("--target-os", multiple=True, help="Only what counts on this system (linux, ..); again for more.")
@click.option("--target-arch", multiple=True, help="Only what counts on this processor (x86_64, ..); again for more.")
@click.option("--fail-on", multiple=True, type=click.Choice(FAIL_ON), help="Fail on these; a severity and all above.")
@click.option("--policy", type=_file, help=f"What is passed over and why; {FILE} unless said.")
@click.option("--vex", multiple=True, type=_file, help="A VEX document that says what does no harm; again for more.")
@click.option(
    "--since", default="", metavar="LAST|FILE", help="Only what is new since the last scan, or since a report."
)
@click.option("--format", "form", type=click.Choice(FORMS), default="human", help="What to print.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file instead.")
@click.option("-v", "--verbose", is_flag=True, help="Show what was passed over, too.")
@json_option
@state_option
def command(
    path: Path, databases: tuple[Path, ...], online: bool, target_os: tuple[str, ...], target_arch: tuple[str, ...],
    fail_on: tuple[str, ...], policy: Path | None, vex: tuple[Path, ...], since: str, form: str, output: Path | None,
    verbose: bool, as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    """Look up the packages of a workspace's Cargo.lock, of another lock file, or of a bill of materials. Asks no
    network but with --online. Exit code 4 when something was found that --fail-on or the policy names (any
    vulnerability unless said)."""
    from ciflow.modules.files.scan import Wish, scanned, written

    subject = path / "Cargo.lock" if path.is_dir() else path
    kept = _kept(subject, state)
    chosen = policy or subject.absolute().parent / FILE
    wish = Wish(
        text=_text(subject),
        path=os.path.relpath(subject),
        now=time.time(),
        policy=_text(chosen) if policy or chosen.exists() else "",
        policy_path=str(chosen),
        vex={str(one): _text(one) for one in vex},
        since=_earlier(since, kept),
        databases=[str(one) for one in databases],
        online=online,
        platforms=[*(f"os {one}" for one in target_os), *(f"arch {one}" for one in target_arch)],
        fail_on=fail_on,
    )
    try:
        report = scanned(wish)
        form = "json" if as_json else form
        shown = "\n".join(_shown(report, verbose)) + "\n" if form == "human" else written(report, form)
    except SupplyError as error:
        raise Refused(str(error)) from error
    _keep(kept, report)
    if output is None:
        click.echo(shown, nl=False)
    else:
        output.write_text(shown)
    if report.failing:
        click.echo(f"error: {_verdict(report)}", err=True)
    return ExitCode.TASK_FAILED if report.failing else ExitCode.OK


def _text(path: Path) -> str:
    """Bytes that are no UTF-8 stay what they are (PEP 383): a bill may be a binary one."""
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError as error:
        help = "name a lock file, its folder, or a bill"
        raise NoSuch(f"{path}: {error.strerror}", help=help) from error


def _kept(subject: Path, state: Place | None) -> Path:
    """Where the last report on this file lies."""
    from ciflow.store.place import default_state, folder_of

    name = hashlib.sha256(str(subject.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return folder_of(state or default_state()) / "scans" / f"{name}.json"


def _earlier(since: str, kept: Path) -> str:
    if not since:
        return ""
    if since != LAST:
        return _text(Path(since))
    if not kept.exists():
        raise NoSuch("nothing was scanned here before, so nothing is new", help="scan once without --since LAST")
    return _text(kept)


def _keep(kept: Path, report: Report) -> None:
    """Beside its place first, so that a later scan never reads half of it."""
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = kept.with_name(f".{kept.name}.{os.getpid()}")
    fresh.write_text(json.dumps(report.data()))
    fresh.replace(kept)


# --- for people -----------------------------------------------------------------------------------------


def _shown(report: Report, verbose: bool) -> Iterator[str]:
    """Each finding in a paragraph, the worst first; then all of it in one line."""
    from ciflow.report.humane import counted
    from ciflow.report.text import safe

    file = str(report.subject["path"])
    for one in report.findings:
        if (one.is_open or verbose) and (one.new or not report.new_only):
            yield from (safe(line) for line in _finding(one, file))
            yield ""
    for remark in report.said:
        yield safe(f"note: {remark}")
    news = " (only what is new is shown)" if report.new_only else ""
    known = sum(int(one["advisories"]) for one in report.databases)
    yield safe(f"{file}: {report.sentence()}; {counted(known, 'advisory', 'advisories')} asked{news}")


def _finding(one: Finding, file: str) -> Iterator[str]:
    score = f" {one.score:.1f}" if one.score is not None else ""
    what = f"{one.severity}{score}" if one.kind == "vulnerability" else one.kind
    why = f": {one.reason}" if one.reason else ""
    state = "" if one.is_open else f"  [{one.state.replace('_', ' ')}{why}]"
    yield f"{one.package} {one.version}  {what}  {one.id}{state}"
    yield f"  {one.title}"
    if one.kind in ("vulnerability", "unsound"):
        fix = f"fixed in {' or '.join(one.fixed)}" if one.fixed else "no fixed version is known"
        yield f"  {fix}{'; only ' + ', '.join(one.only) if one.only else ''}"
    place = f"{file}:{one.line}" if one.line else file
    yield f"  {' -> '.join(one.chain) or 'nothing here leads to it'}  ({place})"
    if one.url:
        yield f"  {one.url}"


def _verdict(report: Report) -> str:
    number = len(report.failing)
    new = "new " if report.new_only else ""
    what = f"{new}finding fails" if number == 1 else f"{new}findings fail"
    return f"{number} {what} on {', '.join(report.fail_on)}"
