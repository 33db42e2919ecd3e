"""All commands by name, with the line that says what each does. Each is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable

import click


def _apply() -> click.Command:
    from ciflow.cli.apply import command

    return command


def _plan() -> click.Command:
    from ciflow.cli.plan import command

    return command


def _graph() -> click.Command:
    from ciflow.cli.graph import command

    return command


def _validate() -> click.Command:
    from ciflow.cli.validate import command

    return command


def _resume() -> click.Command:
    from ciflow.cli.resume import command

    return command


def _rollback() -> click.Command:
    from ciflow.cli.rollback import command

    return command


def _rollout() -> click.Command:
    from ciflow.cli.rollout import command

    return command


def _pause() -> click.Command:
    from ciflow.cli.control import pause

    return pause


def _abort() -> click.Command:
    from ciflow.cli.control import abort

    return abort


def _promote() -> click.Command:
    from ciflow.cli.control import promote

    return promote


def _approve() -> click.Command:
    from ciflow.cli.control import approve

    return approve


def _deny() -> click.Command:
    from ciflow.cli.control import deny

    return deny


def _annotate() -> click.Command:
    from ciflow.cli.control import annotate

    return annotate


def _schema() -> click.Command:
    from ciflow.cli.schema import command

    return command


def _interactive() -> click.Command:
    from ciflow.cli.interactive import command

    return command


def _watch() -> click.Command:
    from ciflow.cli.watch import command

    return command


def _notify() -> click.Command:
    from ciflow.cli.notify import command

    return command


def _status() -> click.Command:
    from ciflow.cli.status import command

    return command


def _history() -> click.Command:
    from ciflow.cli.history import command

    return command


def _show() -> click.Command:
    from ciflow.cli.show import command

    return command


def _report() -> click.Command:
    from ciflow.cli.report import command

    return command


def _cost() -> click.Command:
    from ciflow.cli.cost import command

    return command


def _logs() -> click.Command:
    from ciflow.cli.logs import command

    return command


def _serve() -> click.Command:
    from ciflow.cli.serve import command

    return command


def _inventory() -> click.Command:
    from ciflow.cli.inventory import command

    return command


def _vars() -> click.Command:
    from ciflow.cli.vars import command

    return command


def _vault() -> click.Command:
    from ciflow.cli.vault import group

    return group


def _cache() -> click.Command:
    from ciflow.cli.cache import group

    return group


def _affected() -> click.Command:
    from ciflow.cli.affected import command

    return command


def _distribute() -> click.Command:
    from ciflow.cli.distribute import group

    return group


def _artifact() -> click.Command:
    from ciflow.cli.artifact import group

    return group


def _test() -> click.Command:
    from ciflow.cli.test import command

    return command


def _flaky() -> click.Command:
    from ciflow.cli.flaky import group

    return group


def _scan() -> click.Command:
    from ciflow.cli.scan import command

    return command


def _sign() -> click.Command:
    from ciflow.cli.sign import sign

    return sign


def _attest() -> click.Command:
    from ciflow.cli.sign import attest

    return attest


def _verify() -> click.Command:
    from ciflow.cli.verify import command

    return command


def _keys() -> click.Command:
    from ciflow.cli.keys import group

    return group


def _sbom() -> click.Command:
    from ciflow.cli.sbom import group

    return group


def _evidence() -> click.Command:
    from ciflow.cli.evidence import command

    return command


def _licenses() -> click.Command:
    from ciflow.cli.licenses import group

    return group


def _reproduce() -> click.Command:
    from ciflow.cli.reproduce import command

    return command


def _explain() -> click.Command:
    from ciflow.cli.explain import command

    return command


def _doctor() -> click.Command:
    from ciflow.cli.doctor import command

    return command


def _doc() -> click.Command:
    from ciflow.cli.doc import command

    return command


def _init() -> click.Command:
    from ciflow.cli.init import command

    return command


def _export() -> click.Command:
    from ciflow.cli.export import command

    return command


def _completions() -> click.Command:
    from ciflow.cli.completions import command

    return command


# One line each: said by `ciflow --help` without loading the command.
COMMANDS: dict[str, tuple[Callable[[], click.Command], str]] = {
    "apply": (_apply, "Run a playbook, from its first play to the end of its rollout."),
    "plan": (_plan, "Show what a playbook would run, and where."),
    "graph": (_graph, "Draw the plays of a playbook: what waits for what."),
    "validate": (_validate, "Check playbooks without running anything."),
    "watch": (_watch, "Run a playbook again on each change of its files."),
    "resume": (_resume, "Take up a run that was killed, paused or failed."),
    "rollback": (_rollback, "Bring the former version of a service back, now."),
    "rollout": (_rollout, "Simulate a rollout's steps and gates."),
    "pause": (_pause, "Hold a rollout where it is."),
    "abort": (_abort, "Turn a rollout back."),
    "promote": (_promote, "End the hold that a rollout is in and take the next step."),
    "approve": (_approve, "Say yes to a play that waits for somebody's word."),
    "deny": (_deny, "Say no to a play that waits for somebody's word."),
    "annotate": (_annotate, "Write beside a run why it was done, or what came of it."),
    "notify": (_notify, "Send those whom a playbook notifies a test."),
    "interactive": (_interactive, "Choose by number what to do about what runs and waits."),
    "status": (_status, "Show what runs and which versions have the traffic."),
    "history": (_history, "List runs and releases."),
    "show": (_show, "Show what a run came to, on one screen."),
    "report": (_report, "Write a report of a run: a page, JUnit XML, JSON, or Markdown."),
    "cost": (_cost, "Show what runs cost, by play, run, month or playbook."),
    "logs": (_logs, "Show what a run, or one task of it, did and said."),
    "serve": (_serve, "Show all of it on a live page, where people roll back and approve."),
    "schema": (_schema, "JSON Schema of playbooks, their parts and modules, for editors."),
    "inventory": (_inventory, "Show hosts, groups and their variables."),
    "vars": (_vars, "Show the variables of a host, and where each comes from."),
    "vault": (_vault, "Encrypt, open and edit secrets in files, as ansible-vault does."),
    "affected": (_affected, "Name the crates of a Rust workspace that a change touches."),
    "test": (_test, "Run the tests of a Rust workspace."),
    "flaky": (_flaky, "Say which tests are flaky; keep the quarantine."),
    "cache": (_cache, "Set up, look at, try out or empty the cache of compiled crates."),
    "scan": (_scan, "Look packages up in databases of advisories."),
    "distribute": (_distribute, "Say whether builds have others compile."),
    "artifact": (_artifact, "List, fetch, keep and sweep what plays have left."),
    "sign": (_sign, "Vouch for a file with a key."),
    "attest": (_attest, "Say something of a file, signed."),
    "verify": (_verify, "Say who vouches for a file, and hold it against a policy."),
    "keys": (_keys, "Make, list, replace and call back keys that sign."),
    "reproduce": (_reproduce, "Build twice and say why what comes out is not the same."),
    "evidence": (_evidence, "Pack all that vouches for a release into one verified archive."),
    "sbom": (_sbom, "List what software is made of; compare, convert, check and judge such lists."),
    "licenses": (_licenses, "Check the licences of a workspace's crates, and write its notices."),
    "explain": (_explain, "Explain a diagnostic, with its usual fix."),
    "doc": (_doc, "Explain a module or a diagnostic."),
    "doctor": (_doctor, "Print the Roles that a playbook needs, or which settings of the compiler pay."),
    "init": (_init, "Write a first playbook and inventory."),
    "export": (_export, "Write the file of a CI server that runs a playbook."),
    "completions": (_completions, "Make a shell complete commands, options and values."),
}
