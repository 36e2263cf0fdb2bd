"""The instrumentor: OpenTelemetry's way to put the wrappers on the Ollama SDK."""

import logging
from typing import TYPE_CHECKING, Any, Final

# The module opts out of type checking, so that mypy sees nothing in it.
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from ollama_otel._patch import Patch

if TYPE_CHECKING:
    from collections.abc import Collection

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.genai.completion_hook import CompletionHook

    from ollama_otel._telemetry import Telemetry

_ARGUMENTS: Final = (
    *("tracer_provider", "meter_provider", "logger_provider"),
    *("completion_hook", "ollama_attributes"),
)

_logger = logging.getLogger(__name__)


class OllamaInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # untyped, as said above
    """Makes every call of a model through the Ollama Python SDK a GenAI span, metrics and events.

    ``instrument()`` takes these keyword arguments, all optional:

    - ``tracer_provider``, ``meter_provider``, ``logger_provider``: where telemetry goes; the
      global providers unless given.
    - ``completion_hook``: an ``opentelemetry.util.genai.completion_hook.CompletionHook`` that
      gets the content of every call; unless given, the one that
      ``OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK`` names.
    - ``ollama_attributes``: whether spans also tell Ollama's own durations and ``keep_alive``, as
      ``ollama.*`` (docs/registry/ollama.yaml), which the conventions do not know. Unless given,
      what ``OLLAMA_OTEL_ATTRIBUTES`` says; else they do while traces go to MLflow.

    Content is recorded only if ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` asks for
    it. The SDK is not imported here: it is instrumented when the application imports it, so
    that an ``OLLAMA_HOST`` which the application sets first still counts.

    Example:
        >>> from ollama_otel import OllamaInstrumentor
        >>> OllamaInstrumentor().instrument()
        >>> OllamaInstrumentor().uninstrument()
    """

    _patch: Patch | None = None

    if TYPE_CHECKING:
        # The base class says **kwargs: this is what they are.
        def instrument(  # noqa: PLR0913  (each is an option of its own)
            self,
            *,
            tracer_provider: TracerProvider | None = None,
            meter_provider: MeterProvider | None = None,
            logger_provider: LoggerProvider | None = None,
            completion_hook: CompletionHook | None = None,
            ollama_attributes: bool | None = None,
            skip_dep_check: bool = False,
            raise_exception_on_conflict: bool = False,
        ) -> None:
            """Instrument the SDK, now or when it is imported."""

        def uninstrument(self) -> None:
            """Make the SDK what it was."""

    def instrumentation_dependencies(self) -> "Collection[str]":
        """Return the releases of the SDK that can be instrumented."""
        return ("ollama >= 0.5.1, < 1",)

    def _instrument(self, **kwargs: Any) -> None:
        hook = kwargs.get("completion_hook")
        if hook is not None and not callable(getattr(hook, "on_completion", None)):
            raise TypeError(
                f"completion_hook must have a method on_completion, and {hook!r} has none: see "
                "opentelemetry.util.genai.completion_hook.CompletionHook"
            )
        if unknown := sorted(set(kwargs) - set(_ARGUMENTS)):
            _logger.warning(
                "OllamaInstrumentor().instrument() does not know %s; what it knows: %s",
                ", ".join(unknown),
                ", ".join(_ARGUMENTS),
            )
        arguments = {name: kwargs.get(name) for name in _ARGUMENTS}

        def telemetry() -> "Telemetry":
            # Here, and not above: an application that never imports the SDK pays nothing.
            from ollama_otel._telemetry import Telemetry  # noqa: PLC0415

            return Telemetry(**arguments)

        self._patch = Patch(telemetry)

    def _uninstrument(self, **_kwargs: Any) -> None:
        if self._patch is not None:
            self._patch.take_off()
            self._patch = None
