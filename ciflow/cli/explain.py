"""`ciflow explain CODE`."""

from __future__ import annotations

import click

from ciflow.diagnostics import ExitCode, NoSuch


@click.command("explain")
@click.argument("code")
def command(code: str) -> int:
    """Explain a diagnostic by its CODE (CF0102): what it means, and its usual fix."""
    click.echo(explained(code), nl=False)
    return ExitCode.OK


def explained(code: str) -> str:
    """The code's section of the page of diagnostics, as plain text."""
    from ciflow.lang.codes import CODES, section

    known = code.upper()
    if known not in CODES:
        raise NoSuch(f"no diagnostic has the code {code}", help="docs/diagnostics.md lists them")
    lines: list[str] = []
    inside = False
    for line in section(known).removeprefix("## ").splitlines():
        if line.startswith("```"):
            inside = not inside
        else:
            lines.append(f"    {line}" if inside else line)
    return "\n".join(lines) + "\n"
