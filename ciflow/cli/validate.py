"""`ciflow validate PLAYBOOK..`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import click

from ciflow import __version__
from ciflow.cli.options import inventory_of, json_option, playbook_options, roles_path, selection_of
from ciflow.cli.passwords import ask, vault_ids, vault_options
from ciflow.diagnostics import Diagnostic, ExitCode, Invalid
from ciflow.engine.request import Request, prepare
from ciflow.lang.passwords import read_vault
from ciflow.lang.vault import Vault


@click.command("validate")
@click.argument("playbooks", nargs=-1, required=True)
@playbook_options
@vault_options
@click.option("--strict", is_flag=True, help="Warnings and hints are errors.")
@click.option("--format", "form", type=click.Choice(("human", "json", "sarif", "github")), default="human",
              help="For people on stderr, or on stdout: JSON lines, SARIF 2.1.0, annotations of GitHub.")  # fmt: skip
@json_option
def command(
    playbooks: tuple[str, ...], inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str,
    plays: tuple[str, ...], tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at_task: str, strict: bool,
    form: str, as_json: bool,
) -> int:  # fmt: skip
    """Check playbooks: syntax, names, templates, variables, and the lints of the house. Every fault is said at once;
    nothing is run."""
    chosen = selection_of(limit, plays, tags, skip_tags, start_at_task)
    every: list[Diagnostic] = []
    vault = read_vault(vault_ids(), ask)
    for playbook in playbooks:
        request = Request(playbook, inventory_of(inventory), extra_vars, chosen, roles_path=roles_path())
        found, sources, count = _checked(request, vault)
        found = tuple(replace(one, severity="error") for one in found) if strict else found
        every += found
        if form == "human" and not as_json:
            _say(playbook, found, sources, count)
    if form != "human" or as_json:
        click.echo(_written("json" if as_json else form, tuple(dict.fromkeys(every))), nl=False)
    return ExitCode.INVALID if any(one.is_error for one in every) else ExitCode.OK


def _checked(request: Request, vault: Vault) -> tuple[tuple[Diagnostic, ...], Mapping[str, str], int]:
    """What is wrong with a playbook, the texts it was read from, and how many plays it would run."""
    from ciflow.lang.files import Files

    files = Files.live(vault)
    try:
        loaded, plan = prepare(request, files, lints=True)
    except Invalid as error:
        return error.diagnostics, {**files.sources(), **error.sources}, 0
    return loaded.findings, files.sources(), len(plan.stages)


def _say(playbook: str, found: tuple[Diagnostic, ...], sources: Mapping[str, str], plays: int) -> None:
    from ciflow.lang.snippets import render_diagnostics
    from ciflow.report.humane import counted

    if found:
        click.echo(render_diagnostics(found, sources), err=True)
    if not any(one.is_error for one in found):
        click.echo(f"{playbook}: {counted(plays, 'play')}, {'no errors' if found else 'nothing wrong'}", err=True)


def _written(form: str, found: tuple[Diagnostic, ...]) -> str:
    from ciflow.lang.codes import CODES, EXPLAINED
    from ciflow.report.findings import as_github, as_json, as_sarif

    if form == "sarif":
        return as_sarif(found, __version__, {code: (CODES[code], EXPLAINED[code]) for code in CODES})
    return as_github(found) if form == "github" else as_json(found)
