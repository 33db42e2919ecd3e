"""`ciflow doc NAME`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ciflow.cli.explain import explained
from ciflow.diagnostics import ExitCode, NoSuch

if TYPE_CHECKING:
    from ciflow.lang.schema import Schema


_LISTS = "`ciflow doc` lists the modules, docs/language.md the keywords"
_PARTS = ("playbook", "play", "block", "task", "canary", "canary_step", "gate_errors", "gate_latency", "gate_slo",
          "gate_query", "provider", "notification_webhook", "notification_slack", "notification_teams",
          "notification_pagerduty", "notification_email", "notification_command")  # fmt: skip


@click.command("doc")
@click.argument("name", default="")
def command(name: str) -> int:
    """Explain a module (`ciflow doc copy`), a keyword (`ciflow doc when`) or a diagnostic (`ciflow doc CF0102`).

    Without NAME list the modules.
    """
    from ciflow.lang.codes import CODES
    from ciflow.lang.modulenames import short
    from ciflow.lang.near import nearest
    from ciflow.lang.schema import module_schema, verbs

    verb = short(name)
    if not name:
        for each in sorted(verbs()):
            click.echo(f"{each:<16} {module_schema(each).doc}")
    elif name.upper() in CODES:
        click.echo(explained(name), nl=False)
    elif verb in verbs():
        for line in _module(verb, module_schema(verb)):
            click.echo(line)
    elif told := list(_keyword(name)):
        for line in told:
            click.echo(line)
    else:
        near = nearest(verb, verbs())
        raise NoSuch(f"nothing is called {name}", help=f"did you mean `{near}`?" if near else _LISTS)
    return ExitCode.OK


def _keyword(name: str) -> Iterator[str]:
    """What a keyword means, in each part of a playbook that has it."""
    from ciflow.lang.schema import part_schema

    for part in _PARTS:
        rules = part_schema(part).fields.get(name)
        if rules is not None:
            yield f"{name}, of {part_schema(part).what} ({_kind(rules)})  {rules.get('meta', {}).get('doc', '')}"


def _module(verb: str, schema: Schema) -> Iterator[str]:
    yield f"{verb}: {schema.doc}"
    if schema.example:
        yield "\n" + "".join(f"  {line}\n" for line in schema.example.rstrip().splitlines())
    aliases: dict[str, list[str]] = {}
    for alias, name in schema.aliases.items():
        aliases.setdefault(name, []).append(alias)
    for name, rules in schema.fields.items():
        also = "".join(f", also `{alias}`" for alias in aliases.get(name, ()) if not alias.startswith("_"))
        needed = ", needed" if name in schema.required else ""
        yield f"  {name} ({_kind(rules)}{needed}{also})  {rules.get('meta', {}).get('doc', '')}"
    for group in schema.one_of:
        yield f"  One of {', '.join(group)} is needed."
    for group in schema.exclusive:
        yield f"  {', '.join(group)} exclude each other."
    if schema.free_form:
        yield f"  Plain text behind `{verb}:` is `{schema.free_form}`."
    if schema.returns:
        yield "\nIt returns:"
    for name, meaning in schema.returns.items():
        yield f"  {name}  {meaning}"


def _kind(rules: Mapping[str, Any]) -> str:
    kinds = rules.get("type", "any")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    allowed = f": {', '.join(map(str, rules['allowed']))}" if "allowed" in rules else ""
    default = rules.get("default")
    said = str(default).lower() if isinstance(default, bool) else default
    return f"{kind}{allowed}" + (f", default {said}" if "default" in rules else "")
