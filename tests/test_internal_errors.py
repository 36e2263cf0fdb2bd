"""One warning for each kind of error of ours, and not one for each call."""

import logging

import pytest

from ollama_otel._internal_errors import Guard, Warnings, report

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


def test_a_warning_may_stand_for_many_things(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """What was kept back counts things, not warnings; it is known until it is told."""
    warn = Warnings(logging.getLogger("ollama_otel"), 60)
    kept = []
    for kind, count in [("lost", 512), ("lost", 512), ("lost", 476), ("cut", 1), ("cut", 2)]:
        warn(kind, f"{kind}: {count}", count=count)
        kept.append(warn.kept())
    clock[0] += 60
    warn("lost", "lost: 3", count=3)

    assert kept == [0, 512, 988, 988, 990]
    assert warn.kept() == 2
    assert [record.getMessage() for record in caplog.records] == [
        "lost: 512",
        "cut: 1",
        "lost: 3 (988 more like this since the last warning)",
    ]


def test_a_guard_keeps_exceptions_and_lets_interrupts_pass() -> None:
    """Control-C in our code is still the user's control-C."""
    with Guard("working"):
        raise ValueError("kept")
    with pytest.raises(KeyboardInterrupt), Guard("working"):
        raise KeyboardInterrupt
