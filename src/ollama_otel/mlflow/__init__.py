"""GenAI spans in MLflow: the exporters, and ``autolog``.

Importing this package imports nothing else: the public names are loaded at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ollama_otel.mlflow._autolog import autolog
    from ollama_otel.mlflow.exporter import MlflowOtlpSpanExporter, MlflowSpanExporter

__all__ = ["MlflowOtlpSpanExporter", "MlflowSpanExporter", "autolog"]

_HOMES = {
    "MlflowOtlpSpanExporter": "ollama_otel.mlflow.exporter",
    "MlflowSpanExporter": "ollama_otel.mlflow.exporter",
    "autolog": "ollama_otel.mlflow._autolog",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{name} needs the package {error.name}: pip install 'ollama-otel[otlp]'"
            ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
