"""Run a user's application in a process of its own, as a user would."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .servers import environment

APPS = Path(__file__).with_name("apps")
LIMIT = 60.0  # seconds, for an application that talks to servers on this machine

# Traces only, those of the SDK's calls only, with content.
TRACES_ONLY = {
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}

CONVERSATION = "conversation.py"
CONVERSATION_OUTPUT = """\
plain: The sky is blue because air scatters light.
streamed: The| sky| is| blue| because| air| scatters| light|.|
thinking: Let me reason about it -> Blue wave wins!
tool_loop: Your tip comes to $41.21.
structured: {"answer":"","n":1}
cut_short: la lala lalalala lala length
missing_model: model 'nope' not found (status code: 404)
asynchronous: The sky is blue because air scatters light.
streamed_asynchronously: The| sky| is| blue| because| air| scatters| light|.|
"""


@dataclass(frozen=True)
class Ended:
    """What is left of a process.

    Attributes:
        status: its exit status.
        output: what it wrote to stdout.
        complaints: what it wrote to stderr.
    """

    status: int
    output: str
    complaints: str


def run_instrumented(app: str, *arguments: str, **env: str) -> Ended:
    """Run `opentelemetry-instrument python app.py`.

    Args:
        app: name of a file in the folder apps.
        arguments: its command line.
        env: the settings of OpenTelemetry and MLflow.
    """
    launcher = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    return _run([launcher, sys.executable, str(APPS / app), *arguments], env)


def run_as_it_is(app: str, *arguments: str, **env: str) -> Ended:
    """Run `python app.py`; the arguments are those of `run_instrumented`."""
    return _run([sys.executable, str(APPS / app), *arguments], env)


def _run(command: list[str], env: dict[str, str]) -> Ended:
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            command,
            cwd=home,
            env=environment(Path(home), **env),
            capture_output=True,
            check=False,
            text=True,
            timeout=LIMIT,
        )
    return Ended(done.returncode, done.stdout, done.stderr)
