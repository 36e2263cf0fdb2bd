"""A pytest plugin for the SDK's own tests: it notes what happened, and may instrument the SDK.

Used by sdk_suite.py with ``-p sdk_plugin``, in an environment that holds one release of the SDK.
"""

import json
import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from ollama_otel import OllamaInstrumentor
from telemetry import Recording

TELEMETRY = {
    "none": (),
    "spans": ("tracer_provider",),
    "all": ("tracer_provider", "meter_provider", "logger_provider"),
}
"""What the SDK is instrumented with: the providers that ``instrument()`` gets."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--telemetry", choices=list(TELEMETRY), required=True)
    parser.addoption("--notes", type=Path, required=True, help="the file for what happened")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Notes(config))


class Notes(SpanProcessor):
    """What happened in one run, written to a file at its end."""

    def __init__(self, config: pytest.Config) -> None:
        self._file: Path = config.getoption("notes")
        self._outcomes: dict[str, str] = {}
        self._complaints: Counter[str] = Counter()
        self._started = 0
        self._ended = 0
        self._recording = Recording()
        self._recording.tracer_provider.add_span_processor(self)
        logging.getLogger().addHandler(_Listener(self._complaints))
        wanted = TELEMETRY[config.getoption("telemetry")]
        if wanted:
            # The SDK is not imported yet: its tests will do that.
            OllamaInstrumentor().instrument(
                **{name: self._recording.providers[name] for name in wanted}
            )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  (as the SDK calls it)
        self._started += 1

    def on_end(self, span: ReadableSpan) -> None:  # noqa: ARG002  (as the SDK calls it)
        self._ended += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test: that of its body, or whatever else went wrong."""
        if report.when == "call" or report.outcome != "passed":
            self._outcomes[report.nodeid] = f"{report.outcome} ({report.when})"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._outcomes[report.nodeid] = f"not collected: {report.longreprtext}"

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, nodeid: str
    ) -> None:
        self._complaints[f"{nodeid}: {warning_message.category.__name__}"] += 1

    def pytest_sessionfinish(self) -> None:
        self._file.write_text(json.dumps(self._told()))

    def _told(self) -> dict[str, Any]:
        points = self._recording.points().values()
        return {
            "outcomes": self._outcomes,
            "complaints": dict(self._complaints),
            "started": self._started,
            "ended": self._ended,
            "points": sum(map(len, points)),
            "events": len(self._recording.logs.get_finished_logs()),
        }


class _Listener(logging.Handler):
    """Counts what is logged as a warning or worse."""

    def __init__(self, complaints: Counter[str]) -> None:
        super().__init__(logging.WARNING)
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        self._complaints[f"{record.name}: {record.getMessage()}"] += 1
