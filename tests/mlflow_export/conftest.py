import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before mlflow is imported: it would report its use to the internet.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from mlflow_export.fake_mlflow import FakeMlflow
from mlflow_export.genai import GenAi

MLFLOW_WARNINGS = (
    # What mlflow 3.17 and its dependencies say of themselves; none of it is ours to mend.
    "ignore::DeprecationWarning:mlflow",
    "ignore::FutureWarning:mlflow",
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
    "ignore::sqlalchemy.exc.SADeprecationWarning",
    "ignore:unclosed database:ResourceWarning",
    "ignore:.*Any type hint is inferred as AnyType:UserWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let mlflow warn of itself in the tests of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for warning in MLFLOW_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture
def genai(monkeypatch: pytest.MonkeyPatch) -> GenAi:
    """Makes spans as instrumentations make them: with util-genai and the SDK."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    return GenAi()


@pytest.fixture
def server() -> Iterator[FakeMlflow]:
    """An MLflow server as far as a sink sees it, on a loopback port."""
    with FakeMlflow() as fake:
        yield fake


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, made once: making them takes seconds."""
    from mlflow import MlflowClient  # noqa: PLC0415  (takes seconds; most tests do without)

    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def database(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tracking URI of a fresh sqlite database, in the folder in which the test runs."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"
