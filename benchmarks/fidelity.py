"""What MLflow shows of the calls of Ollama, by the way in which they were traced.

    python benchmarks/fidelity.py [--contenders ours by-hand] [--fake] [--markdown]

One workload runs through each contender, in an environment of its own, against one Ollama server
and into one MLflow server. What the table says is read back from MLflow. docs/comparison.md shows
the table and says how to read it; --markdown writes it there.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import httpx
import ollama
from environments import OPENINFERENCE, OPENLLMETRY, ROOT, environment, ours
from fidelity_facts import FACTS
from fidelity_traces import Record, Span, Trace
from mlflow import MlflowClient

from ollama_otel.testing import FakeOllama

sys.path.append(str(ROOT / "tests"))  # the servers are those of the live tests
sys.path.append(str(ROOT / "benchmarks" / "workload"))

from diary import CHAT_MODEL, EMBEDDING_MODEL, MISSING_MODEL, SESSION

from live import servers
from live.counterparts import OLLAMA, OLLAMA_VERSION

WORKLOAD: Final = ROOT / "benchmarks" / "workload"
PAGE: Final = ROOT / "docs" / "comparison.md"
BEGIN: Final = "<!-- made by benchmarks/fidelity.py: begin -->"
END: Final = "<!-- made by benchmarks/fidelity.py: end -->"
LIMIT: Final = 180.0  # seconds, for one contender's workload


@dataclass(frozen=True)
class Contender:
    """A way of tracing the calls of Ollama into MLflow.

    Attributes:
        title: the head of its column.
        requirements: what to install, beside the releases that run here of what ``shared`` names.
        shared: packages that get the release that runs here.
        program: the workload's file.
        settings: environment variables that a user sets. ``{uri}``, ``{experiment}`` and ``{id}``
            stand for MLflow's address and the experiment's name and id.
        launched: whether ``opentelemetry-instrument`` runs the program.
        over_v1: whether it needs Ollama's OpenAI-compatible endpoint.
    """

    title: str
    requirements: Sequence[str]
    shared: Sequence[str]
    program: str
    settings: Mapping[str, str]
    launched: bool = False
    over_v1: bool = False


_OTEL: Final = ("ollama", "opentelemetry-sdk", "opentelemetry-distro", "httpx", "pydantic")
_MLFLOW: Final = ("mlflow", "opentelemetry-sdk", "httpx", "pydantic")
_STOCK: Final = ("opentelemetry-exporter-otlp-proto-http",)
_TRACES_ONLY: Final = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
_OTLP: Final = _TRACES_ONLY | {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{uri}/v1/traces",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-mlflow-experiment-id={id}",
}
_TRACKING: Final = {"MLFLOW_TRACKING_URI": "{uri}", "MLFLOW_EXPERIMENT_NAME": "{experiment}"}

OURS: Final = "ours"
CONTENDERS: Final = {
    "openllmetry": Contender(
        "OpenLLMetry",
        (OPENLLMETRY,),
        _OTEL + _STOCK,
        "over_ollama.py",
        _OTLP | {"TRACELOOP_TRACE_CONTENT": "true"},
        launched=True,
    ),
    "openinference": Contender(
        "OpenInference",
        (OPENINFERENCE,),
        _OTEL + _STOCK,
        "over_ollama.py",
        _OTLP | {"OPENINFERENCE_ENABLE_GENAI_SEMCONV": "true"},
        launched=True,
    ),
    "autolog": Contender(
        "mlflow.openai.autolog",
        ("openai==3.54.0",),
        _MLFLOW,
        "over_openai.py",
        _TRACKING,
        over_v1=True,
    ),
    "by-hand": Contender("by hand", (), ("ollama", *_MLFLOW), "by_hand.py", _TRACKING),
    OURS: Contender(
        "ollama-otel",
        ours("otlp"),
        _OTEL,
        "over_ollama.py",
        _TRACES_ONLY
        | _TRACKING
        | {
            "OTEL_TRACES_EXPORTER": "mlflow",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
        },
        launched=True,
    ),
}

# Running ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Servers:
    """The servers of a run.

    Attributes:
        ollama: where Ollama answers.
        ollama_is: what answers there, in words.
        mlflow: where MLflow answers.
        store: the folder in which MLflow keeps its database and artifacts.
    """

    ollama: str
    ollama_is: str
    mlflow: str
    store: Path


@contextmanager
def running_servers(home: Path, *, fake: bool) -> Iterator[Servers]:
    """Run an Ollama that answers from a script, and an MLflow.

    Args:
        home: a folder for all that they write.
        fake: whether the stand-in of ``ollama_otel.testing`` takes the place of a real Ollama.
    """
    with ExitStack() as stack:
        folders = {name: home / name for name in ("ollama", "mlflow")}
        for folder in folders.values():
            folder.mkdir()
        start = _stand_in if fake else _real_ollama
        url, words = stack.enter_context(start(folders["ollama"]))
        uri = stack.enter_context(servers.mlflow_server(folders["mlflow"]))
        yield Servers(url, words, uri, folders["mlflow"])


@contextmanager
def _stand_in(_: Path) -> Iterator[tuple[str, str]]:
    with FakeOllama(missing_models=[MISSING_MODEL]) as server:
        yield server.url, "the stand-in of `ollama_otel.testing` for Ollama"


@contextmanager
def _real_ollama(home: Path) -> Iterator[tuple[str, str]]:
    with servers.ollama_server(home) as server:
        _name_models(server.url)
        says = httpx.get(f"{server.url}/api/version").json()["version"]
        release = OLLAMA_VERSION if says == "0.0.0" else says  # our own build does not know it
        yield server.url, f"a real Ollama {release}"


def _name_models(url: str) -> None:
    """Name the scripted models as real ones: MLflow looks prices up by the name."""
    with ollama.Client(url) as client:
        client.copy("scripted", CHAT_MODEL)
        client.copy("embedder", EMBEDDING_MODEL)


@dataclass(frozen=True)
class Run:
    """What a contender's process left behind.

    Attributes:
        diary: by case, when it began and ended and what the application saw.
        complaints: what it wrote to stderr.
    """

    diary: Mapping[str, Mapping[str, Any]]
    complaints: str


def run_workload(contender: str, at: Servers, experiment_id: str, home: Path) -> Run:
    """Run the workload through a contender.

    Args:
        contender: a key of ``CONTENDERS``, and the experiment's name.
        at: the servers.
        experiment_id: the experiment's id.
        home: a folder that the process has for its own.

    Raises:
        RuntimeError: the process did not keep its diary.
    """
    is_to = CONTENDERS[contender]
    python = environment(contender, is_to.requirements, shared=is_to.shared, purpose="compare")
    values = {"uri": at.mlflow, "experiment": contender, "id": experiment_id}
    settings = {name: text.format(**values) for name, text in is_to.settings.items()}
    launcher = [str(python.with_name("opentelemetry-instrument"))] if is_to.launched else []
    done = subprocess.run(  # noqa: S603  (our own command)
        [*launcher, str(python), str(WORKLOAD / is_to.program), at.ollama],
        env=servers.environment(home, **settings),
        cwd=home,
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode or not done.stdout:
        raise RuntimeError(f"{contender} ended with status {done.returncode}:\n{done.stderr}")
    return Run(json.loads(done.stdout.splitlines()[-1]), done.stderr)


def unload(url: str) -> None:
    """Unload the model: everybody's first call loads it, and what a dropped stream holds is freed.

    Args:
        url: where Ollama answers.
    """
    with ollama.Client(url) as client:
        client.generate(CHAT_MODEL, keep_alive=0)


# Reading ------------------------------------------------------------------------------------


class Store:
    """Reads the traces of one experiment back.

    Args:
        at: the servers.
        experiment_id: the experiment's id.
    """

    def __init__(self, at: Servers, experiment_id: str) -> None:
        self._client = MlflowClient(at.mlflow)
        self._folder = at.store
        self._experiment_id = experiment_id

    def traces(self) -> list[tuple[int, Trace]]:
        """Return the traces, each with the time at which it began."""
        stored = self._search(None)
        found = {name: self._ids(name, stored) for name in _SEARCHES}
        return [(_began(trace), self._trace(trace, found)) for trace in stored]

    def _search(self, query: str | None) -> list[Any]:
        return list(
            self._client.search_traces(
                locations=[self._experiment_id], filter_string=query, max_results=500
            )
        )

    def _ids(self, name: str, stored: list[Any]) -> set[str]:
        """Return the ids of the traces that a search finds, asked with what the pages show."""
        queries = {_SEARCHES[name](trace) for trace in stored if trace.data.spans}
        return {trace.info.trace_id for query in queries - {None} for trace in self._search(query)}

    def _trace(self, trace: Any, found: Mapping[str, set[str]]) -> Trace:
        info = trace.info
        return Trace(
            state=str(getattr(info.state, "value", info.state)),
            request=info.request_preview,
            response=info.response_preview,
            name=info.tags.get("mlflow.traceName"),
            metadata=info.trace_metadata,
            spans=[_span(span) for span in sorted(trace.data.spans, key=_start)],
            size=self._size(info.trace_id),
            found_by=frozenset(name for name, ids in found.items() if info.trace_id in ids),
        )

    def _size(self, trace_id: str) -> int:
        folder = self._folder / "artifacts" / self._experiment_id / "traces" / trace_id
        # MLflow's own client leaves a second copy of some traces there, and of others not.
        kept = [it for it in folder.rglob("*") if it.is_file() and it.name != "traces.json"]
        with closing(sqlite3.connect(self._folder / "mlflow.db")) as database:
            query = "SELECT sum(length(CAST(content AS BLOB))) FROM spans WHERE trace_id = ?"
            (rows,) = database.execute(query, [trace_id]).fetchone()
        return sum(it.stat().st_size for it in kept) + (rows or 0)


def _root(trace: Any) -> Any:
    return min(trace.data.spans, key=lambda span: (span.parent_id is not None, _start(span)))


_SEARCHES: Final[Mapping[str, Callable[[Any], str]]] = {
    "type": lambda trace: f"span.type = '{trace.data.spans[-1].span_type}'",
    "name": lambda trace: (
        f"trace.name = '{trace.info.tags.get('mlflow.traceName') or _root(trace).name}'"
    ),
    "error": lambda _: "trace.status = 'ERROR'",
    "session": lambda _: f"metadata.`mlflow.trace.session` = '{SESSION}'",
    "tool": lambda _: "span.name = 'calculate_tip'",
}
"""What a person would search by, having seen a trace."""


def _start(span: Any) -> int:
    return int(span.start_time_ns)


def _began(trace: Any) -> int:
    return min((_start(span) for span in trace.data.spans), default=0)


def _span(span: Any) -> Span:
    return Span(
        name=span.name,
        type=str(span.span_type),
        parent=span.parent_id,
        status=str(span.status.status_code.value),
        attributes=dict(span.attributes),
        events=[(event.name, dict(event.attributes or {})) for event in span.events],
    )


def record(contender: str, run: Run, traces: Sequence[tuple[int, Trace]]) -> Record:
    """Return a contender's traces by the case in whose time they began.

    Args:
        contender: a key of ``CONTENDERS``.
        run: its run.
        traces: its traces, each with the time at which it began.
    """
    return Record(
        traces={
            case: [trace for began, trace in traces if told["began"] <= began <= told["ended"]]
            for case, told in run.diary.items()
        },
        got={case: told["got"] for case, told in run.diary.items() if "got" in told},
        raised={case: told["raised"] for case, told in run.diary.items() if "raised" in told},
        lines=user_lines(WORKLOAD / CONTENDERS[contender].program),
        settings=len(CONTENDERS[contender].settings),
    )


def user_lines(program: Path) -> int:
    """Count the lines of code between the marks of what a user writes, without docstrings.

    Args:
        program: a workload's file.
    """
    _, _, marked = program.read_text().partition("# What a user writes: begin\n")
    lines = marked.partition("# What a user writes: end")[0].splitlines()
    return sum(bool(line.strip()) and not line.strip().startswith(("#", '"""')) for line in lines)


