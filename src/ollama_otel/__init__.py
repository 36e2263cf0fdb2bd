"""OpenTelemetry instrumentation of the Ollama Python SDK, and its traces in MLflow.

Importing this package imports nothing else: the public names are loaded at first use.
"""

from typing import TYPE_CHECKING, Any

from ollama_otel._version import __version__

if TYPE_CHECKING:
    from ollama_otel.instrumentor import OllamaInstrumentor

__all__ = ["OllamaInstrumentor", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "OllamaInstrumentor":
        from ollama_otel.instrumentor import OllamaInstrumentor  # noqa: PLC0415  (lazy on purpose)

        return OllamaInstrumentor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
