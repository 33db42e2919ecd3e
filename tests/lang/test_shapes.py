"""Members of ciflow's own names, and names of artifacts: what is mistyped is found before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lang.test_check import found, play

CANARY = """\
- name: Build
  id: build
  hosts: localhost
  matrix: {bin: [server, cli], include: [{bin: cli, os: mac}]}
  tasks:
    - {name: Build, debug: {msg: "%(build)s"}}
  outputs: {digest: "{{ run.id }}"}
- name: Roll out
  hosts: localhost
  canary:
    service: shop
    version: "1"
    router: {envoy: {port: 80}}
    slots: {a: {port: 8081, only_a: 1}, b: {port: 8082}}
    steps: [100%%]
    gates: [{query: {prometheus: {url: "%(gate)s", query: up}, max: 4}}]
  tasks:
    - {name: Start, debug: {msg: "%(task)s"}}
  verify:
    - {name: Ask, debug: {msg: "%(verify)s"}}
"""


def faults(folder: Path, **where: str) -> list[tuple[str, str, str]]:
    text = CANARY % {"build": "", "gate": "", "task": "", "verify": "", **where}
    return [(one.severity, one.message, str(one.label)) for one in found(folder, text) if one.code == "CF0210"]


@pytest.mark.parametrize(
    ("where", "text", "message", "label"),
    [("task", "{{ slot.prt }}", "`slot` has no `prt`", "did you mean `port`?"),
     ("task", "{{ slot['nmae'] }}", "`slot` has no `nmae`", "did you mean `name`?"),
     ("verify", "http://127.0.0.1:{{ slot.prot }}/", "`slot` has no `prot`", "did you mean `port`?"),
     ("task", "{{ release.verison }}", "`release` has no `verison`", "did you mean `version`?"),
     ("gate", "{{ stable.prot }}", "`stable` has no `prot`", "did you mean `port`?"),
     ("gate", "{{ slot.address }}", "`slot` has no `address`", "it has name, port, only_a"),
     ("build", "{{ matrix.bim }}", "`matrix` has no `bim`", "did you mean `bin`?"),
     ("task", "{{ matrix.bin }}", "`matrix` has no `bin`", "there is nothing in `matrix` here"),
     ("build", "{{ git.comit }}", "`git` has no `comit`", "it has branch, sha, tag, dirty, author"),
     ("build", "{{ run.strated | upper }}", "`run` has no `strated`", "did you mean `started`?"),
     ("task", "{{ plays.biuld.outputs.digest }}", "`plays` has no `biuld`", "did you mean `build`?"),
     ("task", "{{ plays.build.outputs.dgest }}", "`plays.build.outputs` has no `dgest`", "did you mean `digest`?"),
     ("build", "{{ slot.name }}", "`slot` is not defined", "only the tasks of a play with `canary` have a slot")],
)  # fmt: skip
def test_a_mistyped_member_is_found_with_the_nearest(
    where: str, text: str, message: str, label: str, tmp_path: Path
) -> None:
    assert faults(tmp_path, **{where: text}) == [("error", message, label)]


@pytest.mark.parametrize(
    ("where", "text"),
    [("task", "{{ slot.name }} {{ slot.only_a }} {{ release.live }} {{ plays.build.outputs.digest }}"),
     ("gate", "{{ slot.name }} {{ stable.port }} {{ release.version }}"), ("build", "{{ matrix.os }}"),
     ("build", "{{ matrix.items() | list }} {{ matrix.zip | default('none') }}"), ("build", "{{ git.sha[:7] }}"),
     ("task", "{% set slot = {'x': 1} %}{{ slot.x }}"), ("task", "{% for run in [{'x': 1}] %}{{ run.x }}{% endfor %}"),
     ("build", "{{ matrix.zip if matrix.zip is defined else 1 }}")],
)  # fmt: skip
def test_a_member_that_is_there_or_need_not_be_is_left_alone(where: str, text: str, tmp_path: Path) -> None:
    assert faults(tmp_path, **{where: text}) == []


def test_the_place_of_a_mistyped_member_is_its_own(tmp_path: Path) -> None:
    (fault,) = found(tmp_path, play('- {name: Say, debug: {msg: "{{ x.sah }} {{ git.sah }}"}, vars: {x: {sah: 1}}}'))
    assert fault.span is not None
    assert (fault.span.line, fault.span.column) == (3, 52)


def test_a_mistyped_member_under_a_condition_is_a_warning(tmp_path: Path) -> None:
    text = play('- {name: Say, debug: {msg: "{{ matrix.bin }}"}, when: 1 > 2}')
    assert [one.severity for one in found(tmp_path, text)] == ["warning"]


def test_a_variable_of_that_name_is_the_playbooks_own_affair(tmp_path: Path) -> None:
    text = play('- {name: Say, debug: {msg: "{{ slot.anything }} {{ run.stdout }}"}}', vars="{slot: {anything: 1}}")
    assert found(tmp_path, text.replace("  tasks:\n", "  tasks:\n    - {command: id, register: run}\n")) == ()


def test_a_faulty_canary_is_told_alone(tmp_path: Path) -> None:
    text = CANARY % {"build": "", "gate": "", "task": "{{ slot.port }}", "verify": ""}
    messages = [one.message for one in found(tmp_path, text.replace("envoy", "envy"))]
    assert messages == ["unknown router `envy`"]


# --- artifacts -----------------------------------------------------------------------------------------

SHOP = """\
- name: Build
  id: build
  hosts: localhost
  matrix: {bin: [server, cli]}
  tasks:
    - {name: Build, command: make}
  artifacts:
    - {name: "shop-{{ matrix.bin }}", path: out}
    - {name: page, path: out/page}
