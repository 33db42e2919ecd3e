"""k8s, k8s_info and k8s_exec against a real cluster, through the whole engine."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ciflow.cli.doctor import command as doctor
from ciflow.lang.files import Files
from ciflow.lang.inventory import load_inventory
from ciflow.targets.kubernetes import Cluster
from tests.engine.playing import Bench, Played
from tests.parts import images
from tests.parts.crash import dies_after
from tests.parts.kube import Kube, Refused
from tests.parts.process import wait_for

pytestmark = pytest.mark.slow
_NUMBERS = itertools.count()


class Desk:
    """A namespace, and playbooks whose tasks are about it."""

    def __init__(self, cluster: Kube, folder: Path, namespace: str) -> None:
        self.cluster = cluster
        self.bench = Bench(folder)
        self.namespace = namespace

    def play(self, tasks: str, **options: Any) -> Played:
        head = "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        return self.bench.play(head + "\n".join(f"    {line}" for line in tasks.splitlines()), options=options)

    def get(self, path: str) -> Any:
        return self.cluster.ask("GET", path.replace("NS", self.namespace))


@pytest.fixture
def desk(kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    name = f"desk{next(_NUMBERS)}"
    kube.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    config = json.loads(kube.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = name
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield Desk(kube, tmp_path, name)
    kube.ask("DELETE", f"/api/v1/namespaces/{name}")


SETTINGS = """
- name: Settings
  k8s:
    definition:
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: settings, labels: {app: shop}}
      data: {colour: "VALUE", size: "3"}
"""


def test_an_object_is_made_left_alone_changed_and_removed(desk: Desk) -> None:
    at = "/api/v1/namespaces/NS/configmaps/settings"
    made = desk.play(SETTINGS)
    assert (made.exit, made.outcome("Settings")["changed"]) == (0, True)
    assert desk.get(at)["data"] == {"colour": "VALUE", "size": "3"}
    assert [one["manager"] for one in desk.get(at)["metadata"]["managedFields"]] == ["ciflow"]
    assert desk.play(SETTINGS).outcome("Settings")["changed"] is False
    assert desk.play(SETTINGS.replace("VALUE", "red")).outcome("Settings")["changed"] is True
    assert desk.get(at)["data"]["colour"] == "red"
    gone = desk.play("- name: Gone\n  k8s: {kind: ConfigMap, name: settings, state: absent, wait: true}")
    assert gone.outcome("Gone")["changed"] is True
    with pytest.raises(Refused, match="404"):
        desk.get(at)
    again = desk.play("- name: Gone\n  k8s: {kind: ConfigMap, name: settings, state: absent}")
    assert again.outcome("Gone")["changed"] is False


def test_check_mode_asks_the_server_and_changes_nothing(desk: Desk) -> None:
    desk.play(SETTINGS)
    planned = desk.play(SETTINGS.replace("VALUE", "red"), check=True, diff=True)
    assert planned.outcome("Settings")["changed"] is True
    (shown,) = planned.of("diff")
    assert "colour: VALUE" in shown.data["before"] and "colour: red" in shown.data["after"]
    assert desk.get("/api/v1/namespaces/NS/configmaps/settings")["data"]["colour"] == "VALUE"
    wrong = desk.play(SETTINGS.replace("data:", "dat:"), check=True)
    assert wrong.exit == 4 and "dat" in wrong.msg("Settings")


@pytest.mark.fault(20)
def test_a_field_that_somebody_else_manages_is_named_with_its_manager(desk: Desk) -> None:
    desk.play(SETTINGS)
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": "blue"}}
    at = f"/api/v1/namespaces/{desk.namespace}/configmaps/settings?fieldManager=gitops"
    desk.cluster.ask("PATCH", at, theirs)
    refused = desk.play(SETTINGS.replace("VALUE", "red"))
    assert refused.exit == 4
    assert ".data.colour (by gitops)" in refused.msg("Settings") and "force_conflicts" in refused.msg("Settings")
    assert refused.outcome("Settings")["conflicts"] == [{"manager": "gitops", "field": ".data.colour"}]
    taken = desk.play(SETTINGS.replace("VALUE", "red") + "    force_conflicts: true\n")
    assert taken.exit == 0
    assert desk.get("/api/v1/namespaces/NS/configmaps/settings")["data"]["colour"] == "red"


DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: shop}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: main, image: "IMAGE", imagePullPolicy: NEVER, command: [sleep, "1000000"]}
---
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: shop}}
spec: {selector: {app: "{{ who }}"}, ports: [{port: 80, targetPort: 8080}]}
"""
ROLL_OUT = """
- name: Roll out
  k8s: {template: web.yml.j2, wait: true, wait_timeout: LIMIT}
  vars: {who: web}
"""


