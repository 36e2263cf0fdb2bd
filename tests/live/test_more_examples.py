"""More programs in examples/, and those with a framework, against real servers."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from more_tutorials import (
    ADA,
    BOB,
    EMBEDDER,
    ENVIRONMENT,
    EVALUATION_OUTPUT,
    FRAMEWORKS,
    MARKS,
    REQUESTS,
    SESSIONS,
    SESSIONS_OUTPUT,
    Marks,
    answered,
    command,
    evaluated,
    indexed,
    innermost,
    outline,
    served,
    session_of,
)
from ollama_otel.testing import FakeOllama
from tutorials import EXPERIMENT, SAID, TOOL_LOOP, by_start, scripted_answer, told

from .applications import LIMIT, Ended
from .availability import unavailable_skips
from .servers import answers, environment, free_address, running
from .stored import finished_traces, texts_read

# Of the scripted embedding model. Its module needs what only the live tests have.
DIMENSIONS = 512

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Trace

    from more_tutorials import Asked

    from .servers import OllamaServer

Servers = dict[str, str]


@pytest.fixture(scope="module")
def servers(ollama_server: OllamaServer, mlflow_server: str) -> Servers:
    """The variables that name the servers."""
    return {"OLLAMA_HOST": ollama_server.url, "MLFLOW_TRACKING_URI": mlflow_server}


def run(line: list[str], home: Path, servers: Servers) -> Ended:
    """Run a program as its header says."""
    done = subprocess.run(
        line,
        cwd=home,
        env=environment(home, **ENVIRONMENT, **servers),
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def taken(servers: Servers, name: str, count: int, experiment: str = EXPERIMENT) -> list[Trace]:
    """Return the traces that came, and rename their experiment: the next one is empty."""
    from mlflow import MlflowClient  # noqa: PLC0415  (takes seconds)

    uri = servers["MLFLOW_TRACKING_URI"]
    traces = finished_traces(uri, experiment, count)
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    client.rename_experiment(found.experiment_id, f"{experiment} of more, {name}")
    return traces


def seen(traces: list[Trace]) -> Any:
    return texts_read([told(trace, by_start) for trace in traces])


def test_retrieval(servers: Servers, tmp_path: Path) -> None:
    """As with the stand-in: the same documents are found."""
    assert run(command("rag", EMBEDDER), tmp_path, servers) == Ended(0, f"{SAID}\n", "")

    expected = [indexed(DIMENSIONS), answered(DIMENSIONS)]
    assert seen(taken(servers, "rag", 2)) == texts_read(expected)


def test_sessions(servers: Servers, tmp_path: Path) -> None:
    """Both ways tell MLflow the same."""
    assert run(command("sessions"), tmp_path, servers) == Ended(0, SESSIONS_OUTPUT, "")

    traces = taken(servers, "sessions", 4)
    assert [session_of(trace) for trace in traces] == [ADA, ADA, BOB, BOB]
    assert seen(traces) == texts_read(SESSIONS)


def test_evaluation(servers: Servers, tmp_path: Path) -> None:
    """Each row is one trace, and the marks of scorers and people lie on it."""
    ended = run(command("evaluation"), tmp_path, servers)

    assert ended.status == 0, ended.complaints
    assert [line for line in EVALUATION_OUTPUT if line not in ended.output.splitlines()] == []
    traces = taken(servers, "evaluation", 2)
    traces.sort(key=lambda trace: len(trace.data.spans), reverse=True)
    assert seen(traces) == texts_read(evaluated(TOOL_LOOP))
    assert [Marks.of(trace) for trace in traces] == MARKS


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework(servers: Servers, tmp_path: Path, name: str) -> None:
    """The call is one span below the framework's, and its tokens are counted once."""
    with unavailable_skips():
        import langchain_ollama  # noqa: F401, PLC0415 - group live
        import llama_index.llms.ollama  # type: ignore[import-untyped]  # noqa: F401, PLC0415 - group live

    expected = FRAMEWORKS[name]
    with FakeOllama(scripted_answer) as stand_in:
        for ollama in (servers["OLLAMA_HOST"], stand_in.url):
            ended = run(command(name), tmp_path, servers | {"OLLAMA_HOST": ollama})

            output = f"{SAID}\n" * expected.count
            assert (ended.status, ended.output) == (0, output), ended.complaints
            for trace in taken(servers, f"{name} of {ollama}", expected.count):
                shown = told(trace, by_start)
                assert outline(shown) == expected.lines
                assert innermost(shown) == expected.call
                assert trace.info.token_usage == tokens_of(trace, expected.call["name"])


def tokens_of(trace: Trace, name: str) -> Any:
    (call,) = [span for span in trace.data.spans if span.name == name]
    return call.attributes["mlflow.chat.tokenUsage"]


def test_a_server(servers: Servers, tmp_path: Path) -> None:
    """Requests at the same time: each with its own session, in the experiment of its team."""
    address = free_address()
    line = command("server", address.partition(":")[2])
    env = environment(tmp_path, **ENVIRONMENT, **servers)

    def ask(asked: Asked) -> str:
        body = {"session": asked.session, "user": asked.user, "question": asked.question}
        answer = httpx.post(f"http://{address}/{asked.team}/chat", json=body, timeout=LIMIT)
        return str(answer.json()["answer"])

    with (
        running("example-server", line, env, lambda: answers(address, "/openapi.json")),
        ThreadPoolExecutor(len(REQUESTS)) as pool,
    ):
        assert list(pool.map(ask, REQUESTS)) == [SAID] * len(REQUESTS)

    for team in ("physics", "finance"):
        of_team = [asked for asked in REQUESTS if asked.team == team]
        traces = [
            (of["session"], of["user"], told(trace, by_start))
            for trace in taken(servers, "server", len(of_team), f"team-{team}")
            for of in [session_of(trace)]
        ]
        traces.sort(key=lambda each: each[0])
        assert traces == [served(asked) for asked in of_team]
