"""Run apps/kinds.py once into each kind of store, for all tests that read what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .applications import TRACES_ONLY, run_instrumented
from .sdk_calls import unload

if TYPE_CHECKING:
    from pathlib import Path

    from .applications import Ended

EXPERIMENT = "kinds of calls"


@dataclass(frozen=True)
class KindsRun:
    """What is left of the application.

    Attributes:
        tracking_uris: where its traces are: at the "server" and in "sqlite".
        ended: what is left of the process that sent them there.
        experiment: the name of their experiment.
    """

    tracking_uris: dict[str, str]
    ended: dict[str, Ended]
    experiment: str = EXPERIMENT


def run_kinds(ollama: str, mlflow: str, directory: Path) -> KindsRun:
    """Run the application, once with each store.

    Args:
        ollama: where the Ollama server answers.
        mlflow: where the MLflow server answers.
        directory: where the database goes.
    """
    stores = {"server": mlflow, "sqlite": f"sqlite:///{directory / 'mlflow.db'}"}
    return KindsRun(stores, {store: _run(ollama, uri) for store, uri in stores.items()})


def _run(ollama: str, tracking_uri: str) -> Ended:
    ended = run_instrumented(
        "kinds.py",
        ollama,
        OTEL_TRACES_EXPORTER="mlflow",
        MLFLOW_TRACKING_URI=tracking_uri,
        MLFLOW_EXPERIMENT_NAME=EXPERIMENT,
        MLFLOW_LOGGING_LEVEL="WARNING",  # MLflow would say that it creates a database
        **TRACES_ONLY,
    )
    unload(ollama)  # which frees what the stream that was broken off may still hold
    return ended
