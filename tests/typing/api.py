"""What users write, checked by mypy and never run: the public API keeps its types."""

from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from opentelemetry.util.genai.completion_hook import CompletionHook

from ollama_otel import OllamaInstrumentor, __version__


def instrumentor(
    tracer_provider: TracerProvider,
    meter_provider: MeterProvider,
    logger_provider: LoggerProvider,
    completion_hook: CompletionHook,
) -> None:
    version: str = __version__
    instrumentor = OllamaInstrumentor()
    instrumentor.instrument()
    instrumentor.instrument(
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        logger_provider=logger_provider,
        completion_hook=completion_hook,
    )
    instrumentor.instrument(tracer_provider=version)  # type: ignore[arg-type]
    instrumentor.uninstrument()
