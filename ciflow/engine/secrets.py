"""The secrets that a run knows before it starts, and faults that are told without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.engine.connect import passwords_of
from ciflow.engine.questions import secrets_of as typed_unseen
from ciflow.lang.load import Loaded
from ciflow.lang.vault import Vault
from ciflow.store.mask import Mask

if TYPE_CHECKING:
    from ciflow.engine.request import Request


def secrets_of(request: Request, loaded: Loaded) -> Mask:
    """Passwords of the inventory and the command line, answers, and what a vault has opened or will open in the run."""
    mask = Mask()
    loaded.files.vault.listen(mask.add)
    given = (request.reach.password, request.reach.become_password, *typed_unseen(loaded.playbook, request.answers))
    for secret in (*passwords_of(loaded.inventory.layers.values(), loaded.extra), *filter(None, given)):
        mask.add(secret)
    return mask


@contextmanager
def hiding(vault: Vault) -> Iterator[None]:
    """Faults raised inside say nothing that the vault has opened."""
    try:
        yield
    except Invalid as error:
        mask = Mask()
        vault.listen(mask.add)
        if not mask:
            raise
        raise Invalid([_starred(one, mask) for one in error.diagnostics], error.sources) from error


def _starred(one: Diagnostic, mask: Mask) -> Diagnostic:
    return replace(one, message=mask.text(one.message), beside=mask.text(one.label), help=mask.text(one.help))
