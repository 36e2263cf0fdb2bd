"""Another instrumentation of the Ollama SDK in the same process is named."""

import functools
import types
from collections.abc import Callable
from typing import Any

import ollama
import pytest
import wrapt

from conftest import Instrument
from ollama_otel._others import KNOWN, others
from recorded import EXCHANGES

PLAIN = EXCHANGES["chat_plain"]


def passing_on(module: str) -> Callable[..., Any]:
    """Make a wrapper that looks as if it came from a module."""
    code = "def theirs(wrapped, instance, args, kwargs): return wrapped(*args, **kwargs)"
    made = types.ModuleType(module)
    exec(code, vars(made))  # noqa: S102  (a function's module is where it was made)
    theirs: Callable[..., Any] = made.theirs
    return theirs


class Callable_:  # noqa: N801  (its module is what counts)
    def __call__(self, wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)


def warning(package: str) -> str:
    said = (
        f"{package} instruments the Ollama SDK too: every call is recorded twice. Keep one: "
        "uninstall the other."
    )
    if package in ("openlit", "traceai-ollama"):
        return said
    return (
        f"{said} (OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=ollama turns both off: they have the same "
        "name.)"
    )


@pytest.mark.parametrize("method", ["_request", "chat"])
@pytest.mark.parametrize("module", KNOWN)
@pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])
def test_another_instrumentation_is_named_once(  # noqa: PLR0913  (cases and fixtures)
    module: str,
    method: str,
    *,
    first: bool,
    instrument: Instrument,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the first call, in whichever order both were put on; the calls are recorded."""
    original = getattr(ollama.Client, method)
    monkeypatch.setattr(ollama.Client, method, original)

    def put_on() -> None:
        theirs = wrapt.FunctionWrapper(getattr(ollama.Client, method), passing_on(f"{module}._w"))
        setattr(ollama.Client, method, theirs)

    if first:
        put_on()
        recording = instrument()
    else:
        recording = instrument()
        put_on()
    for _ in range(3):
        PLAIN.client().chat(**PLAIN.arguments)

    assert caplog.messages == [warning(KNOWN[module])]
    assert len(recording.spans) == 3


def test_wrappers_of_all_kinds_are_seen_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, objects, and what functools.wraps makes, one round the other."""

    class Client:
        def chat(self) -> None: ...

    monkeypatch.setattr(Callable_, "__module__", "traceai_ollama._wrappers")
    by_hand = passing_on("openlit.instrumentation.ollama.ollama")
    Client.chat = wrapt.FunctionWrapper(Client.chat, Callable_())  # type: ignore[method-assign]  # as they do
    Client.chat = functools.wraps(Client.chat)(by_hand)  # type: ignore[method-assign]  # as they do

    assert others(Client) == ["openlit", "traceai-ollama"]


def test_what_is_no_instrumentation_is_nobodys_business(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An application may wrap what it likes."""
    theirs = wrapt.FunctionWrapper(ollama.Client.chat, passing_on("openlitter.retries"))
    monkeypatch.setattr(ollama.Client, "chat", theirs)
    instrument()

    PLAIN.client().chat(**PLAIN.arguments)

    assert caplog.messages == []