def test_a_template_with_several_documents_is_waited_for(desk: Desk) -> None:
    text = DEPLOYMENT.replace("IMAGE", images.BUSYBOX).replace("NEVER", "IfNotPresent")
    desk.bench.file("templates/web.yml.j2", text)
    played = desk.play(ROLL_OUT.replace("LIMIT", "60"))
    assert played.exit == 0, played.msg("Roll out")
    assert desk.get("/apis/apps/v1/namespaces/NS/deployments/web")["status"]["availableReplicas"] == 2
    assert desk.get("/api/v1/namespaces/NS/services/web")["spec"]["selector"] == {"app": "web"}
    results = played.outcome("Roll out")["result"]["results"]
    assert [one["kind"] for one in results] == ["Deployment", "Service"]
    assert desk.play(ROLL_OUT.replace("LIMIT", "60")).outcome("Roll out")["changed"] is False
    asked = desk.play(
        """
- name: Pods
  k8s_info: {kind: Pod, label_selectors: [app=web], namespace: NS, field_selectors: [status.phase=Running]}
- name: Say
  k8s_exec: {selector: app=web, command: [sh, -c, "echo hello; echo oh >&2; exit 3"]}
  failed_when: false
- name: Nothing
  k8s_exec: {selector: app=web, command: /bin/nothing}
""".replace("NS", desk.namespace)
    )
    assert len(asked.outcome("Pods")["resources"]) == 2
    said = asked.outcome("Say")
    assert (said["rc"], said["stdout"], said["stderr"]) == (3, "hello", "oh")
    assert asked.exit == 4 and "/bin/nothing" in asked.msg("Nothing")


def test_what_is_not_ready_in_time_says_why(desk: Desk) -> None:
    """The registry of the name doesn't exist, so the node can't pull."""
    text = DEPLOYMENT.replace("IMAGE", "127.0.0.1:9/none:1").replace("NEVER", "Always")
    desk.bench.file("templates/web.yml.j2", text)
    played = desk.play(ROLL_OUT.replace("LIMIT", "6"))
    assert played.exit == 4
    said = played.msg("Roll out")
    assert "Deployment web is not ready after 6 s" in said
    assert "ErrImagePull" in said or "ImagePullBackOff" in said


def test_prune_removes_what_is_not_named_any_more_and_nothing_else(desk: Desk) -> None:
    two = SETTINGS + SETTINGS.replace("Settings", "More").replace("name: settings", "name: more")
    desk.play(two)
    by_hand = {"metadata": {"name": "theirs", "labels": {"app": "shop"}}}
    desk.cluster.ask("POST", f"/api/v1/namespaces/{desk.namespace}/configmaps", by_hand)
    planned = desk.play(SETTINGS + "    prune: app=shop\n", check=True)
    assert planned.outcome("Settings")["pruned"] == ["ConfigMap more"]
    played = desk.play(SETTINGS + "    prune: app=shop\n")
    assert played.outcome("Settings")["pruned"] == ["ConfigMap more"]
    left = {one["metadata"]["name"] for one in desk.get("/api/v1/namespaces/NS/configmaps")["items"]}
    assert left == {"settings", "theirs", "kube-root-ca.crt"}


