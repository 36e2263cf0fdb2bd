"""What users install: the built wheel and sdist, in clean environments, away from the source."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from ollama_otel._internal_errors import RAISE_ERRORS
from ollama_otel.testing import FakeOllama

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent.parent
UV = Path(sys.executable).with_name("uv")


def built(pattern: str) -> Path:
    """Return the one distribution of that kind in dist/."""
    (found,) = (ROOT / "dist").glob(pattern)
    return found


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a working directory that is not the source tree."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "work"

    def install(self, *requirements: str) -> None:
        subprocess.run([*self._uv("install"), *requirements], check=True)

    def _uv(self, command: str) -> list[str]:
        return [str(UV), "pip", command, "--quiet", "--python", str(self.folder / "bin/python")]

    def run(
        self, *command: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # Our errors stay quiet, as they do for users.
        kept = {name: os.environ[name] for name in os.environ if name != RAISE_ERRORS}
        return subprocess.run(
            command,
            cwd=self.home,
            env={**kept, "PATH": path, **(variables or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def packages(self) -> set[str]:
        listing = subprocess.run(
            self._uv("list"), capture_output=True, text=True, check=True
        ).stdout
        return {line.split()[0].lower() for line in listing.splitlines()[2:]}


def environment(folder: Path, *requirements: str) -> Environment:
    command = [str(UV), "venv", "--quiet", "--python", sys.executable, str(folder)]
    subprocess.run(command, check=True)
    made = Environment(folder)
    made.home.mkdir()
    made.install(*requirements)
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel alone, without extras."""
    return environment(tmp_path_factory.mktemp("base") / "env", str(built("*.whl")))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with what the demo and the README need."""
    wheel = f"{built('*.whl')}[cli,instruments,mlflow]"
    return environment(tmp_path_factory.mktemp("full") / "env", wheel)


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    """No tests, no caches; the marker of types and the licence are in."""
    with zipfile.ZipFile(built("*.whl")) as wheel:
        names = wheel.namelist()

    assert {name.split("/")[0].split("-")[0] for name in names} == {"ollama_otel"}
    assert "ollama_otel/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or "/test_" in name]


def test_no_machine_is_named_in_what_is_shipped() -> None:
    """No path of the machine that built it."""
    with tarfile.open(built("*.tar.gz")) as sdist:
        files = [sdist.extractfile(each) for each in sdist.getmembers() if each.isfile()]
        texts = [file.read() for file in files if file]

    assert not [text for text in texts if str(ROOT).encode() + b"/" in text]


def test_the_base_install_is_small(base: Environment) -> None:
    """Neither the SDK of OpenTelemetry, nor MLflow, nor Ollama's, nor an HTTP client."""
    assert base.packages() == {
        "ollama-otel",
        "opentelemetry-api",
        "opentelemetry-instrumentation",
        "opentelemetry-semantic-conventions",
        "opentelemetry-util-genai",
        "packaging",
        "typing-extensions",
        "wrapt",
    }


def test_the_base_install_works_alone(base: Environment) -> None:
    """Import and instrument() do, though there is nothing to instrument."""
    done = base.run(
        *("python", "-W", "error", "-c"),
        "import ollama_otel; ollama_otel.OllamaInstrumentor().instrument(skip_dep_check=True);"
        "print(ollama_otel.__version__, ollama_otel.__file__)",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert str(base.folder) in done.stdout


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (("ollama-otel", "demo"), "pip install"),
        (
            ("python", "-c", "import ollama_otel.mlflow as m; m.MlflowSpanExporter"),
            "ollama-otel[otlp]",
        ),
    ],
)
def test_a_missing_extra_is_named(command: Sequence[str], missing: str, base: Environment) -> None:
    """One line that says what to install."""
    done = base.run(*command)

    assert done.returncode != 0
    assert missing in done.stderr.strip().splitlines()[-1]


def test_the_sdist_installs(tmp_path: Path) -> None:
    """It builds the same package."""
    made = environment(tmp_path / "env", str(built("*.tar.gz")))

    done = made.run("python", "-c", "import ollama_otel; print(ollama_otel.__version__)")

    assert (done.returncode, done.stderr) == (0, "")
    assert built("*.whl").name.startswith(f"ollama_otel-{done.stdout.strip()}-")


