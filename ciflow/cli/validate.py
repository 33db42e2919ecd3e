"""`ciflow validate PLAYBOOK..`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from ciflow.cli.options import inventory_of, json_option, playbook_options, roles_path, selection_of
from ciflow.diagnostics import Diagnostic, ExitCode, Invalid


@click.command("validate")
@click.argument("playbooks", nargs=-1, required=True)
@playbook_options
@json_option
def command(
    playbooks: tuple[str, ...], inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str,
    tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at_task: str, as_json: bool,
) -> int:  # fmt: skip
    """Check playbooks: syntax, names, templates, variables. Every fault is said at once; nothing is run."""
    from ciflow.engine.start import Request, prepare
    from ciflow.lang.files import Files
    from ciflow.lang.snippets import render_diagnostics
    from ciflow.report.humane import counted

    code = ExitCode.OK
    chosen = selection_of(limit, tags, skip_tags, start_at_task)
    for playbook in playbooks:
        files = Files.live()
        try:
            loaded, plan = prepare(
                Request(playbook, inventory_of(inventory), extra_vars, chosen, roles_path=roles_path()), files
            )
        except Invalid as error:
            code = ExitCode.INVALID
            findings: Sequence[Diagnostic] = error.diagnostics
            said = ""
            sources = {**files.sources(), **error.sources}
        else:
            findings, sources = loaded.findings, files.sources()
            said = f"{playbook}: {counted(len(plan.stages), 'play')}, nothing wrong"
        if as_json:
            for finding in findings:
                click.echo(json.dumps(_data(finding)))
        elif findings:
            click.echo(render_diagnostics(findings, sources), err=True)
        if said and not as_json:
            click.echo(said, err=True)
    return code


def _data(finding: Diagnostic) -> dict[str, object]:
    span = finding.span
    place = {"file": span.file, "line": span.line, "column": span.column} if span else {}
    words = {"severity": finding.severity, "code": finding.code, "message": finding.message}
    return {**words, **place, "label": finding.label, "help": finding.help}
