"""`ciflow watch PLAYBOOK`: a playbook again on each change of what it is about."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ciflow.cli.options import (
    inventory_of,
    json_option,
    options_of,
    playbook_options,
    roles_path,
    selection_of,
    state_option,
)
from ciflow.cli.passwords import vault_ids, vault_options, vault_said
from ciflow.cli.reaching import reach_options, reach_said
from ciflow.cli.reruns import Job, Prepared, Reruns
from ciflow.diagnostics import ExitCode, Refused
from ciflow.engine.request import Request, prepare
from ciflow.lang.files import Files
from ciflow.lang.passwords import nobody, read_vault
from ciflow.lang.used_files import used_paths
from ciflow.store.place import Place, default_state, state_home
from ciflow.watch.tree import Tree, checkout_of

OWN = ("plays", "restart", "poll", "folders", "quiet", "verbose", "as_json", "playbook")  # not said to the run
ASKING = ("ask_pass", "ask_become_pass", "ask_vault_pass")


def watch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How files are watched, and what a change does to a run that goes on."""
    for option in reversed(
        (
            click.option("-r", "--restart", is_flag=True, help="A change ends the run that goes on, as Ctrl-C does."),
            click.option("--poll", is_flag=True, help="Look twice a second instead of waiting for the system's word."),
            click.option(
                "--folder",
                "folders",
                multiple=True,
                type=click.Path(exists=True, file_okay=False, path_type=Path),
                help="Watch this folder instead of the project's; again for more.",
            ),
        )
    ):
        function = option(function)
    return function


@click.command("watch")
@click.argument("playbook")
@playbook_options
@vault_options
@watch_options
@click.option("-C", "--check", is_flag=True, help="Predict, change nothing.")
@click.option("-D", "--diff", is_flag=True, help="Show how files change.")
@click.option("--no-skip", is_flag=True, help="Run plays though a run before passed them with the same inputs.")
@reach_options
@click.option("-v", "--verbose", count=True, help="Every task; -vv their output too.")
@click.option("-q", "--quiet", is_flag=True, help="Failures and a line for each run only.")
@json_option
@state_option
def command(
    playbook: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str, plays: tuple[str, ...],
    tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at_task: str, restart: bool, poll: bool,
    folders: tuple[Path, ...], check: bool, diff: bool, no_skip: bool, verbose: int, quiet: bool, as_json: bool,
    state: Place | None,
) -> int:  # fmt: skip
    """Run a playbook, and again on each change of a file that matters, until q or Ctrl-C.

    It waits for no answer, and rolls nothing out that was not asked for with `--play`.
    """
    context = click.get_current_context()
    values = {**context.params, **vault_said(context), **reach_said(context)}
    if asking := [name for name in ASKING if values.get(name)]:
        raise Refused(f"nobody is asked while files are watched: --{asking[0].replace('_', '-')}",
                      help="name a file that holds the password, or a program that says it")  # fmt: skip
    chosen = replace(selection_of(limit, plays, tags, skip_tags, start_at_task), rollouts=False)
    options = options_of(check=check, diff=diff, no_skip=no_skip)
    request = Request(
        playbook, inventory_of(inventory), extra_vars, chosen, options, roles_path(), vault_ids=vault_ids()
    )
    tree = Tree(folders or (project_of(Path.cwd(), Path(playbook)),), apart_from(state))
    words = ["apply", "--json", "--no-input", "--no-notify", *words_of(context.command, values)]
    verbosity = -1 if quiet else verbose
    job = _Playbook(request, words, tree)
    return run_again(job, tree, restart=restart, poll=poll, verbosity=verbosity, as_json=as_json)


