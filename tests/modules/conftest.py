"""A host of one's own: this machine, with a home folder that is thrown away afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.modules.host import Host, this_machine


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    home, before = tmp_path_factory.mktemp("home"), os.environ.get("HOME", "")
    cargo = os.environ.get("CARGO_HOME", str(Path(before) / ".cargo"))
    rustup = os.environ.get("RUSTUP_HOME", str(Path(before) / ".rustup"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("CARGO_HOME", cargo)
        patch.setenv("RUSTUP_HOME", rustup)
        with this_machine() as machine:
            yield machine
