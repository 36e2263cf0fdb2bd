"""MLflow's own feel: calls to Ollama as spans of MLflow's own tracing."""

import logging
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

_OLDEST: Final = (3, 17)
_BEFORE: Final = (4,)

_logger = logging.getLogger(__name__)


def autolog(
    log_traces: bool = True,  # noqa: FBT001, FBT002  (as in MLflow's own autologs)
    disable: bool = False,  # noqa: FBT001, FBT002
    silent: bool = False,  # noqa: FBT001, FBT002
    ollama_attributes: bool = True,  # noqa: FBT001, FBT002
) -> None:
    """Trace every call of a model through the Ollama Python SDK with MLflow.

    The spans are MLflow's own: they sit below ``@mlflow.trace`` and the other autologs, go where
    ``mlflow.set_experiment`` and ``mlflow.set_tracking_uri`` say, belong to the active run, and
    show in notebooks. Content is recorded, unless
    ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` is ``NO_CONTENT``. Works with mlflow and
    with mlflow-tracing, before and after the SDK is imported. A second call replaces the settings
    of the first.

    Args:
        log_traces: whether calls are traced.
        disable: take the integration off.
        silent: say nothing.
        ollama_attributes: whether spans also tell Ollama's own durations and options.

    Example:
        >>> import mlflow, ollama_otel.mlflow
        >>> mlflow.set_experiment("ollama-tracing")
        >>> ollama_otel.mlflow.autolog()
    """
    if (missing := _what_is_missing()) is not None:
        if not silent:
            _logger.warning("ollama_otel.mlflow.autolog() does nothing: %s", missing)
        return
    # Here, and not above: it takes mlflow, and seconds.
    from ollama_otel.mlflow._integration import integrate  # noqa: PLC0415

    integrate(
        log_traces=log_traces,
        disable=disable,
        silent=silent,
        ollama_attributes=ollama_attributes,
    )


def _what_is_missing() -> str | None:
    if find_spec("mlflow") is None:
        return (
            "MLflow is not installed; pip install 'ollama-otel[mlflow]', or "
            "'ollama-otel[mlflow-tracing]' for an MLflow server"
        )
    for package in ("mlflow", "mlflow-tracing"):
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdecimal())
        if not _OLDEST <= numbers < _BEFORE:
            return f"{package} {found} is not supported; it must be at least 3.17 and before 4"
    return None
