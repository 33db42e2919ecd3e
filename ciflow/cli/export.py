"""`ciflow export github|gitlab PLAYBOOK`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ciflow import __version__
from ciflow.cli.options import inventory_of, roles_path, state_option
from ciflow.cli.output import put
from ciflow.cli.passwords import live_files, vault_ids, vault_options
from ciflow.diagnostics import ExitCode, Refused
from ciflow.store.place import Place, Team


@click.command("export")
@click.argument("server", type=click.Choice(("github", "gitlab")))
@click.argument("playbook")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
@click.option("--branch", default="main", show_default=True, help="A push to it starts the job.")
@click.option("--install", default="", metavar="WHAT", help="What pipx installs; this version of ciflow unless said.")
@click.option("-i", "--inventory", multiple=True, help="Inventory file, folder, script, or host list with commas.")
@click.option("-e", "--extra-vars", multiple=True, help="Variables to check it with; they are not written down.")
@vault_options
@state_option
def command(
    server: str, playbook: str, output: Path | None, branch: str, install: str, inventory: tuple[str, ...],
    extra_vars: tuple[str, ...], state: Place | None,
) -> int:  # fmt: skip
    """Print a workflow of GitHub Actions, or a pipeline of GitLab CI, that runs PLAYBOOK."""
    from ciflow.engine.request import Request, prepare
    from ciflow.plan import ci

    sources = inventory_of(inventory)
    request = Request(playbook, sources, extra_vars, roles_path=roles_path())
    _, plan = prepare(request, live_files())
    shared = isinstance(state, Team)
    job = ci.job_of(
        plan, playbook=_in_repository(playbook), inventories=tuple(map(_in_repository, sources)), branch=branch,
        install=install or f"ciflow{'[postgres]' if shared else ''}=={__version__}", state=str(state) if shared else "",
        vault=bool(vault_ids()),
    )  # fmt: skip
    put((ci.github(job) if server == "github" else ci.gitlab(job)).encode(), output)
    for remark in ci.remarks(job, server):
        click.echo(f"note: {remark}", err=True)
    return ExitCode.OK


def _in_repository(path: str) -> str:
    """From the root of the repository, where the job begins. A list of hosts stays as it is."""
    if "," in path:
        return path
    here = Path(path).absolute()
    root = next((folder for folder in here.parents if (folder / ".git").exists()), Path.cwd())
    found = os.path.relpath(here, root)
    if found.startswith(".."):
        raise Refused(f"{path} is not in the repository, and a CI server has nothing else")
    return found
