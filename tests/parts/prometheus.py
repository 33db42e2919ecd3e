"""A real Prometheus that scrapes what a test names, each quarter of a second."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parts import process
from tests.parts.http import get

INTERVAL_S = 0.25


@dataclass(frozen=True)
class Prometheus:
    url: str
    running: process.Running


@contextlib.contextmanager
def prometheus(folder: Path, jobs: Mapping[str, Sequence[str]], address: str = "127.0.0.1") -> Iterator[Prometheus]:
    """Scrape `jobs` (name to `host:port` list, path /metrics) into a data folder of its own.

    Ready does not mean scraping: Prometheus 2.42 looks at its targets for the first time after 5 s.
    """
    lines = [f"global: {{scrape_interval: {int(INTERVAL_S * 1000)}ms, scrape_timeout: {int(INTERVAL_S * 1000)}ms}}"]
    lines.append("scrape_configs:")
    for name, targets in jobs.items():
        listed = ", ".join(f'"{target}"' for target in targets)
        lines.append(f"  - {{job_name: {name}, static_configs: [{{targets: [{listed}]}}]}}")
    config = folder / "prometheus.yml"
    config.write_text("\n".join(lines) + "\n")
    url = f"http://{address}:{process.free_port(address)}"
    argv = [process.find("prometheus", "prometheus"), f"--config.file={config}"]
    argv += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={url.removeprefix('http://')}"]
    with process.run("prometheus", argv, folder, lambda: get(f"{url}/-/ready").status == 200) as running:
        yield Prometheus(url, running)