def test_values_of_a_secret_are_shown_nowhere(desk: Desk) -> None:
    task = """
- name: Key
  k8s:
    definition: {apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {a: VALUE, b: "same-old"}}
"""
    desk.play(task.replace("VALUE", "hunter2-first"))
    played = desk.play(task.replace("VALUE", "hunter2-second"), diff=True)
    told = json.dumps([event.data for event in (*played.of("task_ended"), *played.of("diff"))])
    assert "(secret, before)" in told and "(secret, after)" in told
    for value in ("hunter2", "aHVudGVyMi", "same-old", "c2FtZS1vbGQ"):
        assert value not in told


JOB = """
- name: Work
  k8s:
    wait: true
    wait_timeout: 60
    definition:
      apiVersion: batch/v1
      kind: Job
      metadata: {name: work}
      spec:
        backoffLimit: 0
        template:
          spec:
            restartPolicy: Never
            containers:
"""
CONTAINER = '              - {{name: {0}, image: "{1}", imagePullPolicy: IfNotPresent, command: [sh, -c, "{2}"]}}\n'


def test_what_a_job_prints_is_shown_while_it_runs_and_kept(desk: Desk) -> None:
    """Of both containers of its pod, each line whole; it is told before the Job has ended, also when that fails."""
    script = "for n in 1 2 3; do echo one $n; sleep 1; done"
    second = CONTAINER.format("two", images.BUSYBOX, "echo two >&2")
    played = desk.play(JOB + CONTAINER.format("one", images.BUSYBOX, script) + second)
    assert played.exit == 0, played.msg("Work")
    assert sorted(played.outcome("Work")["stdout_lines"]) == ["one 1", "one 2", "one 3", "two"]
    shown = [event for event in played.of("output") if "one 1" in str(event.data)]
    ended = played.of("task_ended")[-1]
    assert shown and shown[0].at < ended.at - 1.5, (shown, ended)

    desk.bench.folder.joinpath("state").rename(desk.bench.folder / "before")
    failing = JOB.replace("name: work", "name: fails") + CONTAINER.format("main", images.BUSYBOX, "echo why; exit 3")
    failed = desk.play(failing)
    assert failed.exit == 4 and failed.outcome("Work")["stdout"] == "why"


def test_a_job_that_fails_is_not_waited_for_to_the_end(desk: Desk) -> None:
    played = desk.play(JOB + CONTAINER.format("main", images.BUSYBOX, "exit 7"))
    assert played.exit == 4
    assert "Job work will not be ready" in played.msg("Work")
    assert "exit code 7" in played.msg("Work")


# --- pods as hosts ---------------------------------------------------------------------------------------


def test_a_play_runs_in_a_pod_of_its_image_that_is_gone_afterwards(desk: Desk) -> None:
    played = desk.bench.play(f"""
        - hosts: localhost
          connection: kubernetes
          vars: {{which: "{images.PYTHON}"}}
          image: {{name: "{{{{ which }}}}", volumes: ["/usr:/usr:ro"], env: {{WORD: hello}}, memory: 200m, cpus: 1}}
          tasks:
            - name: write
              copy: {{content: x, dest: /root/built}}
            - name: where
              shell: cat /root/built; echo $WORD; hostname
    """)
    assert played.exit == 0, played.errors() or [event.data["msg"] for event in played.of("task_ended")]
    assert played.outcome("where")["stdout"].startswith("xhello\nciflow-r-")
    assert desk.get("/apis/batch/v1/namespaces/NS/jobs")["items"] == []
    assert desk.get("/api/v1/namespaces/NS/pods")["items"] == []


def test_an_image_that_is_not_there_is_said_at_once_and_leaves_nothing(desk: Desk) -> None:
    played = desk.bench.play("""
        - hosts: localhost
          connection: kubernetes
          image: {name: "ciflow.test/none:1", pull: never}
          tasks: [{name: never, command: "true"}]
    """)
    assert played.exit == 5
    assert "ErrImageNeverPull" in played.msg("never")
    assert desk.get("/apis/batch/v1/namespaces/NS/jobs")["items"] == []


