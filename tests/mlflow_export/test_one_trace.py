"""One trace from both worlds: spans by MLflow's API (m) and by OpenTelemetry's (o) round a call.

docs/one-trace.md tells what this table proves.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from mlflow_export import stored
from ollama_otel.testing import FakeOllama

APP: Final = Path(__file__).with_name("one_trace_app.py")

TOGETHER: Final = {"MLFLOW_USE_DEFAULT_TRACER_PROVIDER": "false"}

Trees = dict[str, set[str]]

WHOLE: Final[Trees] = {
    "om": {"o > m > call"},
    "omo": {"o > m > o > call"},
    "mo": {"m > o > call"},
    "mom": {"m > o > m > call"},
}


@dataclass(frozen=True)
class Case:
    """A set-up, and what MLflow holds then: the traces of each nesting, from the outside.

    Args:
        door: what records the calls.
        steps: the steps with which the application begins, in their order.
        trees: the traces; spans of OpenTelemetry's that go elsewhere are not among them.
        env: the settings.
    """

    door: str
    steps: tuple[str, ...]
    trees: Trees
    env: Mapping[str, str] = field(default_factory=dict)


CASES: Final = {
    "autolog, as it comes": Case(
        "autolog",
        ("provider", "door"),
        {"om": {"m > call"}, "omo": {"m > call"}, "mo": {"m > call"}, "mom": {"m > m > call"}},
    ),
    "exporter, as it comes": Case(
        "exporter",
        ("provider", "door"),
        {
            "om": {"m", "o > call"},
            "omo": {"m", "o > o > call"},
            "mo": {"m", "o > call"},
            "mom": {"m > m", "o > call"},
        },
    ),
    "autolog, together": Case("autolog", ("provider", "door"), WHOLE, TOGETHER),
    "exporter, together": Case("exporter", ("provider", "door", "enable"), WHOLE, TOGETHER),
    "autolog, together, MLflow's own provider": Case(
        "autolog", ("door", "enable"), WHOLE, TOGETHER
    ),
    "autolog, together, the provider comes late": Case(
        "autolog",
        ("door", "provider"),
        # The first one lacks what began before MLflow joined.
        WHOLE | {"om": {"call"}},
        TOGETHER,
    ),
    "exporter, together, MLflow joins late": Case(
        "exporter", ("provider", "door"), WHOLE | {"om": {"o", "call"}}, TOGETHER
    ),
    "autolog, together, the tracking URI is set late": Case(
        "autolog",
        ("provider", "door", "enable", "tracking uri"),
        # That takes the application's provider off; MLflow's own comes at the first m.
        WHOLE | {"om": {"m > call"}},
        TOGETHER,
    ),
}


def uri(folder: Path, case: str) -> str:
    return f"sqlite:///{folder / case}.db"


@pytest.fixture(scope="module")
def results(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run all set-ups, each with a database of its own."""
    folder = tmp_path_factory.mktemp("one_trace")
    for name in CASES:
        shutil.copy(empty_database, folder / f"{name}.db")
    cases = [
        {
            "door": case.door,
            "steps": case.steps,
            "env": {**case.env, "MLFLOW_TRACKING_URI": uri(folder, name)},
        }
        for name, case in CASES.items()
    ]
    with FakeOllama() as server:
        done = subprocess.run(
            [sys.executable, str(APP), json.dumps(cases)],
            cwd=folder,
            env=os.environ
            | {
                "OLLAMA_HOST": server.url,
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
                "MLFLOW_MODEL_CATALOG_URI": "",  # else MLflow asks the internet for prices
            },
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return folder


def told(name: str) -> str:
    return "call" if name.startswith("chat ") else name.rsplit(maxsplit=1)[-1]


def nesting(name: str) -> str:
    return name.rsplit(maxsplit=1)[-1] if name.startswith("chat ") else name.split(maxsplit=1)[0]


def line(trace: stored.Json) -> tuple[str, str]:
    """The nesting that a trace belongs to, and its spans, from the first one inwards."""
    spans = {span["parent"]: span["name"] for span in trace["spans"]}
    assert len(spans) == len(trace["spans"])
    names = [spans[None]]
    while names[-1] in spans:
        names.append(spans[names[-1]])
    assert len(names) == len(spans)
    return nesting(names[0]), " > ".join(map(told, names))


@pytest.mark.parametrize("name", CASES)
def test_traces(results: Path, name: str) -> None:
    """What MLflow holds of each nesting, whole."""
    trees: Trees = {}
    for trace in stored.traces(uri(results, name)):
        of, spans = line(trace)
        trees.setdefault(of, set()).add(spans)
        assert trace["state"] == "OK"

    assert trees == CASES[name].trees


def test_the_exporters_translation_is_what_is_kept(results: Path) -> None:
    """Of spans that MLflow's own tracing stores too, untranslated."""
    (trace,) = [
        trace
        for trace in stored.traces(uri(results, "exporter, together"))
        if line(trace) == ("om", "o > m > call")
    ]
    spans = {span["name"]: span for span in trace["spans"]}
    assert {name: span["type"] for name, span in spans.items()} == {
        "om 0 o": None,
        "om 1 m": "UNKNOWN",
        "chat om": "CHAT_MODEL",
    }
    assert spans["chat om"]["attributes"]["mlflow.spanInputs"] == {
        "model": "om",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    }
