"""What the README shows works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CAPTURE
from ollama_otel.testing import FakeOllama

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

ASK = """
import ollama
print(ollama.chat("llama3.2", [{"role": "user", "content": "Hi!"}]).message.role)
"""


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_a_python_block_runs_and_a_chat_after_it(block: str, tmp_path: Path) -> None:
    """Each block works in a file of its own, in front of an application's first chat."""
    with FakeOllama() as server:
        done = subprocess.run(
            [sys.executable, "-c", block + ASK],
            cwd=tmp_path,
            env=os.environ | {"OLLAMA_HOST": server.url},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["assistant"]), done.stderr


READ = """
provider.shutdown()
import mlflow
client = mlflow.MlflowClient("sqlite:///mlflow.db")
experiment = client.get_experiment_by_name("my-app")
(trace,) = client.search_traces(experiment_ids=[experiment.experiment_id])
print(trace.info.state.value, trace.info.request_preview, *(s.name for s in trace.data.spans))
"""


def test_the_exporters_block_stores_the_chat(tmp_path: Path) -> None:
    """The third way in ends with the chat in the database that it names."""
    (block,) = [block for block in PYTHON if "MlflowSpanExporter" in block]
    with FakeOllama() as server:
        done = subprocess.run(
            [sys.executable, "-c", block + ASK + READ],
            cwd=tmp_path,
            env=os.environ | {"OLLAMA_HOST": server.url, CAPTURE: "SPAN_ONLY"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    assert done.stdout.splitlines() == ["assistant", "OK Hi! chat llama3.2"], done.stderr


def test_every_link_into_the_tree_leads_somewhere() -> None:
    """Pictures and pages."""
    links = re.findall(r"\]\(([^)#]+)\)", README)
    inside = [link for link in links if "://" not in link]

    assert inside
    assert [link for link in inside if not (ROOT / link).exists()] == []


def test_the_supported_versions_are_those_of_the_package() -> None:
    """The table says what pyproject.toml says."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert "| ollama (SDK) | 0.5.1 and later |" in README
    assert '"ollama>=0.5.1,<1"' in project
    assert "| MLflow | 3.17 and later |" in README
    assert '"mlflow>=3.17,<4"' in project
    assert "API 1.43 / instrumentation 0.64b0" in README
    assert '"opentelemetry-api>=1.43,<2"' in project
    assert '"opentelemetry-instrumentation>=0.64b0,<1"' in project
    assert "| Python | 3.10 to 3.14 |" in README
    assert 'requires-python = ">=3.10"' in project
