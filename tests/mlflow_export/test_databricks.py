"""Databricks, as its documentation and MLflow's client have it; never run against the real one."""

import sys
import types
from typing import Any

import pytest

from mlflow_export.fake_mlflow import Answer, FakeMlflow
from mlflow_export.genai import GenAi
from mlflow_export.test_exporter import warnings_of
from ollama_otel import _internal_errors
from ollama_otel.mlflow import MlflowSpanExporter
from ollama_otel.mlflow.sinks import DeliveryError, sink_for

PATH = "/api/2.0/otel/v1/traces"
TABLE = "mlflow_experiment_trace_otel_spans"


@pytest.fixture
def workspace(server: FakeMlflow, monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    """A workspace, and the variables that lead there."""
    monkeypatch.setenv("DATABRICKS_HOST", server.uri)
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-1")
    monkeypatch.setenv("MLFLOW_TRACING_DESTINATION", "main.traces")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    # Those of an MLflow server are for no workspace.
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "not this one")
    server.script = [Answer(), Answer()]
    return server


def sent(server: FakeMlflow) -> list[tuple[str, list[str], str | None, str | None]]:
    """What came: the path, the spans, the table and the credentials."""
    return [
        (
            request.path,
            request.spans,
            request.headers.get("X-Databricks-UC-Table-Name"),
            request.headers.get("Authorization"),
        )
        for request in server.requests
    ]


@pytest.mark.parametrize(
    ("destination", "table"),
    [("main.traces", f"main.traces.{TABLE}"), ("main.traces.mine", "main.traces.mine")],
)
def test_spans_go_to_the_table_of_unity_catalog(
    destination: str,
    table: str,
    workspace: FakeMlflow,
    genai: GenAi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the workspace's token, which may be renewed meanwhile."""
    monkeypatch.setenv("MLFLOW_TRACING_DESTINATION", destination)
    exporter = MlflowSpanExporter()

    exporter.export([genai.chat()])
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-2")
    exporter.export([genai.chat()])

    assert sent(workspace) == [
        (PATH, ["chat llama3.2"], table, "Bearer dapi-1"),
        (PATH, ["chat llama3.2"], table, "Bearer dapi-2"),
    ]


@pytest.mark.parametrize("destination", ["", "main", "12345", "main..x", "a.b.c.d"])
def test_without_a_table_nothing_is_sent(
    destination: str, workspace: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which variable to set."""
    monkeypatch.setenv("MLFLOW_TRACING_DESTINATION", destination)

    with pytest.raises(DeliveryError, match="Unity Catalog; set it to catalog"):
        sink_for("databricks")
    assert workspace.requests == []


@pytest.mark.usefixtures("workspace")
def test_without_credentials_the_message_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables, or the package that knows profiles."""
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setitem(sys.modules, "databricks", None)

    with pytest.raises(DeliveryError, match="set DATABRICKS_HOST and DATABRICKS_TOKEN, or pip"):
        sink_for("databricks")


class Config:
    """The part of databricks-sdk that finds a login."""

    def __init__(self, profile: str | None) -> None:
        if profile == "broken":
            raise ValueError("secret in ~/.databrickscfg")
        self.host = Config.server
        self._profile = profile

    server = ""

    def authenticate(self) -> dict[str, str]:
        """The headers of a login."""
        return {"Authorization": f"Bearer of {self._profile}"}


@pytest.fixture
def databricks_sdk(workspace: FakeMlflow, monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    """databricks-sdk, as far as it is used."""
    found: dict[str, Any] = {"databricks.sdk.core": {"Config": Config}}
    for name in ("databricks", "databricks.sdk", "databricks.sdk.core"):
        module = types.ModuleType(name)
        module.__spec__ = types.SimpleNamespace(name=name)  # type: ignore[assignment]  # enough to be found
        module.__path__ = []
        vars(module).update(found.get(name, {}))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Config, "server", workspace.uri)
    return workspace


def test_a_profile_is_looked_up_by_databricks_sdk(databricks_sdk: FakeMlflow, genai: GenAi) -> None:
    """Its login, whatever kind it is, goes with every request."""
    MlflowSpanExporter("databricks://mine").export([genai.chat()])

    assert sent(databricks_sdk) == [
        (PATH, ["chat llama3.2"], f"main.traces.{TABLE}", "Bearer of mine")
    ]


@pytest.mark.usefixtures("databricks_sdk")
def test_a_login_that_fails_keeps_its_secrets() -> None:
    """The type says enough."""
    with pytest.raises(DeliveryError, match=r"found no login \(ValueError\)") as caught:
        sink_for("databricks://broken")

    assert "secret" not in str(caught.value)


def test_a_run_cannot_be_linked_and_that_is_said(
    workspace: FakeMlflow, genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """The spans are stored all the same."""
    MlflowSpanExporter(run_id="r1").export([genai.chat()])

    assert len(workspace.requests) == 1
    assert warnings_of(caplog) == [
        (
            "traces not linked to run r1: 1; linking 1 traces to the run r1 is not supported on "
            "Databricks"
        )
    ]


def test_a_login_that_is_refused_names_databricks_own_variable(
    workspace: FakeMlflow, genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of an MLflow server are none of its cure."""
    workspace.script = [Answer.error(401, "UNAUTHENTICATED")]

    MlflowSpanExporter().export([genai.chat()])

    (warning,) = warnings_of(caplog)
    assert "Databricks answered 401: check DATABRICKS_TOKEN" in warning
    assert "MLFLOW_TRACKING_USERNAME" not in warning


@pytest.mark.usefixtures("workspace")
def test_an_experiment_that_does_not_count_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The table counts."""
    _internal_errors.warn.forget()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")

    sink_for("databricks")

    assert "MLFLOW_EXPERIMENT_NAME does not count on Databricks" in caplog.messages[0]
