"""Options that several commands share, under the names that people know from Ansible."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ciflow.diagnostics import NoSuch, Refused
from ciflow.store.place import Place, default_state, place_of

if TYPE_CHECKING:
    from ciflow.engine.context import Options
    from ciflow.plan import Selection

_TRUE = ("1", "true", "yes", "on", "y", "t")
F = TypeVar("F", bound=Callable[..., Any])


def state_option(function: F) -> F:
    """Where the journal is: a Place."""

    def placed(_context: click.Context, _option: click.Parameter, said: str | None) -> Place | None:
        return place_of(said) if said else None

    told = "Folder of the journal, or postgresql://HOST/DATABASE."
    return click.option("--state", callback=placed, envvar="CIFLOW_STATE", metavar="PLACE", help=told)(function)


def journal_of(state: Place | None) -> Place:
    """Where the journal of past runs is. Raises NoSuch where nothing has written one yet."""
    place = state or default_state()
    if not place.exists():
        raise NoSuch("nothing was run yet", help=f"there is no journal in {place}")
    return place


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Data for machines, one JSON value a line.")(function)


def playbook_options(function: F) -> F:
    """What chooses hosts, variables and tasks."""
    for option in reversed(
        (
            click.option(
                "-i", "--inventory", multiple=True, help="Inventory file, folder, script, or host list with commas."
            ),
            click.option("-e", "--extra-vars", multiple=True, help="key=value, JSON, or @file; wins over all else."),
            click.option("-l", "--limit", default="", help="Only hosts that match this pattern."),
            click.option("--play", "plays", multiple=True, metavar="NAME", help="Only this play and what it `needs`."),
            click.option("-t", "--tags", multiple=True, help="Only tasks with these tags (or all, tagged, untagged)."),
            click.option("--skip-tags", multiple=True, help="No tasks with these tags."),
            click.option("--start-at-task", default="", help="Begin with the task of this name."),
        )
    ):
        function = option(function)
    return function


def inventory_of(given: tuple[str, ...]) -> tuple[str, ...]:
    """`-i`, else $ANSIBLE_INVENTORY, else nothing: localhost alone."""
    if given:
        return given
    named = os.environ.get("ANSIBLE_INVENTORY", "")
    return tuple(part for part in named.split(",") if part)


def roles_path() -> tuple[str, ...]:
    """$ANSIBLE_ROLES_PATH: folders of roles, looked in after `roles/` beside the playbook."""
    named = os.environ.get("ANSIBLE_ROLES_PATH", "")
    return tuple(str(Path(part).expanduser()) for part in named.split(os.pathsep) if part)


def selection_of(
    limit: str, plays: tuple[str, ...], tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at: str
) -> Selection:
    from ciflow.plan import Selection

    return Selection(_words(tags), _words(skip_tags), limit, start_at, frozenset(plays))


def _words(given: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.strip() for part in given for word in part.split(",") if word.strip())


STRATEGIES = ("linear", "free", "host_pinned")
GATHERINGS = ("implicit", "explicit", "smart")


def _word(variable: str, given: str, known: tuple[str, ...], usual: str) -> str:
    """One of the words that an environment variable may hold."""
    word = given.removeprefix("ansible.builtin.") or usual
    if word not in known:
        raise Refused(f"{variable} can't be `{given}`", help=f"it is one of {', '.join(known)}")
    return word


def options_of(*, check: bool = False, diff: bool = False, forks: int = 0, verbose: int = 0,
               replace_warm: bool = False, break_glass: str = "", force_handlers: bool = False,
               step: bool = False, no_skip: bool = False, no_notify: bool = False, workers: str = "",
               traced: bool = False) -> Options:  # fmt: skip
    """How a run is asked for. `traced`: it is told to whom OTEL_* say, and its commands hear of it."""
    from ciflow.cli.telemetry import page, traced_as
    from ciflow.engine.context import Options
    from ciflow.engine.who import who

    trace, tracestate = traced_as() if traced else ("", "")
    return Options(
        check=check,
        diff=diff,
        forks=forks,
        verbosity=verbose,
        replace_warm=replace_warm,
        break_glass=break_glass,
        force_handlers=force_handlers or os.environ.get("ANSIBLE_FORCE_HANDLERS", "").lower() in _TRUE,
        step=step,
        no_skip=no_skip,
        no_notify=no_notify,
        workers=workers,
        strategy=_word("ANSIBLE_STRATEGY", os.environ.get("ANSIBLE_STRATEGY", ""), STRATEGIES, "linear"),
        gathering=_word("ANSIBLE_GATHERING", os.environ.get("ANSIBLE_GATHERING", ""), GATHERINGS, "smart"),
        who=who(),
        artifact_store=os.environ.get("CIFLOW_ARTIFACT_STORE", ""),
        ci=next((name for name in ("GITHUB_ACTIONS", "GITLAB_CI", "CI") if os.environ.get(name)), ""),
        trace=trace,
        tracestate=tracestate,
        page=page(),
    )
