"""What rendering costs beside Jinja2 itself: `python -m benchmarks.templating [--rounds 7]`.

Both render the same text from the same values with compiled templates, in turns; the least time counts. Jinja2 gets its
names from a dict, ciflow from a scope of twelve layers as a task has them, made anew for each host as a run does.
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
    begun = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - begun) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for name, text in TEXTS.items():
        ours, theirs = by_ciflow(text), by_jinja(text)
        assert ours() == theirs()
        times = 300 if name == "a file" else 3000
        tries = [(seconds(theirs, times), seconds(ours, times)) for _ in range(rounds)]
        jinja, here = min(one for one, _ in tries), min(two for _, two in tries)
        held = "holds" if here <= BOUND * jinja else "does not hold"
        print(f"{name:10} jinja2 {jinja * 1e6:8.1f} us  ciflow {here * 1e6:8.1f} us  ratio {here / jinja:.2f}"
              f"  (at most {BOUND}: {held})")  # fmt: skip


if __name__ == "__main__":
    main()