def test_pods_that_run_are_hosts_by_their_labels(desk: Desk) -> None:
    text = DEPLOYMENT.split("---")[0].replace("IMAGE", images.BUSYBOX).replace("NEVER", "IfNotPresent")
    desk.bench.file("web.yml", text)
    assert desk.play("- name: Web\n  k8s: {src: web.yml, wait: true}").exit == 0
    desk.bench.file("pods.yml", """
        plugin: kubernetes
        label: app=web
        keyed_groups: [{key: kubernetes_labels.app, prefix: app}]
    """)  # fmt: skip
    found = load_inventory((str(desk.bench.folder / "pods.yml"),), Files.live())
    there = {one["metadata"]["name"] for one in desk.get("/api/v1/namespaces/NS/pods")["items"]}
    assert len(there) == 2 and {host.name for host in found.hosts} == there
    assert set(found.groups["app_web"]) == set(found.groups["pods"]) == there
    assert all(host.connection == "kubernetes" for host in found.hosts)
    assert {host.vars["ansible_kubectl_namespace"] for host in found.hosts} == {desk.namespace}


# --- the least that is needed ----------------------------------------------------------------------------

LEAST = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Settings
      k8s:
        definition: {apiVersion: v1, kind: ConfigMap, metadata: {name: least, labels: {app: least}}}
        prune: app=least
    - name: Web
      k8s: {src: web.yml, wait: true}
    - name: Pods
      k8s_info: {kind: Pod, namespace: NS}
    - name: Say
      k8s_exec: {selector: app=web, command: [echo, hello]}
      register: said
      failed_when: said.stdout != "hello"
    - name: Gone
      k8s: {state: absent, kind: Deployment, api_version: apps/v1, name: web}
"""
EVERYTHING = {
    "": ["pods", "pods/exec", "pods/log", "configmaps", "secrets", "services", "serviceaccounts", "namespaces"],
    "apps": ["deployments", "statefulsets", "daemonsets", "deployments/scale"],
    "batch": ["jobs"],
    "rbac.authorization.k8s.io": ["roles", "rolebindings"],
}
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]


def test_the_roles_that_doctor_prints_are_enough_and_no_more(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The playbook runs as an account that has nothing else, and the server says what that account may not do."""
    web = DEPLOYMENT.split("---")[0].replace("IMAGE", images.BUSYBOX).replace("NEVER", "IfNotPresent")
    desk.bench.file("web.yml", web)
    playbook = desk.bench.file("least.yml", LEAST.replace("NS", desk.namespace))
    ran = CliRunner().invoke(doctor, ["--rbac", str(playbook), "-n", desk.namespace, "--json"], standalone_mode=False)
    (role,) = json.loads(ran.stdout)["roles"]
    account = account_of(desk, role)
    config = json.loads((tmp_path / "kubeconfig").read_text())
    config["users"][0]["user"] = {"token": account}
    path = tmp_path / "least.kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    played = desk.bench.play(LEAST.replace("NS", desk.namespace))
    assert played.exit == 0, [event.data["msg"] for event in played.of("task_ended")]
    needed = {(rule["apiGroups"][0], rule["resources"][0], verb) for rule in role["rules"] for verb in rule["verbs"]}
    cluster, tried = Cluster(str(path)), 0
    for group, resources in EVERYTHING.items():
        for resource, verb in itertools.product(resources, VERBS):
            assert may(cluster, desk.namespace, group, resource, verb) == ((group, resource, verb) in needed), (
                f"{verb} {group}/{resource}"
            )
            tried += 1
    assert not may(cluster, "kube-system", "", "pods", "get")
    print(f"{tried} rights tried, {len(needed)} of them given")


def account_of(desk: Desk, role: dict[str, Any]) -> str:
    """The token of a new account that has this role and no other."""
    space = f"/namespaces/{desk.namespace}"
    desk.cluster.ask("POST", f"/api/v1{space}/serviceaccounts", {"metadata": {"name": "least"}})
    desk.cluster.ask("POST", f"/apis/rbac.authorization.k8s.io/v1{space}/roles", role)
    binding = {
        "metadata": {"name": "least"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "least", "namespace": desk.namespace}],
    }
    desk.cluster.ask("POST", f"/apis/rbac.authorization.k8s.io/v1{space}/rolebindings", binding)
    answer = desk.cluster.ask("POST", f"/api/v1{space}/serviceaccounts/least/token", {"spec": {}})
    return str(answer["status"]["token"])


