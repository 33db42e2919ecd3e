"""The least that a playbook may do in a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ciflow.cli.doctor import command
from ciflow.plan.rbac import plural

# Names as `kubectl api-resources` lists them.
PLURALS = {
    "Pod": "pods", "ConfigMap": "configmaps", "Ingress": "ingresses", "NetworkPolicy": "networkpolicies",
    "Endpoints": "endpoints", "StorageClass": "storageclasses", "Gateway": "gateways", "HTTPRoute": "httproutes",
    "PodDisruptionBudget": "poddisruptionbudgets", "EndpointSlice": "endpointslices",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), PLURALS.items())
def test_a_kind_is_asked_for_by_its_plural(kind: str, name: str) -> None:
    assert plural(kind) == name


def doctor(folder: Path, playbook: str, inventory: str = "", *more: str) -> tuple[dict[str, Any], str]:
    """Rules by (kind of role, namespace): {group/resource: verbs}, and what was said on the side."""
    (folder / "site.yml").write_text(playbook)
    (folder / "hosts").write_text(inventory or "localhost ansible_connection=local\n")
    arguments = ["--rbac", str(folder / "site.yml"), "-i", str(folder / "hosts"), "--json", *more]
    ran = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert ran.exception is None, ran.exception
    made = json.loads(ran.stdout)["roles"]
    return {
        f"{one['kind']} {one['metadata'].get('namespace', '-')}": {
            f"{rule['apiGroups'][0]}/{rule['resources'][0]}": " ".join(rule["verbs"]) for rule in one["rules"]
        }
        for one in made
    }, ran.stderr


def test_every_way_of_a_task_to_use_the_cluster_is_seen(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "web.yml.j2").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: '{{ name }}'}\n---\n"
        "{% if more %}\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  namespace: edge\n{% endif %}\n"
    )
    found, said = doctor(
        tmp_path,
        """
- hosts: localhost
  vars: {name: web, more: true}
  tasks:
    - name: Roll out
      kubernetes.core.k8s: {namespace: shop, template: web.yml.j2, wait: true}
    - name: Settings
      k8s: {definition: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}}
    - name: Old
      k8s: {state: absent, api: batch/v1, kind: Job, name: old}
    - name: Nodes
      k8s_info: {kind: Node}
    - name: Run
      k8s_exec: {namespace: shop, pod: web-1, command: ls}
- hosts: pods
  gather_facts: false
  tasks:
    - name: Look
      command: ls
""",
        "localhost ansible_connection=local\n[pods]\nweb-1\n[pods:vars]\n"
        "ansible_connection=kubernetes\nansible_kubectl_namespace=side\n",
        "-n",
        "mine",
    )
    assert said == ""
    assert found == {
        "ClusterRole -": {"/nodes": "list"},
        "Role edge": {"networking.k8s.io/ingresses": "create get list patch watch"},
        "Role mine": {"/configmaps": "create get patch", "batch/jobs": "delete get"},
        "Role shop": {
            "/pods": "get list", "/pods/exec": "create get", "apps/deployments": "create get list patch watch",
        },
        "Role side": {"/pods": "get", "/pods/exec": "create get"},
    }  # fmt: skip


def test_a_job_that_is_waited_for_has_its_log_read(tmp_path: Path) -> None:
    job = "{apiVersion: batch/v1, kind: Job, metadata: {name: a}}"
    found, _ = doctor(tmp_path, f"- hosts: localhost\n  tasks:\n    - k8s: {{wait: true, definition: {job}}}\n")
    assert found == {
        "Role -": {"/pods": "list", "/pods/log": "get", "batch/jobs": "create get list patch watch"},
    }  # fmt: skip


def test_a_play_in_a_pod_of_its_own_makes_a_job(tmp_path: Path) -> None:
    task = "- hosts: localhost\n  connection: kubernetes\n  image: rust:1\n  tasks:\n    - {name: Any, command: ls}\n"
    found, _ = doctor(tmp_path, task, "other ansible_connection=local\n")
    assert found == {
        "Role -": {
            "/pods": "list", "/pods/exec": "create get", "batch/jobs": "create delete get list patch watch",
        },
    }  # fmt: skip


def test_what_is_only_known_when_it_runs_is_said_with_its_place(tmp_path: Path) -> None:
    task = "- hosts: localhost\n  tasks:\n    - name: Any\n      k8s: {kind: '{{ kind }}', name: a}\n"
    task += "      vars: {kind: Pod}\n"
    found, said = doctor(tmp_path, task)
    assert found == {}
    assert "site.yml:3:7" in said and "`kind`" in said