- name: Deploy
  hosts: localhost
  {NEEDS}
  tasks:
    - {name: Put it there, {TASK}}
  artifacts:
    - {name: taken, key: "1"}
    - {name: made, path: there}
"""


def artifact_faults(folder: Path, task: str, needs: str = "tags: []") -> list[tuple[str, str, str]]:
    text = SHOP.replace("{TASK}", task).replace("{NEEDS}", needs)
    return [(one.severity, one.message, str(one.label)) for one in found(folder, text) if one.code == "CF0310"]


@pytest.mark.parametrize("name", ["shop-server", "page", "taken", '"{{ inventory_hostname }}"'])
def test_an_artifact_that_a_play_before_leaves_or_this_one_takes_is_known(name: str, tmp_path: Path) -> None:
    assert artifact_faults(tmp_path, f"artifact: {{name: {name}, dest: /opt/x}}") == []


@pytest.mark.parametrize(
    ("task", "label"),
    [("artifact: {name: pgae, dest: /opt/x}", "did you mean `page`?"),
     ("artifact: {name: made, dest: /opt/x}", "there are: page, taken"),
     ("sign: {artifact: pgae, key: k.pem}", "did you mean `page`?"),
     ("verify: {artifact: pgae, policy: p.yml}", "did you mean `page`?")],
)  # fmt: skip
def test_an_artifact_that_nobody_left_is_found_before_the_run(task: str, label: str, tmp_path: Path) -> None:
    ((severity, message, said),) = artifact_faults(tmp_path, task)
    assert (severity, said) == ("error", label)
    assert message.startswith("no play before leaves an artifact `")


def test_in_a_graph_any_other_play_may_have_left_it(tmp_path: Path) -> None:
    assert artifact_faults(tmp_path, "artifact: {name: page, dest: /opt/x}", "needs: [build]") == []


def test_an_artifact_under_a_condition_that_nobody_left_is_a_warning(tmp_path: Path) -> None:
    ((severity, *_),) = artifact_faults(tmp_path, "artifact: {name: pgae, dest: /opt/x}, when: 1 > 2")
    assert severity == "warning"