def may(cluster: Cluster, namespace: str, group: str, resource: str, verb: str) -> bool:
    """What the server answers the account itself (SelfSubjectAccessReview)."""
    name, _, sub = resource.partition("/")
    asked = {"namespace": namespace, "group": group, "resource": name, "subresource": sub, "verb": verb}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = cluster.request("POST", path, body={**review, "spec": {"resourceAttributes": asked}})
    return bool(answer.body["status"]["allowed"])


# --- killed ----------------------------------------------------------------------------------------------


def killed(desk: Desk, playbook: Path, under_way: Callable[[], bool]) -> None:
    """`ciflow apply`, killed (-9) as soon as something is seen to be under way."""
    run = subprocess.Popen([sys.executable, "-m", "ciflow", "apply", str(playbook)], cwd=desk.bench.folder,
                           env=killable(desk), stdout=subprocess.DEVNULL)  # fmt: skip
    wait_for(lambda: under_way() or run.poll() is not None)
    assert run.poll() is None
    run.kill()
    run.wait()


def resumed(desk: Desk) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ciflow", "resume"]
    return subprocess.run(argv, cwd=desk.bench.folder, env=killable(desk), capture_output=True, text=True, timeout=120)


def killable(desk: Desk) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(desk.bench.folder / "xdg")}


def test_a_killed_run_goes_on_in_its_pod_and_repeats_nothing(desk: Desk) -> None:
    """A Job made for the play, a task in its pod, and what is applied after it."""
    log = desk.bench.out / "log"
    playbook = desk.bench.file("killed.yml", f"""
        - hosts: localhost
          connection: kubernetes
          image: {{name: "{images.PYTHON}", volumes: ["/usr:/usr:ro", "{desk.bench.out}:/out"]}}
          tasks:
            - name: once
              shell: echo once >> /out/log; sleep 5
            - name: settings
              k8s: {{definition: {{apiVersion: v1, kind: ConfigMap, metadata: {{name: after}}}}}}
    """)  # fmt: skip
    killed(desk, playbook, log.exists)
    ended = resumed(desk)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert log.read_text() == "once\n"
    assert desk.get("/api/v1/namespaces/NS/configmaps/after")
    assert desk.get("/apis/batch/v1/namespaces/NS/jobs")["items"] == []


@pytest.mark.parametrize("word", ["apply", "delete"])
def test_killed_between_what_the_server_did_and_its_record_nothing_is_made_twice_or_left(desk: Desk, word: str) -> None:
    """After it had made the Job of a play, and taken it away."""
    playbook = desk.bench.file("killed.yml", f"""
        - hosts: localhost
          connection: kubernetes
          image: {{name: "{images.PYTHON}", volumes: ["/usr:/usr:ro", "{desk.bench.out}:/out"]}}
          tasks: [{{name: once, shell: echo once >> /out/log}}]
    """)  # fmt: skip
    died = dies_after("kubernetes", word, "apply", str(playbook), folder=desk.bench.folder, env=killable(desk))
    assert died == -9
    ended = resumed(desk)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (desk.bench.out / "log").read_text() == "once\n"
    assert desk.get("/apis/batch/v1/namespaces/NS/jobs")["items"] == []


def test_a_command_of_k8s_exec_that_the_run_was_killed_under_is_unknown_and_not_run_again(desk: Desk) -> None:
    log = desk.bench.out / "log"
    mounts = {"volumeMounts": [{"name": "out", "from": str(desk.bench.out), "mountPath": "/out"}]}
    pod = desk.cluster.start_pod(f"exec-{desk.namespace}", **mounts)
    playbook = desk.bench.file("killed.yml", f"""
        - hosts: localhost
          gather_facts: false
          tasks:
            - name: migrate
              k8s_exec: {{namespace: default, pod: {pod}, command: [sh, -c, "echo once >> /out/log; sleep 4"]}}
    """)  # fmt: skip
    killed(desk, playbook, log.exists)
    ended = resumed(desk)
    assert ended.returncode == 4
    assert "unknown" in ended.stdout + ended.stderr
    assert log.read_text() == "once\n"
