"""Loops and repetition: items, `when` for each item, registers of loops, loop_control, until."""

from tests.engine.playing import Bench


def test_a_register_of_a_loop_holds_every_items_result(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - name: loop
              command: echo {{ item }}
              loop: [a, b, c]
              when: item != 'b'
              register: all
            - name: said
              debug: {msg: "{{ all.results | map(attribute='stdout', default='-') | join(' ') }}"}
            - name: skipped
              debug: {msg: "{{ all.results | selectattr('skipped', 'defined') | selectattr('skipped') | map(attribute='item') | list }}"}
            - name: whole
              debug: {msg: "{{ all.changed }} {{ all is failed }}"}
        """  # noqa: E501
    )
    assert played.msg("said") == "a - c"
    assert played.msg("skipped") == ["b"]
    assert played.msg("whole") == "True False"


def test_a_loop_goes_on_after_a_failed_item_and_then_fails(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - name: loop
              shell: echo {{ item }} >> {here}/out/log; test {{ item }} != b
              loop: [a, b, c]
        """
    )
    assert bench.wrote() == ["a", "b", "c"]
    assert played.status("loop") == "failed"
    assert played.outcome("loop")["msg"] == "One or more items failed"


def test_a_loop_over_nothing_or_with_all_items_skipped_is_skipped(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: nothing, command: "true", loop: [], register: it}
            - {name: skipped, command: "true", loop: [1, 2], when: item > 2}
            - {name: said, debug: {msg: "{{ it.results }} {{ it is skipped }}"}}
        """
    )
    assert played.ends() == [("nothing", "skipped"), ("skipped", "skipped"), ("said", "ok")]
    assert played.msg("said") == "[] True"


def test_when_can_keep_an_undefined_list_from_being_looped_over(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: loop, command: "true", loop: "{{ x.things }}", when: x.things is defined}
          vars: {x: {}}
        """
    )
    assert played.ends() == [("loop", "skipped")]


def test_loop_control_names_counts_and_extends(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - name: loop
              debug:
                msg: "{{ thing }} {{ n }} {{ ansible_loop.index }}/{{ ansible_loop.length }}
                      {{ ansible_loop.first }} {{ ansible_loop.previtem | default('-') }}
                      {{ ansible_loop.nextitem | default('-') }} {{ ansible_loop.allitems }}"
              loop: [a, b]
              loop_control: {loop_var: thing, index_var: n, extended: true, label: "L{{ thing }}"}
              register: it
            - {name: labels, debug: {msg: "{{ it.results | map(attribute='_ansible_item_label') | join(' ') }}"}}
        """
    )
    results = played.outcome("loop")["results"]
    assert [r["msg"] for r in results] == ["a 0 1/2 True - b ['a', 'b']", "b 1 2/2 False a - ['a', 'b']"]
    assert [(r["thing"], r["ansible_loop_var"]) for r in results] == [("a", "thing"), ("b", "thing")]
    assert played.msg("labels") == "La Lb"


def test_break_when_ends_a_loop_early(bench: Bench) -> None:
    bench.play(
        """
        - hosts: localhost
          tasks:
            - shell: echo {{ item }} >> {here}/out/log; echo {{ item }}
              loop: [a, b, c]
              register: it
              loop_control: {break_when: it.stdout == 'b'}
        """
    )
    assert bench.wrote() == ["a", "b"]


def test_what_one_item_sets_the_next_one_sees(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars: {sum: 0}
          tasks:
            - {name: add, set_fact: {sum: "{{ sum | int + item }}"}, loop: [1, 2, 3]}
            - {name: said, debug: {msg: "{{ sum }}"}}
        """
    )
    assert played.msg("said") in (6, "6")


def test_until_tries_again_and_counts(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - name: third
              shell: echo x >> {here}/out/log; wc -l < {here}/out/log
              register: it
              until: it.stdout | int == 3
              retries: 5
              delay: 0
        """
    )
    assert played.status("third") == "changed"
    assert played.outcome("third")["attempts"] == 3
    assert len(played.of("retry")) == 2


def test_until_that_never_holds_fails_after_one_try_and_the_retries(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: t, shell: echo x >> {here}/out/log, register: it, until: it.rc == 7, retries: 2, delay: 0}
        """
    )
    assert bench.wrote() == ["x"] * 3
    assert played.status("t") == "failed"


def test_retries_without_until_means_until_it_goes_well(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: t, shell: "echo x >> {here}/out/log; test $(wc -l < {here}/out/log) = 2", retries: 5, delay: 0}
        """
    )
    assert bench.wrote() == ["x"] * 2
    assert played.status("t") == "changed"


def test_until_in_a_loop_is_asked_for_each_item(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - name: t
              shell: echo x >> {here}/out/{{ item }}; wc -l < {here}/out/{{ item }}
              loop: [a, b]
              register: it
              until: it.stdout | int == 2
              delay: 0
        """
    )
    assert [r["attempts"] for r in played.outcome("t")["results"]] == [2, 2]


def test_the_old_forms_of_loops(bench: Bench) -> None:
    bench.file("files/one.txt", "1")
    bench.file("files/two.txt", "2")
    forms = {
        "with_items: [[1, 2], 3]": ["1", "2", "3"],
        "with_list: [[1, 2], 3]": ["[1, 2]", "3"],
        "with_dict: {a: 1, b: 2}": ["{'key': 'a', 'value': 1}", "{'key': 'b', 'value': 2}"],
        "with_sequence: start=1 end=3": ["1", "2", "3"],
        "with_nested: [[a, b], [1]]": ["['a', 1]", "['b', 1]"],
        "with_together: [[a, b], [1, 2]]": ["['a', 1]", "['b', 2]"],
        "with_indexed_items: [x, y]": ["[0, 'x']", "[1, 'y']"],
        "with_flattened: [[1, [2]], 3]": ["1", "2", "3"],
        "with_fileglob: '{here}/files/*.txt'": [f"{bench.folder}/files/one.txt", f"{bench.folder}/files/two.txt"],
        "with_file: ['{here}/files/one.txt']": ["1"],
        "with_lines: ['echo a; echo b']": ["a", "b"],
        "with_first_found: ['{here}/none', '{here}/files/two.txt']": [f"{bench.folder}/files/two.txt"],
    }
    tasks = "".join(
        f'    - name: t{n}\n      debug: {{msg: "{{{{ item }}}}"}}\n      {form}\n' for n, form in enumerate(forms)
    )
    played = bench.play("- hosts: localhost\n  tasks:\n" + tasks)
    assert played.exit == 0, played.ends()
    for number, wanted in enumerate(forms.values()):
        assert [str(r["msg"]) for r in played.outcome(f"t{number}")["results"]] == wanted
