"""More programs in examples/, each run as a user runs it, and its traces read back from MLflow.

Those with a framework are among the live tests, where the frameworks are installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from live.servers import free_address, wait_until
from more_tutorials import (
    ADA,
    BOB,
    EMBEDDER,
    ENVIRONMENT,
    EVALUATION_OUTPUT,
    MARKS,
    REQUESTS,
    SESSIONS,
    SESSIONS_OUTPUT,
    Marks,
    answered,
    command,
    evaluated,
    indexed,
    served,
    session_of,
)
from ollama_otel.testing import FakeOllama
from tutorials import EXPERIMENT, SAID, TOOL_LOOP, by_start, scripted_answer, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow.entities import Trace

    from more_tutorials import Asked

# What mlflow 3.17 leaves open until the process ends; Python 3.13 says so.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")

LIMIT = 100  # seconds, for all of them at the same time
DIMENSIONS = 64  # of the stand-in's vectors

Running = dict[str, tuple["Path", subprocess.Popen[str]]]


@pytest.fixture(scope="module")
def address() -> str:
    """Where the server will answer."""
    return free_address()


@pytest.fixture(scope="module")
def running(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All programs at the same time, each in a folder of its own with an empty database."""
    empty = tmp_path_factory.mktemp("empty") / "mlflow.db"
    make = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
    subprocess.run(
        [sys.executable, "-c", make, f"sqlite:///{empty}"],
        env=os.environ | ENVIRONMENT,
        check=True,
        timeout=LIMIT,
    )
    commands = {
        "rag": command("rag", EMBEDDER),
        "sessions": command("sessions"),
        "evaluation": command("evaluation"),
        "server": command("server", address.partition(":")[2]),
    }
    with FakeOllama(scripted_answer) as ollama:
        started: Running = {}
        for name, line in commands.items():
            folder = tmp_path_factory.mktemp(name)
            shutil.copy(empty, folder / "mlflow.db")
            started[name] = folder, _start(line, folder, ollama.url)
        try:
            yield started
        finally:
            for _, process in started.values():
                process.kill()
                process.communicate()


def _start(line: list[str], folder: Path, ollama: str) -> subprocess.Popen[str]:
    more = {
        "HOME": str(folder),
        "OLLAMA_HOST": ollama,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    return subprocess.Popen(
        line,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(running: Running, name: str) -> tuple[int, str, str]:
    """Wait for the end of a program; return status, output and complaints."""
    _, process = running[name]
    output, complaints = process.communicate(timeout=LIMIT)
    return process.returncode, output, complaints


def stored(running: Running, name: str, experiment: str = EXPERIMENT) -> list[Trace]:
    """Return what a program stored, oldest first."""
    from mlflow import MlflowClient  # noqa: PLC0415  (takes seconds)

    folder, _ = running[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MLflow says of itself
        client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        traces = client.search_traces(locations=[found.experiment_id])
    return sorted(traces, key=lambda trace: min(map(by_start, trace.data.spans)))


def test_retrieval(running: Running) -> None:
    """The agent's trace shows the documents that were found, and how they were found."""
    assert ended(running, "rag") == (0, f"{SAID}\n", "")

    traces = [told(trace, by_start) for trace in stored(running, "rag")]
    assert traces == [indexed(DIMENSIONS), answered(DIMENSIONS)]


def test_sessions(running: Running) -> None:
    """Both ways tell MLflow the same."""
    assert ended(running, "sessions") == (0, SESSIONS_OUTPUT, "")

    traces = stored(running, "sessions")
    assert [session_of(trace) for trace in traces] == [ADA, ADA, BOB, BOB]
    assert [told(trace, by_start) for trace in traces] == SESSIONS


def test_evaluation(running: Running) -> None:
    """Each row is one trace, and the marks of scorers and people lie on it."""
    status, output, complaints = ended(running, "evaluation")

    assert status == 0, complaints
    assert [line for line in EVALUATION_OUTPUT if line not in output.splitlines()] == []
    traces = stored(running, "evaluation")
    traces.sort(key=lambda trace: len(trace.data.spans), reverse=True)
    assert [told(trace, by_start) for trace in traces] == evaluated(TOOL_LOOP)
    assert [Marks.of(trace) for trace in traces] == MARKS


def test_a_server(running: Running, address: str) -> None:
    """Requests at the same time: each with its own session, in the experiment of its team.

    It is stopped at once, and yet all is stored.
    """
    _, process = running["server"]
    with httpx.Client(base_url=f"http://{address}", timeout=LIMIT) as client:
        wait_until(lambda: process.poll() is not None or _answers(client), "the server answers")

        def ask(asked: Asked) -> str:
            body = {"session": asked.session, "user": asked.user, "question": asked.question}
            return str(client.post(f"/{asked.team}/chat", json=body).json()["answer"])

        with ThreadPoolExecutor(len(REQUESTS)) as pool:
            assert list(pool.map(ask, REQUESTS)) == [SAID] * len(REQUESTS)
    process.terminate()
    process.communicate(timeout=LIMIT)

    for team in ("physics", "finance"):
        traces = [
            (of["session"], of["user"], told(trace, by_start))
            for trace in stored(running, "server", f"team-{team}")
            for of in [session_of(trace)]
        ]
        traces.sort(key=lambda each: each[0])
        assert traces == [served(asked) for asked in REQUESTS if asked.team == team]


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/openapi.json").is_success
    except httpx.TransportError:
        return False
