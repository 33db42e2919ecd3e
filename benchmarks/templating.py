"""What rendering costs beside Jinja2 itself: `python -m benchmarks.templating [--rounds 200]`.

Both render the same text from the same values with compiled templates, in turns of some milliseconds; the least time
of the processor counts, so that what else the machine does changes little. Jinja2 gets its names from a dict, ciflow
from a scope of twelve layers as a task has them, made anew for each text, where a run makes one for all of a task.
"""

import argparse
import time
from collections.abc import Callable

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ciflow.diagnostics import Span
from ciflow.lang.scope import Layer, Level, Scope
from ciflow.lang.template import render, render_text
from ciflow.model import Template

BOUND = 1.2
TURN = 0.005  # seconds
NAMES = {"host": "web1", "number": 7, "workers": list(range(8)), "app": {"name": "shop", "ports": [80, 443]}}
LEVELS = tuple(Level)[:11]
FILE = """# {{ host }}
{% for worker in workers %}
worker.{{ worker }} = {{ host }}-{{ number }}-{{ worker }} {{ app.name | upper }} {{ app.ports | join(',') }}
{% endfor %}
"""
TEXTS = {
    "a file": FILE * 5,
    "one line": "http://{{ host }}:{{ app.ports[0] + number }}/{{ app.name }}?w={{ workers | length }}",
    "one name": "{{ host }}",
    "a member": "{{ app.name }}",
    "a default": "{{ host | default('nobody') }}",
}


def scope() -> Scope:
    """The names in the middle of a task's layers."""
    above, below = (tuple([Layer(level, {}) for level in levels]) for levels in (LEVELS[:6], LEVELS[6:]))
    return Scope((*above, Layer(Level.PLAY_VARS, NAMES, data=True), *below), render)


def by_jinja(text: str) -> Callable[[], object]:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    compiled = made.from_string(text)
    return lambda: compiled.render(NAMES)


def by_ciflow(text: str) -> Callable[[], object]:
    if text.count("\n") > 1:
        return lambda: render_text(text, "a.j2", scope())
    template = Template(text, Span("play.yml", 1, 1))
    return lambda: render(template, scope())


def seconds(run: Callable[[], object], times: int) -> float:
    begun = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - begun) / times


def least(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    """The least seconds that each takes for one text."""
    times = max(1, int(TURN / seconds(theirs, 200)))
    tries = [(seconds(ours, times), seconds(theirs, times)) for _ in range(rounds)]
    return min(here for here, _ in tries), min(there for _, there in tries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    for name, text in TEXTS.items():
        ours, theirs = by_ciflow(text), by_jinja(text)
        assert ours() == theirs()
        here, jinja = least(ours, theirs, rounds)
        held = "holds" if here <= BOUND * jinja else "does not hold"
        print(f"{name:10} jinja2 {jinja * 1e6:8.1f} us  ciflow {here * 1e6:8.1f} us  ratio {here / jinja:.2f}"
              f"  (at most {BOUND}: {held})")  # fmt: skip


if __name__ == "__main__":
    main()
