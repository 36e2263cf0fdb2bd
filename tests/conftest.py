import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# Loud in tests; before anything of ours can fail, and for the processes that tests start.
os.environ["OLLAMA_OTEL_RAISE_ERRORS"] = "true"
for name in [name for name in os.environ if name.startswith(("OTEL_", "MLFLOW_", "OLLAMA_HOST"))]:
    del os.environ[name]

from ollama_otel import OllamaInstrumentor, _doors, _internal_errors  # noqa: E402  (see above)
from telemetry import Recording  # noqa: E402  (see above)

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

Instrument = Callable[..., Recording]


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"


@pytest.fixture
def quiet_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own errors are logged as in production."""
    monkeypatch.delenv(_internal_errors.RAISE_ERRORS)
    _internal_errors.warn.forget()


@pytest.fixture(autouse=True)
def _no_door_is_left_open() -> None:
    """Forget the exporters to MLflow that earlier tests made."""
    _doors.mlflow.clear()


@pytest.fixture
def instrument(monkeypatch: pytest.MonkeyPatch) -> Iterator[Instrument]:
    """Instrument the SDK, with a recording, for one test."""
    recordings: list[Recording] = []

    def start(
        capture: str = "SPAN_ONLY", recording: Recording | None = None, **options: Any
    ) -> Recording:
        monkeypatch.setenv(CAPTURE, capture)
        recordings.append(recording or Recording())
        OllamaInstrumentor().instrument(**recordings[-1].providers | options)
        return recordings[-1]

    yield start
    if OllamaInstrumentor().is_instrumented_by_opentelemetry:
        OllamaInstrumentor().uninstrument()
    for recording in recordings:
        recording.close()