# Telling ------------------------------------------------------------------------------------


def table(records: Mapping[str, Record]) -> list[tuple[str, list[list[str]]]]:
    """Return the rows of the table in groups, each row a label and a cell for each contender.

    Args:
        records: by contender.
    """
    return [
        (group, [[fact.label, *map(fact.cell, records.values())] for fact in facts])
        for group, facts in FACTS.items()
    ]


def tell(records: Mapping[str, Record]) -> None:
    """Print the table.

    Args:
        records: by contender.
    """
    from rich.console import Console  # noqa: PLC0415  (an extra)
    from rich.table import Table  # noqa: PLC0415  (an extra)

    shown = Table("", *(CONTENDERS[name].title for name in records))
    for group, rows in table(records):
        shown.add_section()
        shown.add_row(f"[bold]{group}")
        for row in rows:
            shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(shown)


def write_page(records: Mapping[str, Record], ollama_is: str) -> None:
    """Write the tables into docs/comparison.md, between its marks.

    Args:
        records: by contender.
        ollama_is: what answered, in words.
    """
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    made = "\n\n".join(_markdown(records, ollama_is))
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


def _markdown(records: Mapping[str, Record], ollama_is: str) -> Iterator[str]:
    yield f"Run on {datetime.now(timezone.utc):%Y-%m-%d}, on {_machine()}, with {ollama_is}."
    titles = [CONTENDERS[name].title for name in records]
    for group, rows in table(records):
        yield f"### {group}"
        yield _rows([["", *titles], ["---"] * (len(titles) + 1), *rows])
    yield "### How each was set up"
    yield _rows([["", "installed", "set"], ["---"] * 3, *map(_set_up, records)])


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _set_up(name: str) -> list[str]:
    is_to = CONTENDERS[name]
    pinned = [it for it in is_to.requirements if "==" in it]
    shared = [f"{it}=={version(it)}" for it in is_to.shared if it not in {"httpx", "pydantic"}]
    own = [f"ollama-otel {version('ollama-otel')}, of this tree"] if name == OURS else []
    settings = [f"`{key}={value}`" for key, value in is_to.settings.items()]
    installed = [f"`{it}`" for it in pinned + shared]
    return [is_to.title, "<br>".join(own + installed), "<br>".join(settings)]


