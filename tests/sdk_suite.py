"""Run the Ollama SDK's own tests with and without us: they must not notice.

The tests are in the SDK's sdist. They run in an environment that holds one release of the SDK,
once as it is, once with spans alone and once with spans, metrics and events. Outcomes, warnings
and logged complaints of every test must be the same. The oldest supported and the installed
release are tried; their environments and sdists are kept in a cache outside the tree.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement

from live.counterparts import cache_directory
from ollama_otel import OllamaInstrumentor

ROOT = Path(__file__).parent.parent
LIMIT = 300.0  # seconds, for one run
CAME_TO_ITS_END = (0, 1)  # pytest's exit status where all passed, and where some failed

# What the SDK's tests import, and what our plugin needs.
NEEDED = ("anyio", "pytest", "pytest-httpserver", "opentelemetry-sdk")

WAYS = {
    "none": "as it is",
    "spans": "spans",
    "all": "spans, metrics, events",
}
"""What sdk_plugin.py records, and how the table calls it."""

RECORDED = {
    "none": ("outcomes",),  # what the others are compared with
    "spans": ("started",),
    "all": ("started", "points", "events"),
}
"""What must be there after a run: else nothing was compared."""


@dataclass(frozen=True)
class Run:
    """What happened in one run of the SDK's tests.

    Attributes:
        outcomes: test → passed, skipped or failed, and in which phase.
        complaints: warning or logged complaint → how often.
        started: number of spans.
        ended: number of spans that ended.
        points: number of metric points.
        events: number of log events.
    """

    outcomes: dict[str, str]
    complaints: dict[str, int]
    started: int
    ended: int
    points: int
    events: int


def releases() -> list[str]:
    """Return the oldest supported release of the SDK and the installed one."""
    (dependency,) = OllamaInstrumentor().instrumentation_dependencies()
    lowest = [each.version for each in Requirement(dependency).specifier if each.operator == ">="]
    return list(dict.fromkeys([*lowest, version("ollama")]))


def environment(release: str) -> Path:
    """Return the Python of an environment with a release of the SDK, made anew."""
    uv = Path(sys.executable).with_name("uv")
    directory = cache_directory() / f"sdk-{release}"
    python = directory / "bin" / "python"
    subprocess.run(
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, directory], check=True
    )
    subprocess.run(
        [
            *(uv, "pip", "install", "--quiet", "--python", python),
            *("--editable", ROOT, f"ollama=={release}", *NEEDED),
        ],
        check=True,
    )
    return python


def sdist(release: str) -> Path:
    """Return the SDK's sdist from the cache, after a download where it is not there yet."""
    file = cache_directory() / f"ollama-{release}.tar.gz"
    if not file.exists():
        # pip, because uv has no download; it reads the index that is configured here.
        with tempfile.TemporaryDirectory(dir=cache_directory()) as scratch:
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                    *("--no-binary=:all:", "--dest", scratch, f"ollama=={release}"),
                ],
                check=True,
            )
            (Path(scratch) / file.name).replace(file)
    return file


def unpack_tests(archive: Path, directory: Path) -> None:
    """Unpack the tests of an sdist, and the settings with which they are to run."""
    folder = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as tar:
        wanted = [
            member
            for member in tar.getmembers()
            if member.name.startswith(f"{folder}/tests/")
            or member.name == f"{folder}/pyproject.toml"
        ]
        # The filter refuses what would end up outside the directory.
        tar.extractall(directory, members=wanted, filter="data")
    (directory / folder).rename(directory / "sdk")


def run(python: Path, tests: Path, way: str) -> Run:
    """Run the SDK's tests, and the examples in its docstrings, in one of the ways.

    Raises:
        RuntimeError: pytest did not come to its end.
    """
    notes = tests / f"{way}.json"
    done = subprocess.run(
        [
            *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "sdk_plugin", "--telemetry", way, "--notes", notes),
            *("./tests", "--pyargs", "ollama"),
        ],
        cwd=tests,
        env=settings(),
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode not in CAME_TO_ITS_END:
        raise RuntimeError(f"pytest exited with {done.returncode}\n{done.stdout}{done.stderr}")
    if done.returncode:
        sys.stdout.write(done.stdout)
    return Run(**json.loads(notes.read_text()))


def settings() -> dict[str, str]:
    """Return the environment variables of a run: content everywhere, our own errors loud."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "OLLAMA_", "MLFLOW_", "PYTEST_"))
    }
    return kept | {
        "PYTHONPATH": str(Path(__file__).parent),
        "NO_PROXY": "localhost,127.0.0.1",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
        "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "true",
        "OLLAMA_OTEL_RAISE_ERRORS": "true",
    }


def findings(way: str, plain: Run, watched: Run) -> list[str]:
    """Return what the SDK's tests noticed of us, and what we failed to record.

    Args:
        way: how the second run was recorded.
        plain: the run without us.
        watched: the run with us.
    """
    found = [
        f"{name}: {before.get(name, 'absent')} without us, {after.get(name, 'absent')} with us"
        for before, after in (
            (plain.outcomes, watched.outcomes),
            (plain.complaints, watched.complaints),
        )
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if watched.started != watched.ended:
        found.append(f"{watched.started} spans were started and {watched.ended} ended")
    idle = [what for what in RECORDED[way] if not getattr(watched, what)]
    return found + [f"no {what}: nothing was compared" for what in idle]


def row(*cells: object) -> str:
    """Return a line of the table."""
    return "{:<7} {:<23} {:>6} {:>6} {:>7} {:>5} {:>6} {:>6}  {}".format(*cells)


def counts(run_: Run) -> tuple[int, ...]:
    """Return what the table says of a run."""
    kinds = Counter(outcome.partition(" ")[0] for outcome in run_.outcomes.values())
    failed = kinds.total() - kinds["passed"] - kinds["skipped"]
    return kinds["passed"], failed, kinds["skipped"], run_.ended, run_.points, run_.events


def compare(release: str) -> list[str]:
    """Run the tests of a release in every way, print a line for each, return the findings."""
    python = environment(release)
    with tempfile.TemporaryDirectory() as scratch:
        unpack_tests(sdist(release), Path(scratch))
        runs = {way: run(python, Path(scratch) / "sdk", way) for way in WAYS}
    found = {way: findings(way, runs["none"], runs[way]) for way in WAYS}
    for way, told in WAYS.items():
        say(row(release, told, *counts(runs[way]), verdict(way, found[way])))
    return [f"{release}, {WAYS[way]}: {each}" for way in WAYS for each in found[way]]


def verdict(way: str, found: list[str]) -> str:
    """Return what the table says of a comparison."""
    if found:
        return f"{len(found)} findings"
    return "same" if RECORDED[way] != RECORDED["none"] else ""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Compare on both releases; return the exit status."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    header = ("passed", "failed", "skipped", "spans", "points", "events", "result")
    say(row("SDK", "recorded", *header))
    found = [each for release in releases() for each in compare(release)]
    for each in found:
        say(each)
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
