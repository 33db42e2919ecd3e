"""Where vault passwords come from: `label@file`, `label@program`, `label@prompt`, as Ansible's `--vault-id` says.

They are read when a run starts and again when it is resumed; neither a password nor its file is ever kept.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.vault import DEFAULT_LABEL, Password, Vault

PROMPTS = ("prompt", "prompt_ask_vault_pass")
SLOWEST = 60  # seconds that a program may take to tell a password

Ask = Callable[[str], str]  # shows a prompt, gives what was typed


def nobody(prompt: str) -> str:
    """Where nobody can be asked."""
    raise _unread(f"there is nobody to ask: {prompt.strip(': ')}")


def read_vault(ids: tuple[str, ...], ask: Ask) -> Vault:
    """The passwords that `ids` (`label@source`, or a source alone) name, in their order. Raises Invalid (CF0017)."""
    return Vault([read_password(one, ask) for one in ids])


def read_password(vault_id: str, ask: Ask) -> Password:
    """One password. A program is run for it; one called `..-client` is told the label. Raises Invalid (CF0017)."""
    label, at, source = vault_id.partition("@")
    if not at:
        label, source = "", vault_id
    if source in PROMPTS:
        said = "Vault password: " if label in ("", DEFAULT_LABEL) else f"Vault password ({label}): "
        return Password(label or DEFAULT_LABEL, _some(ask(said).strip().encode(), "what was typed", label))
    path = Path(source).expanduser()
    if path.is_file() and os.access(path, os.X_OK):
        return Password(label or DEFAULT_LABEL, _some(_told(path, label), f"the output of {path}", label))
    try:
        return Password(label or DEFAULT_LABEL, _some(path.read_bytes(), f"the file {path}", label))
    except OSError as error:
        raise _unread(f"the vault password file {path} can't be read: {(error.strerror or '').lower()}") from error


def _told(path: Path, label: str) -> bytes:
    """What a program prints."""
    client = ["--vault-id", label or DEFAULT_LABEL] if path.stem.endswith("-client") else []
    try:
        run = subprocess.run([path.absolute(), *client], stdout=subprocess.PIPE, check=True, timeout=SLOWEST)
    except (OSError, subprocess.SubprocessError) as error:
        raise _unread(f"the vault password program {path} failed: {error}") from error
    return run.stdout


def _some(secret: bytes, where: str, label: str) -> bytes:
    """Without the ends of lines around it; an empty password is a mistake."""
    stripped = secret.strip(b"\r\n")
    if not stripped:
        raise _unread(f"the vault password is empty: {where}" + (f" (vault id `{label}`)" if label else ""))
    return stripped


def _unread(message: str) -> Invalid:
    return Invalid([Diagnostic("error", "CF0017", message)])