def _machine() -> str:
    system = {"Darwin": "macOS"}.get(platform.system(), platform.system())
    return (
        f"{system} ({platform.machine()}, {os.cpu_count()} cores) "
        f"with Python {platform.python_version()}"
    )


def compare(names: Sequence[str], *, fake: bool) -> tuple[dict[str, Record], str]:
    """Run the workload through some contenders.

    Args:
        names: keys of ``CONTENDERS``.
        fake: whether a stand-in takes the place of a real Ollama.

    Returns:
        What is in the store, by contender; and what answered, in words.
    """
    records = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_servers(Path(folder), fake=fake) as at,
    ):
        for name in names:
            print(f"running {name}", file=sys.stderr)
            experiment_id = MlflowClient(at.mlflow).create_experiment(name)
            run = run_workload(name, at, experiment_id, Path(folder))
            records[name] = record(name, run, Store(at, experiment_id).traces())
            unload(at.ollama)
        return records, at.ollama_is


def main() -> int:
    """Compare what the command line asks for, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    known = f"default: {' '.join(CONTENDERS)}"
    add("--contenders", nargs="+", choices=CONTENDERS, metavar="NAME", help=known)
    add("--fake", action="store_true", help="a stand-in for Ollama, without its endpoint /v1")
    add("--markdown", action="store_true", help="write docs/comparison.md too")
    options = parser.parse_args()
    fake = options.fake or OLLAMA.find() is None
    if fake and not options.fake:
        print("no Ollama here (make counterparts): a stand-in answers", file=sys.stderr)
    wanted = options.contenders or CONTENDERS
    names = [name for name in wanted if not (fake and CONTENDERS[name].over_v1)]
    records, ollama_is = compare(names, fake=fake)
    tell(records)
    if options.markdown:
        write_page(records, ollama_is)
    return 0


if __name__ == "__main__":
    sys.exit(main())
