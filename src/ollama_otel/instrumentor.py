"""The instrumentor: puts the wrappers on the Ollama SDK, and takes only its own off."""

import logging
from typing import TYPE_CHECKING, Any, Final, cast

import wrapt

# The module opts out of type checking, so that mypy sees nothing in it.
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from ollama_otel._internal_errors import Guard
from ollama_otel._others import WITH_OUR_NAME, others

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import ModuleType

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.genai.completion_hook import CompletionHook

    from ollama_otel._telemetry import Telemetry

_SEAM: Final = "_request"
_ARGUMENTS: Final = (
    *("tracer_provider", "meter_provider", "logger_provider"),
    *("completion_hook", "ollama_attributes"),
)

_SAME_NAME: Final = (
    " (OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=ollama turns both off: they have the same name.)"
)

_logger = logging.getLogger(__name__)

_PATCHING: Final = Guard("instrumenting the Ollama SDK")
_LOOKING_AROUND: Final = Guard("looking for other instrumentations of the Ollama SDK")


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

    _patch: "_Patch | None" = None

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
        self._patch = _Patch(**{name: kwargs.get(name) for name in _ARGUMENTS})
        # Runs at once when the SDK is imported already.
        wrapt.register_post_import_hook(self._patch.put_on, "ollama")

    def _uninstrument(self, **_kwargs: Any) -> None:
        if self._patch is not None:
            self._patch.take_off()
            self._patch = None


class _Patch:
    """The wrappers of one ``instrument()``: put on once, and inert for good once taken off.

    Args:
        providers: keyword arguments of :class:`ollama_otel._telemetry.Telemetry`.
    """

    def __init__(self, **providers: Any) -> None:
        self._providers = providers
        self._active = True
        self._looked_around = False
        self._put_on: list[tuple[type, Any]] = []
        self._telemetry: Telemetry | None = None

    def put_on(self, ollama: "ModuleType") -> None:
        """Wrap the seam of both clients.

        Args:
            ollama: the imported SDK.
        """
        if not self._active:
            return
        with _PATCHING:
            # Here, and not above: an application that never imports the SDK pays nothing.
            from ollama_otel._telemetry import Telemetry  # noqa: PLC0415
            from ollama_otel._wrappers import async_wrapper, sync_wrapper  # noqa: PLC0415

            self._telemetry = Telemetry(**self._providers)
            self._wrap(ollama.Client, sync_wrapper(self._telemetry))
            self._wrap(ollama.AsyncClient, async_wrapper(self._telemetry))

    def _wrap(self, client: type, wrapper: Any) -> None:
        wrapped = wrapt.FunctionWrapper(getattr(client, _SEAM), wrapper, enabled=self._is_active)
        setattr(client, _SEAM, wrapped)
        self._put_on.append((client, wrapped))

    def _is_active(self) -> bool:
        if not self._looked_around:
            # With the first call: by then all that instruments has done so.
            self._looked_around = True
            self._look_around()
        return self._active

    def _look_around(self) -> None:
        with _LOOKING_AROUND:
            for package in others(*(client for client, _ in self._put_on)):
                _logger.warning(
                    "%s instruments the Ollama SDK too: every call is recorded twice. Keep one: "
                    "uninstall the other.%s",
                    package,
                    _SAME_NAME if package in WITH_OUR_NAME else "",
                )

    def take_off(self) -> None:
        """Unwrap the seam; where somebody wrapped it after us, ours stays on and does nothing."""
        self._active = False
        if self._telemetry is not None:
            self._telemetry.close()
        for client, wrapped in self._put_on:
            if vars(client).get(_SEAM) is wrapped:
                setattr(client, _SEAM, cast("Any", wrapped).__wrapped__)
        self._put_on.clear()