class _Playbook:
    """A Job."""

    def __init__(self, request: Request, words: Sequence[str], tree: Tree) -> None:
        self.what = request.playbook
        self._request = request
        self._words = words
        self._tree = tree
        self._read: tuple[str, ...] = (request.playbook,)

    def ready(self, changed: Sequence[str] | None) -> Prepared:  # noqa: ARG002
        files = Files.live(read_vault(self._request.vault_ids, nobody))
        try:
            loaded, plan = prepare(self._request, files)
            self._read = (*self._plain(files), *self._used(used_paths(loaded.playbook, loaded.roles, files)))
        except BaseException:
            self._read = (self._request.playbook, *self._plain(files))
            raise
        kept = {stage.play.id for stage in plan.stages}
        asked = self._request.selection.plays
        left_out = [play.name for play in loaded.playbook.plays if play.id not in kept and not asked]
        if not plan.stages:
            help = f"name what is meant: --play '{left_out[0]}'" if left_out else ""
            raise Refused(f"all plays of {self._request.playbook} roll out, or come after one that does", help=help)
        only = [f"--play={id}" for id in sorted(kept)] if len(kept) < len(loaded.playbook.plays) else []
        names = list(dict.fromkeys(stage.play.name for stage in plan.stages))
        rollouts = list(dict.fromkeys(stage.play.name for stage in plan.stages if stage.play.canary is not None))
        return Prepared((*self._words, *only, "--", self.what), names, left_out, rollouts)

    def files(self) -> Sequence[str]:
        return self._read

    def _plain(self, files: Files) -> Iterator[str]:
        """What was read of the disk: no folders, no outputs of programs."""
        return (path for path in files.snapshot() if path[-1:] != "/" and "\0" not in path)

    def _used(self, paths: Sequence[str]) -> Iterator[str]:
        """What the run reads later; but what lies in the project and is ignored there may be what it builds."""
        for path in paths:
            whole = os.path.normpath(Path(path).absolute())
            inside = any(Path(whole).is_relative_to(folder) for folder in self._tree.folders)
            if not inside or self._tree.holds(whole):
                yield path


def words_of(command: click.Command, values: Mapping[str, Any]) -> Iterator[str]:
    """The options as they were given, for another command that takes the same."""
    for option in command.params:
        value = values.get(option.name or "")
        if not isinstance(option, click.Option) or option.name in OWN or not value:
            continue
        name = max(option.opts, key=len)
        if option.is_flag:
            yield name
        else:
            yield from (f"{name}={one}" for one in (value if isinstance(value, tuple) else (value,)))


def project_of(here: Path, playbook: Path) -> Path:
    """The checkout that one stands in, else the folder; the playbook's where one stands at home, or above all."""
    if found := checkout_of(here.absolute()):
        return found
    beside = playbook.absolute().parent
    return checkout_of(beside) or beside if here in (Path.home(), Path("/")) else here


def apart_from(state: Place | None) -> list[Path]:
    """What a run writes whatever the playbook is: the folders of the journal, of its agents on this machine and of
    artifacts, and the files that what is said here goes to."""
    home, artifacts = Path.home(), os.environ.get("CIFLOW_ARTIFACT_STORE", "")
    found: list[object] = [state or default_state(), state_home(), home / ".local" / "state" / "ciflow"]
    found += [home / ".cache" / "ciflow"]
    found += [Path(artifacts)] if artifacts and "://" not in artifacts else []
    return [*(place for place in found if isinstance(place, Path)), *_said_to()]


def _said_to() -> Iterator[Path]:
    """Files that standard output and standard error are written to."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if (path := Path(f"/proc/self/fd/{number}").readlink()).is_file():
                yield path


def run_again(job: Job, tree: Tree, *, restart: bool, poll: bool, verbosity: int, as_json: bool) -> ExitCode:
    """Until somebody leaves, with the sinks and the keys that there are."""
    from ciflow.cli.screen import columns, is_screen
    from ciflow.cli.terminal import terminal
    from ciflow.report.console import wants_colour
    from ciflow.report.jsonl import JsonLines
    from ciflow.report.rerun import Reruns as Screen

    screen = Screen(
        sys.stderr, colour=wants_colour(sys.stderr), width=columns(sys.stderr), verbosity=verbosity,
        tty=is_screen(sys.stderr),
    )  # fmt: skip
    sink = JsonLines(sys.stdout) if as_json else screen
    again = Reruns(job, tree, [sink], screen.clear, restart=restart, by_clock=poll)
    return again.go(keys=not as_json and terminal(no_input=False) is not None)
