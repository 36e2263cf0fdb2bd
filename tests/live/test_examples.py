"""The programs in examples/ and the notebook, against a real Ollama and a real MLflow server."""

from __future__ import annotations

import html
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tutorials import (
    CELLS_WITH_A_TRACE,
    EXPERIMENT,
    NOTEBOOK_ENVIRONMENT,
    NOTEBOOK_OUTPUT,
    NOTEBOOK_TRACES,
    PROGRAMS,
    QUIET,
    by_start,
    cells,
    notebook_command,
    printed,
    told,
)

from .applications import LIMIT, Ended
from .servers import environment
from .stored import finished_traces, texts_read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow.entities import Trace
    from playwright.sync_api import Page

    from .servers import OllamaServer

Json = dict[str, Any]


@dataclass(frozen=True)
class World:
    """The servers, and how to run a program between them."""

    ollama: str
    mlflow: str

    def run(self, command: list[str], home: Path, more: Mapping[str, str]) -> Ended:
        """Run a program as its header says."""
        servers = {"OLLAMA_HOST": self.ollama, "MLFLOW_TRACKING_URI": self.mlflow}
        done = subprocess.run(
            command,
            cwd=home,
            env=environment(home, **QUIET | servers, **more),
            capture_output=True,
            check=False,
            text=True,
            timeout=LIMIT,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def taken(self, name: str, count: int) -> list[Trace]:
        """Return the traces that came, and rename their experiment: the next one is empty."""
        from mlflow import MlflowClient  # noqa: PLC0415  (takes seconds)

        traces = finished_traces(self.mlflow, EXPERIMENT, count)
        client = MlflowClient(self.mlflow)
        client.rename_experiment(str(traces[0].info.experiment_id), f"{EXPERIMENT} of {name}")
        return traces


@pytest.fixture(scope="module")
def world(ollama_server: OllamaServer, mlflow_server: str) -> World:
    return World(ollama_server.url, mlflow_server)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_and_its_traces(world: World, tmp_path: Path, name: str) -> None:
    """As with the stand-in server: the same words, the same traces."""
    example = PROGRAMS[name]

    ended = world.run(example.command, tmp_path, example.environment)

    assert ended == Ended(0, example.output, "")
    traces = world.taken(name, len(example.traces))
    assert texts_read([told(trace, example.order) for trace in traces]) == texts_read(
        example.traces
    )


@dataclass(frozen=True)
class Executed:
    """The notebook after its execution.

    Attributes:
        cells: its code cells.
        traces: what was stored.
    """

    cells: dict[str, Json]
    traces: list[Trace]


@pytest.fixture(scope="module")
def executed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Executed:
    home = tmp_path_factory.mktemp("notebook")
    ended = world.run(notebook_command(home), home, NOTEBOOK_ENVIRONMENT)
    assert ended.status == 0, ended.complaints
    traces = world.taken("notebook", len(NOTEBOOK_TRACES))
    return Executed(cells(home / "executed.ipynb"), traces)


def test_the_notebook_goes_from_nothing_to_the_tool_loop(executed: Executed) -> None:
    """As with the stand-in server."""
    assert {name: printed(cell) for name, cell in executed.cells.items()} == NOTEBOOK_OUTPUT
    assert texts_read([told(trace, by_start) for trace in executed.traces]) == texts_read(
        NOTEBOOK_TRACES
    )


def test_each_trace_shows_below_its_cell(executed: Executed) -> None:
    """In MLflow's own widget."""
    shown = [
        (cell, re.findall(r"trace_id=(tr-\w+)", address)) for cell, address in widgets(executed)
    ]

    ids = [[trace.info.trace_id] for trace in executed.traces]
    assert shown == list(zip(CELLS_WITH_A_TRACE, ids, strict=True))


def widgets(executed: Executed) -> list[tuple[str, str]]:
    """Return the addresses of the widgets, each with the name of its cell."""
    return [
        (name, html.unescape(source))
        for name, cell in executed.cells.items()
        for output in cell["outputs"]
        for source in re.findall(
            r'<iframe[^>]* src="([^"]+)"', "".join(output.get("data", {}).get("text/html", ()))
        )
    ]


def test_the_widget_shows_the_loop(executed: Executed, browser_page: Page) -> None:
    """In a browser: the loop and the tool that was executed."""
    from playwright.sync_api import expect  # noqa: PLC0415 - group live

    browser_page.goto(dict(widgets(executed))["loop"])

    for name in ("ToolCallingLoop", "calculate_tip"):
        expect(browser_page.get_by_text(name, exact=True).first).to_be_visible()
