from __future__ import annotations

import pytest

from ciflow.supply.cargo_build import from_metadata
from ciflow.supply.model import Bom, Creation, Party
from ciflow.supply.platform import Target, parse_cfg
from tests.parts.sigstore import Sigstore
from tests.supply.workspace import LINUX, Workspace, build

# `rustc --print cfg` of two platforms, cut to what conditions usually name
LINUX_CFG = 'unix\ntarget_os="linux"\ntarget_family="unix"\ntarget_arch="x86_64"\ntarget_env="gnu"\npanic="unwind"'
WINDOWS_CFG = 'windows\ntarget_os="windows"\ntarget_family="windows"\ntarget_arch="x86_64"\ntarget_env="msvc"'


@pytest.fixture(scope="session")
def linux() -> Target:
    return parse_cfg(LINUX, LINUX_CFG)


@pytest.fixture(scope="session")
def windows() -> Target:
    return parse_cfg("x86_64-pc-windows-msvc", WINDOWS_CFG)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return build(tmp_path_factory.mktemp("cargo"))


@pytest.fixture(scope="session")
def bom(workspace: Workspace, linux: Target) -> Bom:
    return from_metadata(workspace.metadata, workspace.lock, target=linux)


@pytest.fixture(scope="session")
def creation() -> Creation:
    return Creation(1_700_000_000, "0.1.0", (Party("Release Team", "release@example.org"),))


@pytest.fixture(scope="session")
def sigstore() -> Sigstore:
    """Sigstore's own library."""
    return Sigstore()
