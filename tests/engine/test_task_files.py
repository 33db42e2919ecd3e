"""Where a task's files are looked for: in the order that Ansible documents and ansible-core 2.19 was seen to keep."""

from __future__ import annotations

import pytest

from tests.engine.playing import Bench

ORDER = ["roles/inner/{kind}", "roles/inner", "roles/middle/{kind}", "roles/middle", "roles/outer/{kind}",
         "roles/outer", "roles/inner/tasks/{kind}", "roles/inner/tasks", "{kind}", "."]  # fmt: skip
INNER = """
- {name: found, copy: {src: "copied{{ item }}", dest: "{here}/out/copied{{ item }}"}, loop: "{{ range(10) | list }}"}
- name: rendered
  template: {src: "rendered{{ item }}", dest: "{here}/out/rendered{{ item }}"}
  loop: "{{ range(10) | list }}"
- {name: read, debug: {msg: "{{ lookup('file', 'copied' ~ item) }}"}, loop: "{{ range(10) | list }}"}
- {name: literal, copy: {src: copied2, dest: "{here}/out/literal"}}
- {name: said, debug: {msg: "{{ ansible_search_path }}"}}
"""


@pytest.mark.parametrize("how", ["import_role", "include_role"])
def test_a_roles_file_is_its_own_or_of_the_roles_that_brought_it_or_beside_tasks_or_playbook(
    how: str, bench: Bench
) -> None:
    """The file with number n lies in the n-th place and all behind it. `middle` depends on `inner`."""
    for kind, name in (("files", "copied"), ("templates", "rendered")):
        places = [place.format(kind=kind) for place in ORDER]
        for number in range(len(places)):
            for place in places[number:]:
                bench.file(f"{place}/{name}{number}", place)
    bench.file("roles/inner/tasks/main.yml", INNER)
    bench.file("roles/middle/meta/main.yml", "dependencies: [inner]\n")
    bench.file("roles/outer/tasks/main.yml", f"- {how}: {{name: middle}}\n")
    played = bench.play("- hosts: localhost\n  roles: [outer]\n")
    assert played.exit == 0
    for kind, name in (("files", "copied"), ("templates", "rendered")):
        found = [(bench.out / f"{name}{number}").read_text() for number in range(len(ORDER))]
        assert found == [place.format(kind=kind) for place in ORDER]
    read = [one["msg"] for one in played.outcome("read")["results"]]
    assert read == [place.format(kind="files") for place in ORDER]
    folders = ["roles/inner", "roles/middle", "roles/outer", "roles/inner/tasks"]
    assert played.msg("said") == [*(str(bench.folder / one) for one in folders), str(bench.folder)]


def test_a_file_beside_included_tasks_comes_before_the_playbooks(bench: Bench) -> None:
    for place in ("parts/files", "parts", "files", "."):
        bench.file(f"{place}/text", place)
    bench.file("parts/more.yml", "- {name: put, copy: {src: text, dest: '{here}/out/put'}}\n")
    text = "- hosts: localhost\n  tasks:\n    - import_tasks: parts/more.yml\n"
    for place in ("parts/files", "parts", "files", "."):
        assert bench.play(text).exit == 0
        assert (bench.out / "put").read_text() == place
        (bench.folder / place / "text").unlink()