def test_the_demo_runs(full: Environment) -> None:
    """The main job, from the wheel, without a server and without a key."""
    done = full.run("ollama-otel", "demo", variables={"OLLAMA_HOST": "127.0.0.1:1"})

    assert (done.returncode, done.stderr) == (0, "")
    assert "ToolCallingLoop" in done.stdout


def blocks(language: str) -> Iterator[str]:
    """The README's code blocks in a language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    yield from re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_readmes_commands_do_what_it_says(full: Environment) -> None:
    """Each shell block runs as it stands, where the README says that app.py is."""
    shutil.copy(ROOT / "examples" / "app.py", full.home / "app.py")
    shell = [block for block in blocks("sh") if "make " not in block]
    assert shell
    with FakeOllama() as server:
        for block in shell:
            # The wheel that was built stands in for the release; the environment has it already.
            _, installs, commands = block.partition('pip install "ollama-otel[mlflow]"')
            assert installs
            done = full.run(
                *("bash", "-euo", "pipefail", "-c", commands),
                variables={"OLLAMA_HOST": server.url},
            )
            assert (done.returncode, "ollama" in done.stderr) == (0, False), done.stderr
            assert "MLflow" in done.stdout
    read = full.run("python", "-c", _READ)
    assert read.stdout.split(",") == ["chat llama3.2", "OK", "Briefly describe the components"]


_READ = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
(trace,) = mlflow.search_traces(
    experiment_ids=[mlflow.get_experiment_by_name("my-app").experiment_id], return_type="list"
)
name = trace.info.tags["mlflow.traceName"]
print(name, trace.info.state.value, trace.info.request_preview[:31], sep=",", end="")
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with MLflow's light client alone."""
    wheel = f"{built('*.whl')}[mlflow-tracing,instruments]"
    return environment(tmp_path_factory.mktemp("light") / "env", wheel)


@pytest.fixture(scope="module")
def mlflow_server(full: Environment) -> Iterator[str]:
    """The address of an MLflow server, out of the full environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mlflow = str(full.folder / "bin" / "mlflow")
    command = [mlflow, "server", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{full.home / 'server.db'}"]
    with subprocess.Popen(
        [*command, *store],
        cwd=full.home,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        uri = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while not _answers(f"{uri}/health"):
            assert time.monotonic() < deadline, "the MLflow server did not start"
            time.sleep(0.2)
        yield uri
        os.killpg(server.pid, signal.SIGTERM)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):  # noqa: S310  (on this machine)
            return True
    except OSError:
        return False


def test_autolog_works_with_the_light_client_alone(
    light: Environment, full: Environment, mlflow_server: str
) -> None:
    """Over http, where an experiment is set: mlflow-tracing knows no default one."""
    assert "mlflow" not in light.packages()
    with FakeOllama() as server:
        done = light.run(
            *("python", "-c", _LIGHT),
            variables={"OLLAMA_HOST": server.url, "MLFLOW_TRACKING_URI": mlflow_server},
        )
    assert (done.returncode, done.stdout) == (0, "A short answer to: hi\n"), done.stderr
    read = full.run("python", "-c", _READ_LIGHT, variables={"MLFLOW_TRACKING_URI": mlflow_server})

    assert read.stdout == "chat m,CHAT_MODEL,OK,hi,A short answer to: hi"


_LIGHT = """
import mlflow, ollama
import ollama_otel.mlflow
mlflow.set_experiment("light")
ollama_otel.mlflow.autolog()
print(ollama.chat("m", [{"role": "user", "content": "hi"}]).message.content)
mlflow.flush_trace_async_logging()
"""
_READ_LIGHT = """
import mlflow
(trace,) = mlflow.search_traces(
    experiment_ids=[mlflow.get_experiment_by_name("light").experiment_id], return_type="list"
)
(span,) = trace.data.spans
told = (trace.info.state.value, trace.info.request_preview, trace.info.response_preview)
print(span.name, span.span_type, *told, sep=",", end="")
"""
