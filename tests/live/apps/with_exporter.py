"""An application that sets OpenTelemetry up itself, round another that knows nothing of it.

python with_exporter.py sqlite:///mlflow.db application.py [ARGUMENT ...]
"""

import runpy
import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ollama_otel import OllamaInstrumentor
from ollama_otel.mlflow import MlflowSpanExporter

tracking_uri, *sys.argv = sys.argv[1:]
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(MlflowSpanExporter(tracking_uri)))
OllamaInstrumentor().instrument(tracer_provider=provider)
runpy.run_path(sys.argv[0], run_name="__main__")
provider.shutdown()
