"""Vault passwords on the command line: the options that name their sources, and the questions that they ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ciflow.diagnostics import Refused
from ciflow.lang.files import Files
from ciflow.lang.passwords import read_vault
from ciflow.lang.vault import DEFAULT_LABEL

F = TypeVar("F", bound=Callable[..., Any])
_VAULT = "ciflow.vault"
_NAME_ONE = "name a file or a program: --vault-id label@file"


def vault_options(function: F) -> F:
    """Where vault passwords come from; a command reads what was given with `vault_ids`."""

    def keep(context: click.Context, option: click.Parameter, given: Any) -> None:
        said = context.meta.setdefault(_VAULT, {})
        said[option.name] = given

    for option in reversed(
        (
            click.option("--vault-id", multiple=True, expose_value=False, callback=keep, metavar="LABEL@SOURCE",
                         help="A vault password: label@file, label@program, label@prompt."),
            click.option("--vault-password-file", "--vault-pass-file", multiple=True, expose_value=False, callback=keep,
                         help="File with a vault password, or program that prints it."),
            click.option("-J", "--ask-vault-pass", "--ask-vault-password", is_flag=True, expose_value=False,
                         callback=keep, help="Ask for the vault password."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def vault_said(context: click.Context) -> Mapping[str, Any]:
    """What `vault_options` took in, by the options' names."""
    found: Mapping[str, Any] = context.meta.get(_VAULT, {})
    return found


def vault_ids() -> tuple[str, ...]:
    """What `vault_options` took in, and Ansible's variables of the environment, as `label@source`."""
    given = vault_said(click.get_current_context())
    listed = os.environ.get("ANSIBLE_VAULT_IDENTITY_LIST", "")
    files = given.get("vault_password_file") or filter(None, [os.environ.get("ANSIBLE_VAULT_PASSWORD_FILE", "")])
    default = os.environ.get("ANSIBLE_VAULT_IDENTITY", "") or DEFAULT_LABEL
    found = [part.strip() for part in listed.split(",") if part.strip()]
    found += [*given.get("vault_id", ()), *(f"{default}@{file}" for file in files)]
    return (*found, *([f"{default}@prompt"] if given.get("ask_vault_pass") else []))


def ask(prompt: str, help: str = _NAME_ONE) -> str:
    """What somebody types, unseen. Raises Refused where there is no terminal: a prompt has no answer in CI."""
    from ciflow.cli.terminal import terminal  # with asyncio, which most calls need not

    here = terminal(no_input=bool(click.get_current_context().params.get("no_input")))
    if here is None:
        raise Refused(f"there is no terminal to ask on: {prompt.strip(': ')}", help=help)
    return here.ask_first(prompt, secret=True)


def ask_twice(prompt: str, help: str = _NAME_ONE) -> str:
    """A new password: typed twice, so that a slip of the hand locks nobody out."""
    first = ask(prompt, help)
    if ask(f"Confirm {prompt[:1].lower()}{prompt[1:]}") != first:
        raise Refused("the two passwords are not the same; nothing was written")
    return first


def live_files() -> Files:
    """The disk, with the vault passwords of the command line."""
    return Files.live(read_vault(vault_ids(), ask))
