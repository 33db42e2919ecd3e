"""How the command line says to reach hosts, and as whom (`-u -k -b -K` ..), and the passwords it asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ciflow.cli.terminal import terminal
from ciflow.diagnostics import CiflowError, ExitCode
from ciflow.engine.connect import Reach

F = TypeVar("F", bound=Callable[..., Any])
METHODS = ("sudo", "su", "doas")


class NoPassword(CiflowError):
    """A password was to come from a terminal or a file that doesn't give one."""

    exit_code = ExitCode.INVALID


def _kept(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta.setdefault(__name__, {})[parameter.name] = value


def reach_options(function: F) -> F:
    """Ansible's options. `reach_of` makes a Reach of what was given; the command itself doesn't get them."""
    file = click.Path(path_type=Path, allow_dash=True)
    for names, how, text in reversed(
        (
            (("-u", "--user"), {"default": ""}, "Log in as this user."),
            (("-c", "--connection"), {"default": ""}, "Reach hosts in this way: ssh, local."),
            (("--private-key", "--key-file"), {"default": ""}, "Log in with this key."),
            (("-T", "--timeout"), {"type": click.FloatRange(min=0), "default": 0.0}, "Seconds to connect in."),
            (("--ssh-common-args",), {"default": ""}, "Options of ssh for every connection."),
            (("--ssh-extra-args",), {"default": ""}, "More of them."),
            (("-k", "--ask-pass"), {"is_flag": True}, "Ask for the password of the login."),
            (("--connection-password-file", "--conn-pass-file"), {"type": file}, "Read it from here."),
            (("-b", "--become"), {"is_flag": True}, "Run tasks as another user."),
            (("--become-user",), {"default": ""}, "As this one (root)."),
            (("--become-method",), {"type": click.Choice(METHODS)}, "By this program [sudo]."),
            (("-K", "--ask-become-pass"), {"is_flag": True}, "Ask for the password that it wants."),
            (("--become-password-file", "--become-pass-file"), {"type": file}, "Read that one from here."),
        )
    ):
        function = click.option(*names, **how, help=text, expose_value=False, callback=_kept)(function)
    return function


def reach_said(context: click.Context) -> Mapping[str, Any]:
    """What `reach_options` took in, by the options' names."""
    found: Mapping[str, Any] = context.meta[__name__]
    return found


def reach_of(context: click.Context, *, no_input: bool) -> Reach:
    """What these options say; questions are asked now. Raises NoPassword."""
    given = reach_said(context)
    login = _password(given["ask_pass"], given["connection_password_file"], "SSH password: ", no_input)
    same = "[defaults to SSH password]" if given["ask_pass"] else ""
    other = _password(given["ask_become_pass"], given["become_password_file"], f"BECOME password{same}: ", no_input)
    return Reach(
        connection=given["connection"], user=given["user"], private_key=given["private_key"],
        common_args=given["ssh_common_args"], extra_args=given["ssh_extra_args"], timeout=given["timeout"],
        become=given["become"], become_user=given["become_user"], become_method=given["become_method"] or "",
        password=login, become_password=other or (login if given["ask_become_pass"] else ""),
    )  # fmt: skip


def _password(ask: bool, file: Path | None, question: str, no_input: bool) -> str:
    if ask and file:
        raise NoPassword("a password is asked for or read from a file, not both")
    if file:
        return password_in(file)
    if not ask:
        return ""
    here = terminal(no_input=no_input)
    if here is None:
        raise NoPassword(
            "there is no terminal to ask for a password at",
            help="--connection-password-file and --become-password-file read it from a file, or from stdin with `-`",
        )
    return here.ask_first(question, secret=True)


def password_in(path: Path) -> str:
    """The password that a file holds, a program says, or (`-`) stdin brings, without the end of its line."""
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read()
        elif path.is_file() and os.access(path, os.X_OK):
            content = subprocess.run([path.absolute()], stdout=subprocess.PIPE, check=True).stdout
        else:
            content = path.read_bytes()
    except subprocess.CalledProcessError as error:
        raise NoPassword(f"{path} gave no password: it ended with {error.returncode}") from error
    except OSError as error:
        raise NoPassword(f"the password can't be read from {path}: {error.strerror}") from error
    password = content.strip(b"\r\n").decode("utf-8", "surrogateescape")
    if not password:
        raise NoPassword(f"{path} holds no password")
    return password
