"""Fixtures: the real servers, each started once in a session."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from . import servers
from .availability import unavailable_skips
from .counterparts import CHROMIUM
from .kinds_run import run_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from .kinds_run import KindsRun
    from .servers import Collector, OllamaServer

CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # No page has business outside this machine.
    *("--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)


class StartCollector(Protocol):
    """Start a collector of one's own, until the session ends."""

    def __call__(self, mlflow_uri: str | None = None, experiment_id: str = "") -> Collector: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all that lies in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def session() -> Iterator[ExitStack]:
    """Keep what was started running until the session ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def ollama_server(session: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> OllamaServer:
    """Run a real Ollama with the models `scripted` and `embedder`."""
    with unavailable_skips():
        return session.enter_context(servers.ollama_server(tmp_path_factory.mktemp("ollama")))


@pytest.fixture(scope="session")
def mlflow_server(session: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run a real MLflow tracking server; the value is its tracking URI."""
    with unavailable_skips():
        return session.enter_context(servers.mlflow_server(tmp_path_factory.mktemp("mlflow")))


@pytest.fixture(scope="session")
def collector(session: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> StartCollector:
    """Give a function that starts a real OpenTelemetry collector."""

    def start(mlflow_uri: str | None = None, experiment_id: str = "") -> Collector:
        directory = tmp_path_factory.mktemp("collector")
        with unavailable_skips():
            return session.enter_context(servers.collector(directory, mlflow_uri, experiment_id))

    return start


@pytest.fixture(scope="session")
def kinds_run(
    ollama_server: OllamaServer, mlflow_server: str, tmp_path_factory: pytest.TempPathFactory
) -> KindsRun:
    """Make every kind of call, with an MLflow server and with a database."""
    return run_kinds(ollama_server.url, mlflow_server, tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def one_page() -> Iterator[Page]:
    """Open a page in a real Chromium.

    For a module, because loading MLflow's pages takes seconds; not for a session, because as long
    as Playwright lives no other test can have an event loop of its own.
    """
    with ExitStack() as stack:
        with unavailable_skips():
            from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415 - group live

            playwright = stack.enter_context(sync_playwright())
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM.get(), args=list(CHROMIUM_FLAGS)
            )
        stack.callback(browser.close)
        expect.set_options(timeout=10_000)  # milliseconds
        yield browser.new_page(device_scale_factor=2)


@pytest.fixture
def browser_page(one_page: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Lend the page to a test; what is on it at the end is kept as a picture of that name."""
    yield one_page
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")
    one_page.mouse.move(0, 0)  # nothing under the pointer
    one_page.screenshot(path=servers.ARTIFACTS / f"{name}.png", animations="disabled")
