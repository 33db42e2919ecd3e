"""`-e`: variables from the command line, as key=value words, as YAML or JSON, or from a file after `@`."""

from __future__ import annotations

import shlex
from typing import Any

from ciflow.diagnostics import Diagnostic, Findings, Invalid
from ciflow.lang.files import Files
from ciflow.lang.scope import Vars
from ciflow.lang.yamltext import parse


def extra_vars(given: tuple[str, ...], files: Files) -> Vars:
    """All of them, later ones over earlier. Values of key=value are text, as in Ansible. Raises Invalid."""
    found: dict[str, Any] = {}
    for text in given:
        if text.startswith("@"):
            found |= _document(files.read(text[1:]), text[1:], files, trusted=True)
        elif text.lstrip().startswith(("{", "[")):
            found |= _document(text.encode(), "-e", files, trusted=False)
        else:
            found |= _words(text)
    return Vars(found, label="extra vars")


def _document(content: bytes, name: str, files: Files, *, trusted: bool) -> dict[str, Any]:
    findings = Findings()
    place = parse(content, name, findings, trusted=trusted, vault=files.vault)
    value = (place.value or {}) if place is not None else {}
    if not isinstance(value, dict):
        findings.error("CF0101", f"{name}: extra variables are a mapping of names to values", None)
    if files.is_secret(name):
        files.vault.secret(value)
    if findings.errors:
        raise Invalid(findings.items, {name: content.decode("utf-8", "replace")})
    return value


def _words(text: str) -> dict[str, Any]:
    try:
        pairs = [word.partition("=") for word in shlex.split(text)]
    except ValueError as error:
        raise Invalid([Diagnostic("error", "CF0101", f"-e {text}: {error}")]) from error
    bad = next((name for name, equals, _ in pairs if not equals or not name.isidentifier()), None)
    if bad is not None:
        raise Invalid([Diagnostic("error", "CF0101", f"-e takes name=value, JSON, or @file; not `{bad}`")])
    return {name: value for name, _, value in pairs}
