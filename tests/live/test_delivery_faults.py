"""Spans that cannot be delivered cost the user one message, and the application nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from . import servers
from .applications import CONVERSATION, CONVERSATION_OUTPUT, TRACES_ONLY, Ended, run_instrumented
from .availability import unavailable_skips
from .servers import free_address
from .stored import stored_traces

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from .servers import OllamaServer

ADMIN = ("admin", "password-of-admin")
GUEST = ("guest", "password-of-guest")


@dataclass(frozen=True)
class Fault:
    """A mistake in the settings.

    Attributes:
        settings: the environment, given a server's tracking URI.
        words: what the message must hold: what is wrong, the setting, the cure.
    """

    settings: Callable[[str], dict[str, str]]
    words: tuple[str, ...]


DEAD = f"http://{free_address()}"
FAULTS = {
    "server down": Fault(
        lambda _: {"MLFLOW_TRACKING_URI": DEAD},
        (DEAD, "was not reached", "start it (mlflow server)", "MLFLOW_TRACKING_URI"),
    ),
    "wrong path": Fault(
        lambda uri: {"MLFLOW_TRACKING_URI": f"{uri}/nowhere"},
        ("/nowhere", "404", "check MLFLOW_TRACKING_URI"),
    ),
    "unknown scheme": Fault(
        lambda _: {"MLFLOW_TRACKING_URI": "mlflow://somewhere"},
        ("MLFLOW_TRACKING_URI", "'mlflow://somewhere'", "what works: http://"),
    ),
    "missing scheme": Fault(
        lambda uri: {"MLFLOW_TRACKING_URI": uri.removeprefix("http://")},
        ("MLFLOW_TRACKING_URI", "'127.0.0.1:", "what works: http://"),
    ),
    "impossible folder": Fault(
        lambda _: {"MLFLOW_TRACKING_URI": f"sqlite:///{__file__}/folder/mlflow.db"},
        (f"{__file__}/folder", "cannot be created", "create it or correct MLFLOW_TRACKING_URI"),
    ),
    "folder in place of the file": Fault(
        lambda _: {"MLFLOW_TRACKING_URI": f"sqlite:///{Path(__file__).parent}"},
        (str(Path(__file__).parent), "cannot be opened", "MLFLOW_TRACKING_URI must name"),
    ),
    "missing experiment": Fault(
        lambda uri: {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_ID": "777"},
        ("No Experiment with id=777 exists", "check", "experiment"),
    ),
}
REFUSALS = {
    "no credentials": Fault(
        lambda uri: {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "closed"},
        ("401", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ),
    "wrong password": Fault(
        lambda uri: credentials(uri, "closed", GUEST[0], "password-of-nobody"),
        ("401", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ),
    "no permission": Fault(
        lambda uri: credentials(uri, "closed", *GUEST),
        ("403", "Permission denied", "check MLFLOW_TRACKING_USERNAME"),
    ),
}


def credentials(uri: str, experiment: str, name: str, password: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "MLFLOW_TRACKING_USERNAME": name,
        "MLFLOW_TRACKING_PASSWORD": password,
    }


def converse(url: str, settings: dict[str, str]) -> Ended:
    env = TRACES_ONLY | {"OTEL_TRACES_EXPORTER": "mlflow"} | settings
    return run_instrumented(CONVERSATION, url, **env)


def assert_one_message(ended: Ended, words: tuple[str, ...]) -> None:
    assert (ended.status, ended.output) == (0, CONVERSATION_OUTPUT)
    assert [word for word in words if word not in ended.complaints] == [], ended.complaints
    assert ended.complaints.count("\n") == 1, ended.complaints


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_setting_is_named_with_its_cure(
    ollama_server: OllamaServer, mlflow_server: str, name: str
) -> None:
    """The output is complete, the exit status is 0, and stderr holds one line."""
    fault = FAULTS[name]
    ended = converse(ollama_server.url, fault.settings(mlflow_server))
    assert_one_message(ended, fault.words)


@pytest.fixture(scope="module")
def guarded_server(session: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow server that asks who one is, with an experiment that is closed to the guest."""
    directory = tmp_path_factory.mktemp("guarded")
    config = directory / "auth.ini"
    config.write_text(
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{directory / 'auth.db'}\n"
        f"admin_username = {ADMIN[0]}\n"
        f"admin_password = {ADMIN[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    env = {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "key"}
    with unavailable_skips():
        server = servers.mlflow_server(directory, "--app-name", "basic-auth", **env)
        uri = session.enter_context(server)
    with httpx.Client(base_url=uri, auth=ADMIN, trust_env=False) as admin:
        guest = {"username": GUEST[0], "password": GUEST[1]}
        admin.post("/api/2.0/mlflow/users/create", json=guest).raise_for_status()
        closed = {"name": "closed"}
        admin.post("/api/2.0/mlflow/experiments/create", json=closed).raise_for_status()
    return uri


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_named_with_its_cure(
    ollama_server: OllamaServer, guarded_server: str, name: str
) -> None:
    """The output is complete, the exit status is 0, and stderr holds one line."""
    fault = REFUSALS[name]
    ended = converse(ollama_server.url, fault.settings(guarded_server))
    assert_one_message(ended, fault.words)


def test_credentials_open_a_guarded_server(
    ollama_server: OllamaServer, guarded_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With MLflow's own settings a user makes an experiment and has the traces there."""
    settings = credentials(guarded_server, "own", *GUEST)
    assert converse(ollama_server.url, settings) == Ended(0, CONVERSATION_OUTPUT, "")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, settings[name])
    states = [trace["state"] for trace in stored_traces(guarded_server, "own", count=10)]
    assert states == ["OK"] * 7 + ["ERROR"] + ["OK"] * 2
