"""The command line as a whole: which command is meant, and what is done with an error that comes out of it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ciflow import __version__
from ciflow.cli.commands import COMMANDS
from ciflow.diagnostics import CiflowError, ExitCode, Invalid

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        return entry[0]() if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise click.UsageError(f"no command `{args[0]}`{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        named = [CompletionItem(name, help=said) for name, (_, said) in COMMANDS.items() if name.startswith(incomplete)]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="ciflow %(version)s")
def app() -> None:
    """One YAML playbook takes a project from commit to all of production traffic; one command takes it back."""


def run(argv: Sequence[str]) -> int:
    """Run one command. Every error that is ours is said in plain words; others are a bug, and say so.

    A reader that went away (`ciflow history | head -1`) is no error.
    """
    try:
        return _run(argv)
    except BrokenPipeError:
        silence()
        return ExitCode.OK


def _run(argv: Sequence[str]) -> int:
    try:
        with app.make_context("ciflow", list(argv)) as context:
            result = app.invoke(context)
        return int(result) if isinstance(result, int) else ExitCode.OK
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return ExitCode.INVALID
    except click.ClickException as error:
        _tell_usage(error)
        return ExitCode.INVALID
    except (click.exceptions.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except CiflowError as error:
        tell(error)
        return error.exit_code
    except OSError as error:
        if error.errno != errno.ENOSPC:
            return _bug()
        click.echo(f"error: the output can't be written: {error.strerror}", err=True)
        return ExitCode.INTERNAL
    except Exception:
        return _bug()


def silence() -> None:
    """Python flushes both streams once more at exit: let that go nowhere instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def tell(error: CiflowError) -> None:
    """An error for people, on stderr."""
    if isinstance(error, Invalid) and error.diagnostics:
        from ciflow.lang.snippets import render_diagnostics

        click.echo(render_diagnostics(error.diagnostics, error.sources), err=True)
        return
    from ciflow.report.text import safe

    click.echo(f"error: {safe(error.message)}", err=True)
    if error.help:
        click.echo(f"  = {safe(error.help)}", err=True)


def _tell_usage(error: click.ClickException) -> None:
    """In the same form as all other errors."""
    from ciflow.report.text import safe

    click.echo(f"error: {safe(error.format_message())}", err=True)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        click.echo(f"  = `{context.command_path} --help` says what it takes", err=True)


def _bug() -> int:
    import traceback

    traceback.print_exc()
    click.echo("\nThis is a fault of ciflow itself, not of your playbook. The lines above say where.", err=True)
    return ExitCode.INTERNAL
