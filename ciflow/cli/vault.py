"""`ciflow vault`: files and values encrypted in ansible-vault's format."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from ciflow.cli.passwords import ask, ask_twice, vault_ids, vault_options
from ciflow.diagnostics import Diagnostic, ExitCode, Findings, Invalid, Refused, Span
from ciflow.lang.passwords import Ask, read_password
from ciflow.lang.vault import DEFAULT_LABEL, Encrypted, Password, Vault, encrypt, inline, is_vaulted
from ciflow.whole import whole

PROMPT = f"{DEFAULT_LABEL}@prompt"
INDENT = 10  # of a `!vault` scalar's lines, as ansible-vault writes them


class _Commands(click.Group):
    """Takes `encrypt_string` for `encrypt-string`: that is how ansible-vault spells it."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name.replace("_", "-"))


@click.group("vault", cls=_Commands)
def group() -> None:
    """Encrypt, open and edit secrets in files, as ansible-vault does and in its format."""


@group.command("encrypt")
@click.argument("files", nargs=-1)
@click.option("--encrypt-vault-id", "label", default="", help="Which of several vault ids encrypts.")
@click.option("--output", default="", help="Write there instead; `-` is the standard output.")
@vault_options
def encrypt_command(files: tuple[str, ...], label: str, output: str) -> int:
    """Encrypt FILES in place; without FILES the standard input to the standard output."""
    contents = _read(files, output)
    for name, content in contents.items():
        if is_vaulted(content):
            raise _fault(name, "this file is encrypted already", "`ciflow vault rekey` changes its password")
    password = _writing(label)
    for name, content in contents.items():
        _write(_target(name, output), encrypt(content, password))
    return ExitCode.OK


@group.command("decrypt")
@click.argument("files", nargs=-1)
@click.option("--output", default="", help="Write there instead; `-` is the standard output.")
@vault_options
def decrypt_command(files: tuple[str, ...], output: str) -> int:
    """Decrypt FILES in place; without FILES the standard input to the standard output. They are private (0600) then."""
    contents = _encrypted(files, output)
    vault = _reading()
    plain = {name: vault.unlock(content, Span(name, 1, 1))[0] for name, content in contents.items()}
    for name, content in plain.items():
        _write(_target(name, output), content, private=True)
    return ExitCode.OK


@group.command("view")
@click.argument("files", nargs=-1, required=True)
@vault_options
def view_command(files: tuple[str, ...]) -> int:
    """Show what is in encrypted FILES; nothing is written."""
    contents = _encrypted(files)
    vault = _reading()
    for name, content in contents.items():
        _write("-", vault.unlock(content, Span(name, 1, 1))[0])
    return ExitCode.OK


@group.command("edit")
@click.argument("file")
@vault_options
def edit_command(file: str) -> int:
    """Open an encrypted FILE in $EDITOR, and encrypt what was saved with the same password.

    The plain text lies in memory (a private file on tmpfs, where there is one) and is gone when the editor ends.
    """
    from ciflow.cli.editor import edited

    content = _encrypted((file,))[file]
    plain, password = _reading().unlock(content, Span(file, 1, 1))
    changed = edited(plain, Path(file).name)
    if changed == plain:
        click.echo("nothing was changed", err=True)
    else:
        _write(file, encrypt(changed, password))
    return ExitCode.OK


@group.command("rekey")
@click.argument("files", nargs=-1, required=True)
@click.option("--new-vault-id", default="", metavar="LABEL@SOURCE", help="The new password and its label.")
@click.option("--new-vault-password-file", default="", help="File with the new password, or program that prints it.")
@vault_options
def rekey_command(files: tuple[str, ...], new_vault_id: str, new_vault_password_file: str) -> int:
    """Encrypt FILES with another password, or the `!vault` values in them. All are opened before the first is
    written."""
    contents = _read(files, "")
    for name, content in contents.items():
        if not is_vaulted(content):
            _check_lines(name, content)
    vault = _reading()

    def same(text: bytes, span: Span) -> bytes:
        vault.open(text, span)
        return text

    for name, content in contents.items():
        _each(name, content, same)
    source = new_vault_id or (f"{DEFAULT_LABEL}@{new_vault_password_file}" if new_vault_password_file else PROMPT)
    new = read_password(source, lambda prompt: ask_twice(f"New {prompt[:1].lower()}{prompt[1:]}"))

    def changed(text: bytes, span: Span) -> bytes:
        plain, old = vault.unlock(text, span)
        return encrypt(plain, Password(new.label if "@" in new_vault_id else old.label, new.secret))

    for name, content in contents.items():
        _write(name, _each(name, content, changed))
    return ExitCode.OK


def _each(name: str, content: bytes, change: Callable[[bytes, Span], bytes]) -> bytes:
    """A file with what is encrypted of it as `change` gives it: the whole, or each `!vault` value."""
    if is_vaulted(content):
        return change(content, Span(name, 1, 1))
    seen: set[int] = set()

    def noted(text: bytes, span: Span) -> bytes:
        seen.add(span.line)
        return change(text, span)

    made = inline(content, noted, name)
    if len(_check_lines(name, content)) != len(seen):
        raise _fault(name, "not every `!vault` value of this file is a block of lines, as `!vault |` begins it",
                     "write it so; `ciflow vault encrypt-string` does")  # fmt: skip
    return made


