"""`ciflow sbom [PATH]`, and `diff convert validate merge report` over documents that exist."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ciflow.cli.options import json_option
from ciflow.cli.sign import PASSPHRASE, asked_passphrase, key_options
from ciflow.collecting import without_collection
from ciflow.diagnostics import ExitCode, NoSuch, Refused

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ciflow.supply.fields import Reading
    from ciflow.supply.model import Bom, Creation

F = TypeVar("F", bound=Callable[..., Any])
FORMAT = "cyclonedx-json"


class _Group(click.Group):
    """Where no command of the group is named, the words are those of `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and ctx.resilient_parsing:  # a shell asks which words there are
            return super().parse_args(ctx, args)
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args.insert(0, "list")
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return super().shell_complete(ctx, incomplete) or [CompletionItem(incomplete, type="file")]


@click.group("sbom", cls=_Group)
def group() -> None:
    """What software is made of: list it, or look at bills of materials that exist. `ciflow sbom PATH` lists."""


def _format_option(function: F) -> F:
    return click.option(
        "--format", "form", default=FORMAT, metavar="FORMAT", show_default=True,
        help="cyclonedx-json, -xml, -proto (1.7, or @1.6), spdx-json, -tag, -xml, -yaml, -rdf (2.3), spdx3-json.",
    )(function)  # fmt: skip


def _output_option(function: F) -> F:
    return click.option(
        "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there; else to the screen."
    )(function)


@group.command("list")
@click.argument("path", default=".")
@_format_option
@_output_option
@click.option("--explain", metavar="CRATE", help="Say why this component is in, instead.")
@click.option("--lock-only", is_flag=True, help="From the lock file alone: quicker, and more than is built.")
@click.option("-p", "--package", multiple=True, help="Only this package of the workspace; again for more.")
@click.option("-F", "--features", multiple=True, help="Features that the build turns on.")
@click.option("--all-features", is_flag=True, help="The build turns on all features.")
@click.option("--no-default-features", is_flag=True, help="The build has no default features.")
@click.option("--target", default="", metavar="TRIPLE", help="The platform it is built for.")
@click.option("--built", multiple=True, metavar="FILE", help="A file that the build made and that is handed out.")
@click.option("--name", help="What to call it.")
@click.option("--version", help="Which version it is.")
@click.option("--author", multiple=True, metavar="'NAME <ADDRESS>'", help="Who answers for the document.")
@click.option("--supplier", metavar="'NAME <ADDRESS>'", help="Who hands it out, with an e-mail or URL.")
def list_(
    path: str, form: str, output: Path | None, explain: str | None, lock_only: bool, package: tuple[str, ...],
    features: tuple[str, ...], all_features: bool, no_default_features: bool, target: str, built: tuple[str, ...],
    name: str | None, version: str | None, author: tuple[str, ...], supplier: str | None,
) -> int:  # fmt: skip
    """List what PATH is made of: a Rust workspace, a lock file, a program, a folder or an image."""
    from ciflow.cli.sbom_subject import Asked, bill

    asked = Asked(
        path, lock_only, package, tuple(one for text in features for one in text.replace(",", " ").split()),
        all_features, not no_default_features, target, built, name, version, supplier,
    )  # fmt: skip
    with without_collection():
        bom = bill(asked)
        if not explain:
            return _write(bom, _creation(author, supplier), form, output)
    from ciflow.cli.sbom_show import reasons

    for line in reasons(bom, explain):
        _say(line)
    return ExitCode.OK


def _say(line: str, *, err: bool = False) -> None:
    """What a document says may hold anything, also what a terminal would obey."""
    from ciflow.report.text import safe

    click.echo(safe(line), err=err)


def _creation(authors: Sequence[str], supplier: str | None) -> Creation:
    from ciflow import __version__
    from ciflow.supply.model import Creation
    from ciflow.supply.parties import parse_party

    people = tuple(party for one in authors if (party := parse_party(one)))
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told and not told.isdecimal():
        raise Refused(f"SOURCE_DATE_EPOCH is {told!r}; it is a number of seconds since 1970")
    return Creation(int(told or time.time()), __version__, people, supplier=parse_party(supplier or ""))


def _write(bom: Bom, creation: Creation, form: str, output: Path | None) -> int:
    from ciflow.supply import formats
    from ciflow.supply.errors import SupplyError

    try:
        content = formats.emit(bom, creation, form)
    except SupplyError as error:
        raise Refused(str(error)) from error
    if output is None:
        sys.stdout.buffer.write(content)
        return ExitCode.OK
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(content)
    except OSError as error:
        raise Refused(f"{output} can't be written: {error.strerror}") from error
    click.echo(f"{output}: {len(bom.components)} components", err=True)
    return ExitCode.OK


def _read(path: str) -> tuple[str, Reading]:
    """A document by its path; `-` is standard input."""
    from ciflow.supply import formats
    from ciflow.supply.errors import SupplyError

    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise NoSuch(f"{path} can't be read: {error.strerror}") from error
    try:
        return formats.read(content)
    except SupplyError as error:
        raise NoSuch(f"{path}: {error}", help="`ciflow sbom validate` says what is wrong with a document") from error


@group.command("diff")
@click.argument("old")
@click.argument("new")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when anything differs.")
@json_option
def diff(old: str, new: str, detailed_exitcode: bool, as_json: bool) -> int:
    """What changed from OLD to NEW: added, removed, upgraded, downgraded, and the same version with other contents."""
    from ciflow.cli.sbom_show import change_data, change_line
    from ciflow.supply.differ import compare

    changes = compare(_read(old)[1].bom, _read(new)[1].bom)
    for change in changes:
        _say(json.dumps(change_data(change)) if as_json else change_line(change))
    if not changes and not as_json:
        click.echo("no difference")
    return ExitCode.CHANGES_PENDING if changes and detailed_exitcode else ExitCode.OK


@group.command("convert")
@click.argument("document")
@_format_option
@_output_option
def convert(document: str, form: str, output: Path | None) -> int:
    """Write DOCUMENT in another format; what there is no room for is told."""
    _, reading = _read(document)
    for path in reading.left_out:
        _say(f"left out: {path}", err=True)
    return _write(reading.bom, reading.creation, form, output)


@group.command("sign")
@click.argument("document", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@key_options
@_output_option
def sign(document: Path, key: Path, passphrase_file: Path | None, output: Path | None) -> int:
    """Put a signature into DOCUMENT (CycloneDX in JSON), where readers of the format look for it."""
    from ciflow.supply import jsf
    from ciflow.supply.errors import SupplyError
    from ciflow.supply.keys import SigningKey

    typed = asked_passphrase(passphrase_file)
    said = passphrase_file.read_text().strip() if passphrase_file else typed or os.environ.get(PASSPHRASE, "")
    try:
        content = jsf.sign(document.read_bytes(), SigningKey(key.read_bytes(), said.encode()))
    except SupplyError as error:
        raise Refused(f"{document}: {error}") from error
    except OSError as error:
        raise NoSuch(f"{error.filename} can't be read: {error.strerror}") from error
    (output or document).write_bytes(content)
    return ExitCode.OK


@group.command("validate")
@click.argument("documents", nargs=-1, required=True)
@click.option("--signed-by", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PUBLIC",
              help="Each must be signed, inside, by this key.")  # fmt: skip
@json_option
def validate(documents: tuple[str, ...], signed_by: Path | None, as_json: bool) -> int:
    """Check documents: their format, and what validators let pass (identifiers, hashes, relations). Wrong: exit 3."""
    from ciflow.supply.validity import check

    code = ExitCode.OK
    for path in documents:
        try:
            form, reading = _read(path)
            if signed_by:
                _verify(path, signed_by)
        except NoSuch as error:
            _say(json.dumps({"document": path, "error": error.message}) if as_json else f"error: {error.message}")
            code = ExitCode.INVALID
            continue
        findings = check(reading.bom)
        for one in findings:
            data = {"document": path, "ref": one.ref, "message": one.message, "severity": _severity(one.grave)}
            _say(json.dumps(data) if as_json else f"{_severity(one.grave)}: {path}: {one.ref}: {one.message}")
        if any(one.grave for one in findings):
            code = ExitCode.INVALID
        elif not as_json:
            click.echo(f"{path}: {form} {reading.version}, {len(reading.bom.components)} components")
    return code


def _verify(path: str, signed_by: Path) -> None:
    from ciflow.supply import jsf
    from ciflow.supply.errors import SupplyError
    from ciflow.supply.keys import PublicKey

    try:
        jsf.verify(Path(path).read_bytes(), PublicKey(signed_by.read_bytes()))
    except SupplyError as error:
        raise NoSuch(f"{path}: {error}") from error


def _severity(grave: bool) -> str:
    return "error" if grave else "warning"


@group.command("merge")
@click.argument("documents", nargs=-1, required=True)
@click.option("--name", required=True, help="What to call the whole.")
@click.option("--version", help="Which version it is.")
@click.option("--author", multiple=True, metavar="'NAME <ADDRESS>'", help="Who answers for the document.")
@click.option("--supplier", metavar="'NAME <ADDRESS>'", help="Who hands it out, with an e-mail or URL.")
@_format_option
@_output_option
def merge(
    documents: tuple[str, ...], name: str, version: str | None, author: tuple[str, ...], supplier: str | None,
    form: str, output: Path | None,
) -> int:  # fmt: skip
    """One document of several."""
    from ciflow.supply.errors import SupplyError
    from ciflow.supply.merge import merge as merged

    boms = [_read(path)[1].bom for path in documents]
    try:
        whole = merged(boms, name, version)
    except SupplyError as error:
        raise Refused(str(error)) from error
    return _write(whole, _creation(author, supplier), form, output)


@group.command("report")
@click.argument("document")
@click.option("--profile", "chosen", multiple=True, help="Only this one of quality, ntia, cisa, bsi; again for more.")
@click.option("--require", multiple=True, help="Exit 4 unless this profile is met in full; again for more.")
@json_option
def report(document: str, chosen: tuple[str, ...], require: tuple[str, ...], as_json: bool) -> int:
    """What NTIA, CISA and BSI ask of DOCUMENT, how much of it is there, and what is missing where."""
    from ciflow.cli.sbom_show import report_data, report_lines
    from ciflow.supply.quality import PROFILES, Facts, judge

    unknown = [name for name in (*chosen, *require) if name not in PROFILES]
    if unknown:
        raise NoSuch(f"{unknown[0]} is no profile; there are {', '.join(PROFILES)}")
    form, reading = _read(document)
    facts = Facts(
        reading.bom, reading.creation, form, reading.version, reading.identified, reading.signed,
        reading.vulnerabilities,
    )  # fmt: skip
    reports = [judge(facts, profile) for profile in dict.fromkeys((*(chosen or PROFILES), *require))]
    for one in reports:
        for line in [json.dumps(report_data(one))] if as_json else report_lines(one):
            _say(line)
    failed = any(one.profile in require and not one.passed for one in reports)
    return ExitCode.TASK_FAILED if failed else ExitCode.OK
