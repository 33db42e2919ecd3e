"""Every command and every option of the command line is in the manual, and the manual names no other."""

from __future__ import annotations

import re

import click
import pytest

from ciflow.cli.commands import COMMANDS
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "commands.md").read_text()
HEAD, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
TEXTS = {name: text for text in SECTIONS for name in text.split("\n", 1)[0].split(", ")}


def commands() -> dict[str, click.Command]:
    """Every command by its words: those of a group as `rollout simulate`."""
    found: dict[str, click.Command] = {}
    for name, (load, _) in COMMANDS.items():
        command = load()
        below = command.commands.items() if isinstance(command, click.Group) else ()
        found |= {f"{name} {word}": one for word, one in below} or {name: command}
    return found


NAMES = sorted(commands())


def options(name: str) -> set[str]:
    command = commands()[name]
    return {word for one in command.params if isinstance(one, click.Option) for word in one.opts}


def shared() -> set[str]:
    return set(re.findall(r"`(--?[\w-]+)", HEAD))


def vault() -> set[str]:
    """Options that the head gives to whatever opens secrets."""
    return {word for word in shared() if "vault" in word} | {"-J"}


def test_every_command_has_a_section_and_no_other() -> None:
    assert sorted(TEXTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_named(name: str) -> None:
    whole = name in ("apply", "plan", "validate", "graph", "doctor", "rollout simulate")
    of_head = shared() if whole else {"--state", "--json"} | vault()
    told = set(re.findall(r"`(--?[\w-]+)", TEXTS[name])) | of_head
    assert options(name) <= told


@pytest.mark.parametrize("name", NAMES)
def test_no_option_is_named_that_is_not_there(name: str) -> None:
    siblings = set().union(*(options(other) for other in NAMES if TEXTS[other] == TEXTS[name])) | {"-vv"}
    assert set(re.findall(r"`(--?[\w-]+)", TEXTS[name])) <= siblings


def test_the_options_said_to_be_of_all_playbook_commands_are() -> None:
    rows = set(re.findall(r"`(--?[\w-]+)", HEAD.partition("| option |")[2]))
    assert rows <= options("apply") & options("plan") & options("validate")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_says_in_help_what_the_list_says(name: str) -> None:
    command, short = COMMANDS[name]
    assert command().help
    assert short.endswith(".")
