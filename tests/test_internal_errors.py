"""One warning for each kind of error of ours, and not one for each call."""

import pytest

from ollama_otel._internal_errors import Guard, report

pytestmark = pytest.mark.usefixtures("quiet_errors")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_each_kind_is_said_once_in_five_minutes(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """The next warning of the kind counts those that were not said."""
    for _ in range(3):
        report("reading tea leaves", ValueError("soggy"))
    report("counting sheep", ValueError("asleep"))
    clock[0] += 301
    report("reading tea leaves", ValueError("soggy"))

    assert [record.getMessage() for record in caplog.records] == [
        "ollama-otel failed while reading tea leaves; the application is not affected",
        "ollama-otel failed while counting sheep; the application is not affected",
        (
            "ollama-otel failed while reading tea leaves; the application is not affected"
            " (2 more like this since the last warning)"
        ),
    ]
    assert caplog.records[0].exc_info
    assert str(caplog.records[0].exc_info[1]) == "soggy"


def test_a_guard_keeps_exceptions_and_lets_interrupts_pass() -> None:
    """Control-C in our code is still the user's control-C."""
    with Guard("working"):
        raise ValueError("kept")
    with pytest.raises(KeyboardInterrupt), Guard("working"):
        raise KeyboardInterrupt
