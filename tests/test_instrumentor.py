"""Putting the instrumentation on and taking it off."""

import inspect
import os
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from typing import Any

import ollama
import pytest
import wrapt
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]  # untyped
    BaseInstrumentor,
)

from conftest import Instrument
from ollama_otel import OllamaInstrumentor
from recorded import EXCHANGES

PLAIN = EXCHANGES["chat_plain"]


def run(program: str, **environment: str) -> str:
    """Run a program in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_the_entry_point_is_the_instrumentor() -> None:
    """opentelemetry-instrument finds it under the name of the SDK."""
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="ollama")

    assert entry.load() is OllamaInstrumentor
    assert issubclass(OllamaInstrumentor, BaseInstrumentor)
    assert list(OllamaInstrumentor().instrumentation_dependencies()) == ["ollama >= 0.5.1, < 1"]


def test_uninstrument_gives_the_sdk_back_as_it_was(instrument: Instrument) -> None:
    """The very functions stand where they stood."""
    before = (ollama.Client.__dict__["_request"], ollama.AsyncClient.__dict__["_request"])
    recording = instrument()
    PLAIN.client().chat(**PLAIN.arguments)

    OllamaInstrumentor().uninstrument()
    PLAIN.client().chat(**PLAIN.arguments)

    assert (ollama.Client.__dict__["_request"], ollama.AsyncClient.__dict__["_request"]) == before
    assert len(recording.spans) == 1


def test_instrumenting_twice_tells_a_call_once(
    instrument: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    """The second instrument() says so and changes nothing."""
    recording = instrument()
    OllamaInstrumentor().instrument(**recording.providers)

    PLAIN.client().chat(**PLAIN.arguments)

    assert len(recording.spans) == 1
    assert caplog.messages == ["Attempting to instrument while already instrumented"]


def test_instrumenting_again_works(instrument: Instrument) -> None:
    """Off and on again tells every call once."""
    instrument()
    OllamaInstrumentor().uninstrument()
    recording = instrument()

    PLAIN.client().chat(**PLAIN.arguments)

    assert len(recording.spans) == 1


def test_uninstrument_leaves_what_others_wrapped_after_us(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their wrapper stays and works; ours below it is silent for good."""
    seen: list[str] = []

    def theirs(wrapped: Any, _client: Any, args: Any, kwargs: Any) -> Any:
        seen.append(args[2])
        return wrapped(*args, **kwargs)

    monkeypatch.setattr(ollama.Client, "_request", ollama.Client._request)
    first = instrument()
    ollama.Client._request = wrapt.FunctionWrapper(ollama.Client._request, theirs)  # type: ignore[assignment]  # as others do
    OllamaInstrumentor().uninstrument()
    PLAIN.client().chat(**PLAIN.arguments)
    second = instrument()
    PLAIN.client().chat(**PLAIN.arguments)

    assert seen == ["/api/chat", "/api/chat"]
    assert (len(first.spans), len(second.spans)) == (0, 1)


def test_uninstrument_where_nothing_is_left_to_take_off(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have taken the method away altogether."""
    monkeypatch.setattr(ollama.Client, "_request", ollama.Client._request)
    instrument()
    del ollama.Client._request

    OllamaInstrumentor().uninstrument()

    assert not hasattr(ollama.Client, "_request")


def test_clients_and_names_bound_before_are_told(instrument: Instrument) -> None:
    """from ollama import chat, bound methods and subclasses all pass the seam."""

    class House(ollama.Client):
        pass

    client = PLAIN.client()
    bound = client.chat
    house = House("http://ollama.test:11434", transport=client._client._transport)
    recording = instrument()

    bound(**PLAIN.arguments)
    house.chat("scripted", [{"role": "user", "content": "hi"}])

    assert [span.name for span in recording.spans] == ["chat scripted", "chat scripted"]


def test_the_seam_keeps_its_looks(instrument: Instrument) -> None:
    """Signature, name and kind of function are those of the SDK."""
    before = [
        (inspect.signature(client._request), client._request.__qualname__)
        for client in (ollama.Client, ollama.AsyncClient)
    ]
    instrument()

    assert before == [
        (inspect.signature(client._request), client._request.__qualname__)
        for client in (ollama.Client, ollama.AsyncClient)
    ]
    assert inspect.iscoroutinefunction(ollama.AsyncClient._request)
    assert inspect.isfunction(ollama.Client._request)


def test_instrumenting_imports_neither_the_sdk_nor_what_only_it_needs() -> None:
    """An OLLAMA_HOST that the application sets before its first import still counts."""
    printed = run(
        """
        import os, sys
        from ollama_otel import OllamaInstrumentor
        OllamaInstrumentor().instrument(skip_dep_check=True)
        heavy = ("ollama", "httpx", "mlflow", "requests", "opentelemetry.util.genai.handler")
        print([name for name in heavy if name in sys.modules])
        os.environ["OLLAMA_HOST"] = "http://late.test:4321"
        import ollama
        print(ollama._client._client.base_url, type(ollama.Client._request).__name__)
        """
    )

    assert printed == "[]\nhttp://late.test:4321 BoundFunctionWrapper"


def test_importing_the_package_imports_nothing_else() -> None:
    """import ollama_otel costs nothing; its names come when they are used."""
    printed = run(
        """
        import sys
        before = set(sys.modules)
        import ollama_otel
        new = set(sys.modules) - before
        print(sorted(name for name in new if name.split(".")[0] not in sys.stdlib_module_names))
        print(ollama_otel.OllamaInstrumentor.__name__, bool(ollama_otel.__version__))
        """
    )

    assert printed == "['ollama_otel', 'ollama_otel._version']\nOllamaInstrumentor True"


def test_taken_off_before_the_import_nothing_is_put_on() -> None:
    """The hook that waits for the import knows that it is not wanted any more."""
    printed = run(
        """
        from ollama_otel import OllamaInstrumentor
        OllamaInstrumentor().instrument(skip_dep_check=True)
        OllamaInstrumentor().uninstrument()
        import ollama
        print(type(ollama.Client._request).__name__)
        """
    )

    assert printed == "function"


@pytest.mark.usefixtures("quiet_errors")
def test_a_client_without_the_seam_is_said_and_left_alone(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A future release without it on one client still works, and the other is recorded."""
    monkeypatch.delattr(ollama.AsyncClient, "_request")

    recording = instrument()
    PLAIN.client().chat(**PLAIN.arguments)

    assert caplog.messages == [
        "ollama-otel failed while instrumenting the Ollama SDK; the application is not affected"
    ]
    assert len(recording.spans) == 1


def test_an_argument_that_is_not_known_is_named(
    instrument: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    """A typing mistake does not send the spans elsewhere in silence."""
    instrument(tracer_provder=None)

    assert caplog.messages == [
        (
            "OllamaInstrumentor().instrument() does not know tracer_provder; what it knows: "
            "tracer_provider, meter_provider, logger_provider, completion_hook, ollama_attributes"
        )
    ]


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Instrumentor'"):
        __import__("ollama_otel").Instrumentor  # noqa: B018
