"""All commands by name, and what is done with an error that comes out of one."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from ciflow import __version__
from ciflow.diagnostics import CiflowError, ExitCode, Invalid

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _apply() -> click.Command:
    from ciflow.cli.apply import command

    return command


def _plan() -> click.Command:
    from ciflow.cli.plan import command

    return command


def _graph() -> click.Command:
    from ciflow.cli.graph import command

    return command


def _validate() -> click.Command:
    from ciflow.cli.validate import command

    return command


def _resume() -> click.Command:
    from ciflow.cli.resume import command

    return command


def _rollback() -> click.Command:
    from ciflow.cli.rollback import command

    return command


def _rollout() -> click.Command:
    from ciflow.cli.rollout import command

    return command


def _pause() -> click.Command:
    from ciflow.cli.control import pause

    return pause


def _abort() -> click.Command:
    from ciflow.cli.control import abort

    return abort


def _promote() -> click.Command:
    from ciflow.cli.control import promote

    return promote


def _approve() -> click.Command:
    from ciflow.cli.control import approve

    return approve


def _schema() -> click.Command:
    from ciflow.cli.schema import command

    return command


def _status() -> click.Command:
    from ciflow.cli.status import command

    return command


def _history() -> click.Command:
    from ciflow.cli.history import command

    return command


def _show() -> click.Command:
    from ciflow.cli.show import command

    return command


def _report() -> click.Command:
    from ciflow.cli.report import command

    return command


def _logs() -> click.Command:
    from ciflow.cli.logs import command

    return command


def _inventory() -> click.Command:
    from ciflow.cli.inventory import command

    return command


def _vars() -> click.Command:
    from ciflow.cli.vars import command

    return command


def _vault() -> click.Command:
    from ciflow.cli.vault import group

    return group


def _cache() -> click.Command:
    from ciflow.cli.cache import group

    return group


def _affected() -> click.Command:
    from ciflow.cli.affected import command

    return command


def _distribute() -> click.Command:
    from ciflow.cli.distribute import group

    return group


def _artifact() -> click.Command:
    from ciflow.cli.artifact import group

    return group


def _test() -> click.Command:
    from ciflow.cli.test import command

    return command


def _flaky() -> click.Command:
    from ciflow.cli.flaky import group

    return group


def _scan() -> click.Command:
    from ciflow.cli.scan import command

    return command


def _sign() -> click.Command:
    from ciflow.cli.sign import sign

    return sign


def _attest() -> click.Command:
    from ciflow.cli.sign import attest

    return attest


def _verify() -> click.Command:
    from ciflow.cli.verify import command

    return command


def _keys() -> click.Command:
    from ciflow.cli.keys import group

    return group


def _sbom() -> click.Command:
    from ciflow.cli.sbom import group

    return group


def _evidence() -> click.Command:
    from ciflow.cli.evidence import command

    return command


def _licenses() -> click.Command:
    from ciflow.cli.licenses import group

    return group


def _reproduce() -> click.Command:
    from ciflow.cli.reproduce import command

    return command


def _explain() -> click.Command:
    from ciflow.cli.explain import command

    return command


def _doctor() -> click.Command:
    from ciflow.cli.doctor import command

    return command


def _doc() -> click.Command:
    from ciflow.cli.doc import command

    return command


def _init() -> click.Command:
    from ciflow.cli.init import command

    return command


def _export() -> click.Command:
    from ciflow.cli.export import command

    return command


def _completions() -> click.Command:
    from ciflow.cli.completions import command

    return command


# One line each: said by `ciflow --help` without loading the command.
COMMANDS: dict[str, tuple[Callable[[], click.Command], str]] = {
    "apply": (_apply, "Run a playbook, from its first play to the end of its rollout."),
    "plan": (_plan, "Show what a playbook would run, and where."),
    "graph": (_graph, "Draw the plays of a playbook: what waits for what."),
    "validate": (_validate, "Check playbooks without running anything."),
    "resume": (_resume, "Take up a run that was killed, paused or failed."),
    "rollback": (_rollback, "Bring the former version of a service back, now."),
    "rollout": (_rollout, "Simulate a rollout's steps and gates."),
    "pause": (_pause, "Hold a rollout where it is."),
    "abort": (_abort, "Turn a rollout back."),
    "promote": (_promote, "End the hold that a rollout is in and take the next step."),
    "approve": (_approve, "Answer a play that waits for somebody's yes."),
    "status": (_status, "Show what runs and which versions have the traffic."),
    "history": (_history, "List runs and releases."),
    "show": (_show, "Show what a run came to, on one screen."),
    "report": (_report, "Write a report of a run: a page, JUnit XML, JSON, or Markdown."),
    "logs": (_logs, "Show what a run, or one task of it, did and said."),
    "schema": (_schema, "JSON Schema of playbooks, their parts and modules, for editors."),
    "inventory": (_inventory, "Show hosts, groups and their variables."),
    "vars": (_vars, "Show the variables of a host, and where each comes from."),
    "vault": (_vault, "Encrypt, open and edit secrets in files, as ansible-vault does."),
    "affected": (_affected, "Name the crates of a Rust workspace that a change touches."),
    "test": (_test, "Run the tests of a Rust workspace."),
    "flaky": (_flaky, "Say which tests are flaky; keep the quarantine."),
    "cache": (_cache, "Set up, look at, try out or empty the cache of compiled crates."),
    "scan": (_scan, "Look packages up in databases of advisories."),
    "distribute": (_distribute, "Say whether builds have others compile."),
    "artifact": (_artifact, "List, fetch, keep and sweep what plays have left."),
    "sign": (_sign, "Vouch for a file with a key."),
    "attest": (_attest, "Say something of a file, signed."),
    "verify": (_verify, "Say who vouches for a file, and hold it against a policy."),
    "keys": (_keys, "Make, list, replace and call back keys that sign."),
    "reproduce": (_reproduce, "Build twice and say why what comes out is not the same."),
    "evidence": (_evidence, "Pack all that vouches for a release into one verified archive."),
    "sbom": (_sbom, "List what software is made of; compare, convert, check and judge such lists."),
    "licenses": (_licenses, "Check the licences of a workspace's crates, and write its notices."),
    "explain": (_explain, "Explain a diagnostic, with its usual fix."),
    "doc": (_doc, "Explain a module or a diagnostic."),
    "doctor": (_doctor, "Print the Roles that a playbook needs, or which settings of the compiler pay."),
    "init": (_init, "Write a first playbook and inventory."),
    "export": (_export, "Write the file of a CI server that runs a playbook."),
    "completions": (_completions, "Make a shell complete commands, options and values."),
}


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
