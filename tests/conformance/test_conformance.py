"""What programs record conforms to the GenAI semantic conventions, without a finding."""

from dataclasses import dataclass

import pytest

from conformance.checker import Modes, findings
from conformance.recorded_run import Run
from conformance.scenarios import SCENARIOS, run
from conftest import Instrument
from recorded import both

EMIT_EVENT = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"


@dataclass(frozen=True)
class Setting:
    """What a user sets, and what is to come of it."""

    capture: str
    modes: Modes
    emit_event: str = ""

    def __str__(self) -> str:
        return f"{self.capture}{self.emit_event and '-emit-event-' + self.emit_event}"


SETTINGS = [
    Setting("NO_CONTENT", Modes()),
    Setting("NO_CONTENT", Modes(details=True), "true"),
    Setting("SPAN_ONLY", Modes(spans_hold_content=True)),
    Setting("EVENT_ONLY", Modes(events_hold_content=True, details=True)),
    Setting(
        "SPAN_AND_EVENT", Modes(spans_hold_content=True, events_hold_content=True, details=True)
    ),
    Setting("SPAN_AND_EVENT", Modes(spans_hold_content=True, exceptions=False), "false"),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@both
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_spans_metrics_and_events_conform(
    instrument: Instrument,
    monkeypatch: pytest.MonkeyPatch,
    *,
    scenario: str,
    asynchronous: bool,
    setting: Setting,
) -> None:
    monkeypatch.setenv(EMIT_EVENT, setting.emit_event)
    recorded = Run()
    instrument(setting.capture, recorded.recording)
    calls = run(SCENARIOS[scenario](), asynchronous=asynchronous)

    assert findings(recorded.telemetry(), calls, setting.modes) == []


@pytest.mark.parametrize("setting", [SETTINGS[0], SETTINGS[2]], ids=str)
@both
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_spans_alone_conform(
    instrument: Instrument, *, scenario: str, asynchronous: bool, setting: Setting
) -> None:
    """Where nobody receives metrics or events, spans take a road of their own."""
    recorded = Run()
    instrument(setting.capture, recorded.recording, meter_provider=None, logger_provider=None)
    calls = run(SCENARIOS[scenario](), asynchronous=asynchronous)

    assert findings(recorded.spans(), calls, setting.modes) == []
