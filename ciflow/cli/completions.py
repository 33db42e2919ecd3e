"""`ciflow completions SHELL`, and the answer to a shell whose user pressed TAB."""

from __future__ import annotations

import os
import re
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, ShellComplete, get_completion_class

from ciflow.cli.app import Commands, app
from ciflow.diagnostics import ExitCode

VARIABLE = "_CIFLOW_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_PLAIN = re.compile(r"([^\w@%+=:,./~-])")


@click.command("completions")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the lines that make SHELL complete commands, options and values of ciflow."""
    click.echo(offering(shell).source(), nl=False)
    return ExitCode.OK


def answer() -> int:
    """What `$_CIFLOW_COMPLETE` asks for (`bash_complete`), about the words that the shell put beside it."""
    shell, _, wanted = os.environ[VARIABLE].partition("_")
    if shell not in SHELLS or wanted != "complete" or not {"COMP_WORDS", "COMP_CWORD"} <= os.environ.keys():
        click.echo(f"error: ${VARIABLE} is set by the lines that `ciflow completions` prints", err=True)
        return ExitCode.INVALID
    click.echo(offering(shell).complete())
    return ExitCode.OK


class _Bash(BashComplete):
    """Click's, for words with blanks in them: its script reads a value with `read`, and inserts it as it is."""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        if item.type != "plain":
            return super().format_completion(item)
        quoted = _PLAIN.sub(r"\\\1", item.value)
        return f"plain,{quoted}".replace("\\", "\\\\")


class _Offering(Commands):
    """All commands, with what is known of the values of their parameters."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if isinstance(found, click.Group):
            for name, below in found.commands.items():
                _offer(f"{cmd_name} {name}", below)
        elif found is not None:
            _offer(cmd_name, found)
        return found


def _offer(name: str, command: click.Command) -> None:
    from ciflow.cli.values import Values, source_of

    for parameter in command.params:
        source = source_of(name, parameter.name or "")
        if source is not None and parameter.type is click.STRING:
            parameter.type = Values(source)


def offering(shell: str) -> ShellComplete:
    found = _Bash if shell == "bash" else get_completion_class(shell)
    if found is None:
        raise LookupError(shell)
    offering = _Offering("ciflow", params=app.params, context_settings=app.context_settings)
    return found(offering, {}, "ciflow", VARIABLE)
