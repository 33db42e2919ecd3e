"""A kubeconfig that says all by itself is read without the package `kubernetes`, and to the same end."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ciflow.targets.kubeconfig import plain


def config(user: dict[str, Any], cluster: dict[str, Any] | None = None, namespace: str = "shop") -> dict[str, Any]:
    said = {"server": "https://10.0.0.1:6443/", **(cluster or {})}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "one", "cluster": said}, {"name": "other", "cluster": {"server": "https://other"}}],
        "users": [{"name": "me", "user": user}],
        "contexts": [
            {"name": "here", "context": {"cluster": "one", "user": "me", "namespace": namespace}},
            {"name": "there", "context": {"cluster": "other", "user": "me"}},
        ],
        "current-context": "here",
    }


def written(folder: Path, said: dict[str, Any]) -> str:
    path = folder / "config"
    path.write_text(yaml.safe_dump(said))
    return str(path)


def by_the_package(path: str, context: str = "") -> Any:
    kubernetes = pytest.importorskip("kubernetes")
    from kubernetes import client
    from kubernetes import config as loader

    assert kubernetes
    found = client.Configuration()
    loader.load_kube_config(config_file=path, context=context or None, client_configuration=found)
    return found


@pytest.mark.parametrize("context", ["", "there"])
def test_it_says_what_the_package_reads_in_it(tmp_path: Path, context: str) -> None:
    for name in ("ca.crt", "me.crt"):
        (tmp_path / name).write_text(name)
    user = {"client-certificate": "me.crt", "client-key-data": base64.b64encode(b"key").decode(), "token": "t0k"}
    cluster = {"certificate-authority": "ca.crt", "tls-server-name": "api.example"}
    path = written(tmp_path, config(user, cluster))
    found, known = plain(path, context), by_the_package(path, context)
    assert found is not None
    assert (found.host, found.verify_ssl) == (known.host, known.verify_ssl)
    assert found.ssl_ca_cert == (known.ssl_ca_cert or "") and found.tls_server_name == (known.tls_server_name or "")
    assert Path(found.cert_file).read_text() == Path(known.cert_file).read_text() == "me.crt"
    assert Path(found.key_file).read_text() == Path(known.key_file).read_text() == "key"
    assert Path(found.key_file).stat().st_mode & 0o777 == 0o600
    (mine,), (theirs,) = found.auth_settings().values(), known.auth_settings().values()
    assert (mine["key"], mine["value"]) == (theirs["key"], theirs["value"]) == ("authorization", "Bearer t0k")


def test_a_token_in_a_file_is_read_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    found = plain(written(tmp_path, config({"tokenFile": "token"})), "")
    assert found is not None and found.auth_settings()["token"]["value"] == "Bearer first"
    (tmp_path / "token").write_text("second\n")
    assert found.auth_settings()["token"]["value"] == "Bearer second"


@pytest.mark.parametrize(
    "said",
    [
        config({"exec": {"command": "aws"}}),
        config({"auth-provider": {"name": "oidc"}}),
        config({"username": "me", "password": "p"}),
        config({"token": "t"}, {"proxy-url": "http://proxy:3128"}),
        config({"client-key-data": "no base64!"}),
        {**config({"token": "t"}), "current-context": "nowhere"},
        {"kind": "Config"},
    ],
    ids=lambda said: json.dumps(said)[:0],
)
def test_what_is_not_plain_is_left_to_the_package(tmp_path: Path, said: dict[str, Any]) -> None:
    assert plain(written(tmp_path, said), "") is None


def test_several_files_no_file_and_a_proxy_are_left_to_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, config({"token": "t"}))
    assert plain(path, "") is not None
    assert plain(f"{path}:{path}", "") is None and plain(f"{path}.not", "") is None
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert plain(path, "") is None
