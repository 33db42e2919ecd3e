"""`ciflow doc NAME`."""

from __future__ import annotations

import click

from ciflow.diagnostics import CiflowError, ExitCode


@click.command("doc")
@click.argument("name", default="")
def command(name: str) -> int:
    """Explain a module (`ciflow doc copy`) or a diagnostic (`ciflow doc CF0102`); without NAME list the modules."""
    from ciflow.lang.codes import CODES
    from ciflow.lang.schema import module_schema, verbs

    if not name:
        for verb in sorted(verbs()):
            click.echo(f"{verb:<14} {module_schema(verb).doc}")
        return ExitCode.OK
    if name.upper() in CODES:
        click.echo(f"{name.upper()}: {CODES[name.upper()]}")
        return ExitCode.OK
    if name not in verbs():
        raise CiflowError(f"nothing is called {name}", help="`ciflow doc` lists the modules")
    schema = module_schema(name)
    click.echo(f"{name}: {schema.doc}\n")
    for argument, rules in schema.fields.items():
        meta = rules.get("meta", {})
        kind = rules.get("type", "any")
        default = f", default {rules['default']}" if "default" in rules else ""
        click.echo(f"  {argument} ({kind}{default})  {meta.get('doc', '')}")
    return ExitCode.OK
