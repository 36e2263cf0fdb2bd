"""Start the real servers of the live tests on free ports, and stop them by their process id."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ollama

from .counterparts import COLLECTOR, OLLAMA, CounterpartUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HOST = "127.0.0.1"
ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "live"
START_LIMIT = 90.0  # seconds
STOP_LIMIT = 10.0  # seconds, then SIGKILL
POLL_INTERVAL = 0.05  # seconds

# No counterpart has business outside this machine: what tries is refused at once.
OFFLINE = {
    "HTTP_PROXY": f"http://{HOST}:9",
    "HTTPS_PROXY": f"http://{HOST}:9",
    "NO_PROXY": f"{HOST},localhost",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


@dataclass(frozen=True)
class OllamaServer:
    """A running Ollama server.

    Attributes:
        url: where it answers; it serves the models `scripted` and `embedder`.
        pid: its process id.
    """

    url: str
    pid: int


@dataclass(frozen=True)
class Collector:
    """A running OpenTelemetry collector.

    Attributes:
        grpc: the endpoint for OTLP over grpc.
        http: the endpoint for OTLP over http.
        received: the file to which it writes what it received, one JSON document a line.
    """

    grpc: str
    http: str
    received: Path


def free_address() -> str:
    """Return host:port, on loopback, where nobody listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return f"{HOST}:{probe.getsockname()[1]}"


def wait_until(predicate: Callable[[], bool], what: str, limit: float = START_LIMIT) -> None:
    """Poll until the predicate holds.

    Raises:
        TimeoutError: it did not within the limit (seconds).
    """
    deadline = time.monotonic() + limit
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {limit:.0f} s")
        time.sleep(POLL_INTERVAL)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment of its own for a process: nothing of ours leaks into it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, **OFFLINE, "HOME": str(home), **more}


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], env: Mapping[str, str], ready: Callable[[], bool]
) -> Iterator[int]:
    """Run a server until the block ends; give its process id once it is ready.

    Raises:
        CounterpartUnavailableError: it ended early or was not ready in time.
    """
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    log = ARTIFACTS / f"{name}-{os.getpid()}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_ready(process, ready, log)
        yield process.pid
    finally:
        _stop(process)


def _wait_until_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path
) -> None:
    try:
        wait_until(lambda: process.poll() is not None or ready(), "ready to answer")
    except TimeoutError as error:
        raise CounterpartUnavailableError(f"{log.name}: {error}; see {log}") from error
    if process.returncode is not None:
        tail = log.read_text(errors="replace")[-2000:]
        raise CounterpartUnavailableError(f"{log.name}: exited {process.returncode}\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server and its children, which share its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_LIMIT)


def answers(address: str, path: str) -> bool:
    """Say whether a GET of a path at host:port succeeds."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def ollama_server(directory: Path) -> Iterator[OllamaServer]:
    """Run an Ollama server that has the two scripted models."""
    address = free_address()
    url = f"http://{address}"
    env = environment(
        directory,
        OLLAMA_HOST=url,
        OLLAMA_MODELS=str(directory / "models"),
        OLLAMA_NUM_PARALLEL="4",  # the server can lose a slot for good when a client hangs up
        OLLAMA_KEEP_ALIVE="-1",
    )
    command = [str(OLLAMA.get()), "serve"]
    with running("ollama", command, env, lambda: answers(address, "/api/version")) as pid:
        with ollama.Client(url, timeout=60) as client:
            _create_models(client, directory)
        yield OllamaServer(url, pid)


def _create_models(client: ollama.Client, directory: Path) -> None:
    # Imported here: the fast tests collect this folder without the gguf package.
    from . import scripted_model  # noqa: PLC0415 - see above

    chat, embedder = directory / "chat.gguf", directory / "embedder.gguf"
    scripted_model.write_scripted_model(chat)
    scripted_model.write_embedding_model(embedder)
    client.create(
        "scripted",
        files={chat.name: client.create_blob(chat)},
        template=scripted_model.TEMPLATE,
        parameters={"temperature": 0, "num_thread": 1},  # more only spin: there is nothing to do
    )
    client.create("embedder", files={embedder.name: client.create_blob(embedder)})


@contextlib.contextmanager
def mlflow_server(directory: Path, *options: str, **env: str) -> Iterator[str]:
    """Run an MLflow tracking server on a sqlite store; give its tracking URI.

    Args:
        directory: where the store goes.
        options: more of the command line.
        env: more of the environment.
    """
    address = free_address()
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", HOST, "--port", address.partition(":")[2], "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}"),
        *("--artifacts-destination", str(directory / "artifacts")),
        *options,
    ]
    env = environment(directory, **env)
    with running("mlflow", command, env, lambda: answers(address, "/health")):
        yield f"http://{address}"


@contextlib.contextmanager
def collector(
    directory: Path, mlflow_uri: str | None = None, experiment_id: str = ""
) -> Iterator[Collector]:
    """Run a collector that writes what it receives to a file and, if told, sends it to MLflow."""
    otlp_grpc, otlp_http = (free_address() for _ in range(2))
    received = directory / "received.jsonl"
    exporters: dict[str, object] = {"file": {"path": str(received), "flush_interval": "100ms"}}
    if mlflow_uri is not None:
        exporters["otlphttp/mlflow"] = {
            "traces_endpoint": f"{mlflow_uri}/v1/traces",
            "headers": {"x-mlflow-experiment-id": experiment_id},
        }
    config = directory / "collector.json"  # JSON is YAML too
    config.write_text(json.dumps(_collector_config(otlp_grpc, otlp_http, exporters)))
    command = [str(COLLECTOR.get()), f"--config={config}"]
    with running(
        "collector",
        command,
        environment(directory),
        lambda: listens(otlp_grpc) and listens(otlp_http),
    ):
        yield Collector(f"http://{otlp_grpc}", f"http://{otlp_http}", received)


def _collector_config(
    otlp_grpc: str, otlp_http: str, exporters: dict[str, object]
) -> dict[str, object]:
    protocols = {"grpc": {"endpoint": otlp_grpc}, "http": {"endpoint": otlp_http}}
    return {
        "receivers": {"otlp": {"protocols": protocols}},
        "exporters": exporters,
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": list(exporters)},
                "metrics": {"receivers": ["otlp"], "exporters": ["file"]},
                "logs": {"receivers": ["otlp"], "exporters": ["file"]},
            },
        },
    }


def listens(address: str) -> bool:
    """Say whether somebody accepts connections at host:port."""
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True
