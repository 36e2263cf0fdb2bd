"""The programs in examples/: each run as a user runs it, and its traces read back from MLflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ollama_otel.testing import FakeOllama
from tutorials import (
    EXAMPLES,
    EXPERIMENT,
    MISSING,
    NOTEBOOK,
    NOTEBOOK_ENVIRONMENT,
    NOTEBOOK_OUTPUT,
    NOTEBOOK_TRACES,
    PROGRAMS,
    QUIET,
    SAID,
    by_start,
    cells,
    notebook_command,
    printed,
    scripted_answer,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    from mlflow.entities import Trace

# What mlflow 3.17 leaves open until the process ends; Python 3.13 says so.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")

HERE = Path(__file__).parent
LIMIT = 100  # seconds
AT_A_TIME = 3
NO_CONTENT = "no content"


@dataclass(frozen=True)
class Ran:
    """What is left of a process that had a folder of its own, and an MLflow database in it."""

    directory: Path
    ended: tuple[int, str, str]  # status, output, complaints

    def traces(self) -> list[Trace]:
        """Return what it stored, oldest first."""
        from mlflow import MlflowClient  # noqa: PLC0415  (takes seconds)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what MLflow says of itself
            client = MlflowClient(f"sqlite:///{self.directory / 'mlflow.db'}")
            experiment = client.get_experiment_by_name(EXPERIMENT)
            assert experiment is not None
            found = client.search_traces(locations=[experiment.experiment_id])
        return sorted(found, key=lambda trace: min(map(by_start, trace.data.spans)))


@dataclass(frozen=True)
class Workshop:
    """Runs programs that find a stand-in for Ollama, and an empty database."""

    ollama: str
    empty_database: Path
    directory: Path

    def folder(self, name: str) -> Path:
        """Make a folder with a database."""
        folder = self.directory / name
        folder.mkdir()
        shutil.copy(self.empty_database, folder / "mlflow.db")
        return folder

    def run(self, folder: Path, command: list[str], environment: Mapping[str, str]) -> Ran:
        """Run a program in its folder."""
        servers = {
            "HOME": str(folder),
            "OLLAMA_HOST": self.ollama,
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        }
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **QUIET, **environment, **servers},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return Ran(folder, (done.returncode, done.stdout, done.stderr))


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, made once: making them takes seconds."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    make = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
    command = [sys.executable, "-c", make, f"sqlite:///{file}"]
    subprocess.run(command, env=os.environ | QUIET, check=True, timeout=LIMIT)
    return file


@pytest.fixture(scope="module")
def ran(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Ran]]]:
    """All programs and the notebook, a few at a time: most of what they do is to import mlflow."""
    with (
        FakeOllama(scripted_answer, missing_models=[MISSING]) as server,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        workshop = Workshop(server.url, empty_database, tmp_path_factory.mktemp("examples"))
        own = PROGRAMS["own_opentelemetry"]
        folder = workshop.folder("notebook")
        jobs = {
            "notebook": (folder, notebook_command(folder), NOTEBOOK_ENVIRONMENT),
            NO_CONTENT: (workshop.folder(NO_CONTENT), own.command, {}),
        } | {
            name: (workshop.folder(name), example.command, example.environment)
            for name, example in PROGRAMS.items()
        }
        yield {name: pool.submit(workshop.run, *job) for name, job in jobs.items()}
        pool.shutdown(cancel_futures=True)


def test_every_example_is_run_by_some_test() -> None:
    """Each is named in a file of the fast tests."""
    tests = "".join(file.read_text(encoding="utf-8") for file in HERE.glob("*.py"))

    files = [file.name for file in EXAMPLES.iterdir() if file.is_file()]
    assert [name for name in files if f'"{name}"' not in tests] == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_and_its_traces(ran: dict[str, Future[Ran]], name: str) -> None:
    """It prints its answers and nothing else, and each call is where a reader expects it."""
    example = PROGRAMS[name]
    done = ran[name].result()

    assert done.ended == (0, example.output, "")
    assert [told(trace, example.order) for trace in done.traces()] == [*example.traces]


def test_the_loop_is_the_same_by_either_api() -> None:
    """MLflow's and OpenTelemetry's."""
    mlflow, opentelemetry = PROGRAMS["tool_loop_mlflow"], PROGRAMS["tool_loop_opentelemetry"]

    assert mlflow.traces == opentelemetry.traces


def test_without_the_standard_variable_no_content_is_stored(ran: dict[str, Future[Ran]]) -> None:
    """In an OpenTelemetry set-up of one's own."""
    done = ran[NO_CONTENT].result()

    assert done.ended == (0, f"{SAID}\n", "")
    (trace,) = done.traces()
    assert [span.name for span in trace.data.spans] == ["GET /why-is-the-sky-blue", "chat scripted"]
    assert [word for word in (SAID, "Why is") if word in trace.to_json()] == []


def test_the_application_says_which_service_it_is(ran: dict[str, Future[Ran]]) -> None:
    """The resource of its own set-up."""
    (trace,) = ran["own_opentelemetry"].result().traces()

    assert trace.info.tags["service.name"] == "weather-desk"


def test_a_tag_that_a_program_sets(ran: dict[str, Future[Ran]]) -> None:
    """Lies on the trace in which it was set, and on no other."""
    traces = ran["manual_spans"].result().traces()

    tags = [trace.info.tags.get("season") for trace in traces]
    assert tags == [None] * 4 + ["autumn"] + [None] * 3


def test_the_notebook_goes_from_nothing_to_the_tool_loop(ran: dict[str, Future[Ran]]) -> None:
    """Every cell runs, and what was shown is stored."""
    done = ran["notebook"].result()
    status, _, complaints = done.ended

    assert status == 0, complaints
    executed = cells(done.directory / "executed.ipynb")
    assert {name: printed(cell) for name, cell in executed.items()} == NOTEBOOK_OUTPUT
    assert [told(trace, by_start) for trace in done.traces()] == [*NOTEBOOK_TRACES]


def test_the_notebook_is_kept_without_outputs() -> None:
    """They would hold addresses of the machine on which it ran."""
    assert [
        name
        for name, cell in cells(NOTEBOOK).items()
        if cell["outputs"] or cell["execution_count"] is not None
    ] == []
