"""`ciflow interactive`: what is there, and what can be done about it, by number.

Nothing is done here that a command doesn't do: a choice becomes the words of one, which are shown and then run.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from ciflow.cli import choosing
from ciflow.cli.choosing import Left, line, yes
from ciflow.cli.offers import Offer, There, look, offers, positional
from ciflow.cli.options import state_option
from ciflow.diagnostics import CiflowError, ExitCode, Refused
from ciflow.report.text import safe
from ciflow.store.place import Place, default_state

INVENTORIES = ("inventory", "hosts", "inventory.ini", "inventory.yml", "inventory.yaml", "hosts.ini", "hosts.yml")
WAYS = "a number, `explain CODE` for a diagnostic, Enter to look again, q to leave"


@click.command("interactive")
@state_option
def command(state: Place | None) -> int:
    """Show what runs and what waits, and offer what can be done about it, with the command for each.

    Whatever changes something is asked about once, but a rollback: it begins as soon as it is chosen.
    """
    from ciflow.cli.terminal import terminal

    if not sys.stdout.isatty() or terminal(no_input=False) is None:
        raise Refused("there is no terminal to ask at", help="all of it are commands: `ciflow --help` lists them")
    try:
        while True:
            _turn(state)
    except (Left, KeyboardInterrupt):
        return ExitCode.OK


def _turn(state: Place | None) -> None:
    """One look, and one choice. Raises Left."""
    from ciflow.engine.who import who

    there = look(state or default_state())
    found = offers(there, who())
    for text in _screen(there, found, state or default_state()):
        click.echo(safe(text))
    while not (typed := _choice(found)):
        continue
    if isinstance(typed, Offer):
        _carry_out(typed, there, state)


def _choice(found: Sequence[Offer]) -> Offer | str:
    """What was chosen; "again" to look again; "" for nothing that is there."""
    typed = line("> ", ("explain ", "q"))
    if typed == "q":
        raise Left
    if not typed:
        return "again"
    if typed.isdecimal() and 1 <= int(typed) <= len(found):
        return found[int(typed) - 1]
    word, _, code = typed.partition(" ")
    if word == "explain" and code:
        return Offer("", ("explain", *positional(code.strip())))
    click.echo(f"{safe(typed)} is none of these: {WAYS}")
    return ""


def _screen(there: There, found: Sequence[Offer], place: Place) -> Iterator[str]:
    from ciflow.cli.history import run_line
    from ciflow.cli.status import found_in, lines_of

    now = time.time()
    yield ""
    yield from lines_of(found_in(place, ""), now)
    for event in there.approvals:
        approvers = ", ".join(event.data.get("approvers", ()))
        yield f"{event.run} waits for {approvers or 'somebody'} to answer: {event.data['prompt']}"
    for run in there.recent:
        yield run_line(run, now)
    yield ""
    for number, offer in enumerate(found, 1):
        yield f"{number:>3}  {offer.said:<58} {_command(offer.words) if offer.words else ''}".rstrip()
    yield WAYS


def _command(words: Sequence[str]) -> str:
    return shlex.join(("ciflow", *words))


def _carry_out(offer: Offer, there: There, state: Place | None) -> None:
    if not offer.words:
        return _apply(there, state)
    words = _with_state(offer.words, state)
    click.echo(f"$ {safe(_command(words))}")
    if not offer.asks or yes("Run it?"):
        _run(words)
    return None


def _with_state(words: Sequence[str], state: Place | None) -> tuple[str, ...]:
    """For the same journal, where the command line names it; the environment is the commands' as well."""
    source = click.get_current_context().get_parameter_source("state")
    if state is None or source is not ParameterSource.COMMANDLINE or words[0] == "explain":
        return tuple(words)
    return (words[0], f"--state={state}", *words[1:])


def _run(words: Sequence[str]) -> int:
    """In this process, as if it had been typed: Ctrl-C is the command's own, and only ends that."""
    from ciflow.cli.app import run

    code = run(words)
    if code:
        named = ExitCode(code).name.lower().replace("_", " ") if code in set(ExitCode) else "failed"
        click.echo(f"it ended with {code}: {named}")
    return code


# --- a playbook ----------------------------------------------------------------------------------------------


def _apply(there: There, state: Place | None) -> None:
    """A playbook that lies here, with choices of what it has. First in check mode, unless somebody won't."""
    playbook = choosing.one("which playbook", there.playbooks, none="none of them")
    if not playbook:
        return None
    try:
        words = _with_state(("apply", *_chosen(playbook), *positional(playbook)), state)
    except CiflowError as error:
        from ciflow.cli.app import tell

        return tell(error)
    check = (words[0], "--check", *words[1:])
    click.echo(f"$ {safe(_command(check))}")
    if yes("Try it first, changing nothing?", usual=True):
        _run(check)
    click.echo(f"$ {safe(_command(words))}")
    if yes("Run it?"):
        _run(words)
    return None


def _chosen(playbook: str) -> Iterator[str]:
    """Options. Raises CiflowError where the playbook can't be read."""
    from ciflow.cli.listing import Listing
    from ciflow.cli.options import inventory_of, roles_path
    from ciflow.engine.request import Request, planned

    there = [name for name in INVENTORIES if Path(name).exists()]
    inventory = choosing.one("which inventory", there, none="only this machine, or $ANSIBLE_INVENTORY") if there else ""
    yield from (f"--inventory={inventory}",) if inventory else ()
    plan = planned(Request(playbook, inventory_of((inventory,) if inventory else ()), roles_path=roles_path())).plan
    plays = tuple(dict.fromkeys(stage.play.name for stage in plan.stages))
    if len(plays) > 1:
        yield from (f"--play={name}" for name in choosing.several("which plays", plays, none="all"))
    tags = sorted({tag for play in Listing(tags=True).data(plan) for tag in (*play["tags"], *play["task_tags"])})
    if tags:
        yield from (f"--tags={tag}" for tag in choosing.several("which tags", tags, none="all tasks"))
    hosts = tuple(dict.fromkeys(host.name for stage in plan.stages for host in stage.hosts))
    if len(hosts) > 1 and (limit := choosing.several("which hosts", hosts, none="all")):
        yield f"--limit={','.join(limit)}"