def _check_lines(name: str, content: bytes) -> set[int]:
    """The lines of a YAML file on which its `!vault` values begin. Raises Invalid on what is no YAML, or has none."""
    from ciflow.lang.names import templates_in
    from ciflow.lang.yamltext import parse

    findings = Findings()
    place = parse(content, name, findings, vault=Vault())
    if findings.errors:
        raise Invalid(findings.items)
    lines = {one.span.line for one in templates_in(place.value if place else None) if isinstance(one, Encrypted)}
    if not lines:
        raise _fault(name, "nothing in this file is encrypted", "`ciflow vault encrypt` does that")
    return lines


@group.command("encrypt-string")
@click.argument("values", nargs=-1)
@click.option("-n", "--name", "names", multiple=True, help="Name of the variable, one for each value.")
@click.option("--stdin-name", default="", help="Name of the variable whose value the standard input is.")
@click.option("-p", "--prompt", "asked", is_flag=True, help="Ask for the value.")
@click.option("--encrypt-vault-id", "label", default="", help="Which of several vault ids encrypts.")
@vault_options
def encrypt_string_command(
    values: tuple[str, ...], names: tuple[str, ...], stdin_name: str, asked: bool, label: str
) -> int:
    """Encrypt VALUES as YAML to paste into a playbook or a vars file. A value on the command line is seen by others on
    this machine: better give it by standard input or with -p."""
    password = _writing(label)
    found = [(name, value.encode()) for name, value in zip((*names, *[""] * len(values)), values, strict=False)]
    if asked:
        found.append((names[len(values)] if len(names) > len(values) else "", ask("Value: ").encode()))
    if stdin_name or not found:
        found.append((stdin_name or (names[0] if names and not values else ""), sys.stdin.buffer.read()))
    for name, value in found:
        click.echo(_scalar(name, encrypt(value, password)))
    return ExitCode.OK


def _scalar(name: str, content: bytes) -> str:
    lines = [" " * INDENT + line for line in content.decode().splitlines()]
    return "\n".join([f"{name}: !vault |" if name else "!vault |", *lines])


# --- passwords -------------------------------------------------------------------------------------------


def _reading() -> Vault:
    """Every password that may open; asked for where none is named."""
    return Vault(_passwords(vault_ids() or (PROMPT,), ask))


def _writing(label: str) -> Password:
    """The one that encrypts."""
    label = label or os.environ.get("ANSIBLE_VAULT_ENCRYPT_IDENTITY", "")
    found = _passwords(vault_ids() or (f"{label or DEFAULT_LABEL}@prompt",), ask_twice)
    chosen = [one for one in found if one.label == label] if label else found
    if not chosen:
        raise Refused(f"no vault id is labelled {label}", help="name its password: --vault-id label@source")
    if len({(one.label, one.secret) for one in chosen}) > 1:
        labels = ", ".join(one.label for one in chosen)
        raise Refused(f"there are several vault ids: {labels}", help="say which one encrypts: --encrypt-vault-id LABEL")
    return chosen[0]


def _passwords(ids: Iterable[str], asking: Ask) -> list[Password]:
    return [read_password(one, asking) for one in ids]


# --- files -----------------------------------------------------------------------------------------------


def _read(files: tuple[str, ...], output: str) -> dict[str, bytes]:
    """Contents by name; all are read before anything is written."""
    if output not in ("", "-") and len(files) > 1:
        raise Refused("--output takes the result of one file")
    return {name: _content(name) for name in files or ("-",)}


def _encrypted(files: tuple[str, ...], output: str = "") -> dict[str, bytes]:
    """The same of files that must be encrypted, which is said before anybody is asked for a password."""
    contents = _read(files, output)
    for name, content in contents.items():
        if not is_vaulted(content):
            raise _fault(name, "this file is not encrypted", "`ciflow vault encrypt` does that")
    return contents


def _content(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Invalid(
            [Diagnostic("error", "CF0001", f"can't read {name}: {(error.strerror or '').lower()}")]
        ) from error


def _fault(name: str, message: str, help: str) -> Invalid:
    return Invalid([Diagnostic("error", "CF0017", message, Span(name, 1, 1), help=help)])


def _target(name: str, output: str) -> str:
    return output or name


def _write(name: str, content: bytes, *, private: bool = False) -> None:
    """Whole or not at all: a file beside it takes its place, with its mode and owner unless `private`."""
    if name == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path = Path(name).resolve()
    try:
        old = path.stat() if path.exists() else None
        with whole(path, 0o600 if private or old is None else old.st_mode & 0o7777, durable=True) as file:
            file.write(content)
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
    except OSError as error:
        raise Refused(f"can't write {name}: {(error.strerror or '').lower()}") from error
