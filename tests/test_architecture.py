"""Who may import whom, as docs/architecture.md draws it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ollama_otel

SOURCE = Path(ollama_otel.__file__).parent
OURS = "ollama_otel"

# Room → the rooms of ours that it may import. A room that is missing here fails the test.
ALLOWED: dict[str, set[str]] = {
    "__init__": {"_version", "instrumentor"},
    "_version": set(),
    "_internal_errors": set(),
    "_extract": {"_text"},
    "_spans": set(),
    "_doors": set(),
    "_text": set(),
    "_nesting": set(),
    "_ollama_attributes": {"_text"},
    "_exceptions": {"_extract", "_text"},
    "_operations": {"_extract", "_nesting", "_ollama_attributes", "_spans", "_telemetry"},
    "_severity": set(),
    "_telemetry": {
        *("_doors", "_internal_errors", "_open_streams", "_severity", "_spans", "_version"),
    },
    "_calls": {
        *("_doors", "_exceptions", "_extract", "_internal_errors", "_nesting", "_open_streams"),
        *("_ollama_attributes", "_operations", "_spans", "_telemetry"),
    },
    "_open_streams": {"_calls", "_internal_errors"},  # _calls for its type only
    "_streams": {"_calls", "_open_streams"},
    "_wrappers": {"_calls", "_open_streams", "_operations", "_streams", "_telemetry"},
    "_patch": {"_internal_errors", "_others", "_telemetry", "_wrappers"},
    "instrumentor": {"_patch", "_telemetry"},
    "_others": set(),
    "_fake_answers": set(),
    "testing": {"_fake_answers"},
    "cli": {"_version", "_demo.run"},
    "_demo": set(),
    "_demo.run": {"_demo.app", "_demo.server", "_demo.store", "_trace_tree"},
    "_demo.app": set(),
    "_demo.server": {"_demo", "_demo.app", "mlflow._errors", "testing"},
    "_demo.store": {
        *("instrumentor", "mlflow._database", "mlflow._errors"),
        *("mlflow.exporter", "mlflow.sinks"),
    },
    "_trace_tree": set(),
    "mlflow": {"mlflow._autolog", "mlflow.exporter"},
    "mlflow._autolog": {"mlflow._integration"},
    "mlflow._integration": {
        *("_doors", "_patch", "_spans", "_telemetry", "instrumentor"),
        *("mlflow._json", "mlflow._sessions", "mlflow.translation"),
    },
    "mlflow._errors": set(),
    "mlflow._json": {"_text"},
    "mlflow._tools": {"mlflow._json"},
    "mlflow._messages": {"mlflow._json"},
    "mlflow._previews": {"mlflow._json"},
    "mlflow._kinds": {"mlflow._json", "mlflow._messages"},
    "mlflow.translation": {
        *("_text", "mlflow._json", "mlflow._kinds", "mlflow._previews", "mlflow._tools"),
    },
    "mlflow._spans": {"_text", "mlflow.translation"},
    "mlflow._firsts": {
        *("mlflow._json", "mlflow._kinds", "mlflow._previews"),
        *("mlflow._spans", "mlflow.translation"),
    },
    "mlflow._runs": set(),
    "mlflow._sessions": set(),
    "mlflow._otlp": {"_internal_errors", "mlflow._errors"},
    "mlflow._databricks": {
        *("_internal_errors", "mlflow._errors", "mlflow._otlp", "mlflow._server"),
    },
    "mlflow._server": {"mlflow._errors"},
    "mlflow._database": {"mlflow._errors"},
    "mlflow.sinks": {
        *("_internal_errors", "mlflow._database", "mlflow._databricks"),
        *("mlflow._errors", "mlflow._otlp", "mlflow._server"),
    },
    "mlflow.exporter": {
        "_doors",
        "_internal_errors",
        "mlflow._errors",
        "mlflow._runs",
        "mlflow._sessions",
        "mlflow._spans",
        "mlflow._firsts",
        "mlflow.sinks",
        "mlflow.translation",
    },
}

# Room → the packages that it may not import, not even inside a function.
FORBIDDEN: dict[str, set[str]] = {
    "_extract": {"ollama", "opentelemetry.sdk", "mlflow"},
    "_operations": {"ollama", "opentelemetry.sdk", "mlflow"},
    "_calls": {"ollama", "opentelemetry.sdk", "mlflow"},
    "_streams": {"ollama", "opentelemetry", "mlflow"},
    "_wrappers": {"ollama", "opentelemetry.sdk", "mlflow"},
    "instrumentor": {"ollama", "opentelemetry.sdk", "mlflow"},
    "testing": {"ollama", "opentelemetry", "mlflow", "httpx"},
}

STANDARD_LIBRARY_ONLY = [
    *("mlflow.translation", "testing", "_fake_answers"),
    *("_doors", "_internal_errors", "_ollama_attributes", "_open_streams"),
    *("_others", "_text"),
]


def rooms() -> dict[str, Path]:
    """Every module of the package by its name below the package."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


class _RunTimeOnly(ast.NodeTransformer):
    """Drops what only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_typing else node


def imports(path: Path, *, run_time_only: bool = False) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    if run_time_only:
        tree = _RunTimeOnly().visit(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                pytest.fail(f"{path} uses a relative import")


def rooms_imported(path: Path) -> set[str]:
    """The rooms of ours that a file imports."""
    known = rooms()
    names = {name.removeprefix(f"{OURS}.") for name in imports(path) if name.startswith(f"{OURS}.")}
    return names & set(known)


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_imports_downwards_only(room: str) -> None:
    """Each room has a row that says what it may import."""
    assert room in ALLOWED, f"{room} has no row in ALLOWED: say what it may import"
    assert rooms_imported(rooms()[room]) <= ALLOWED[room]


def test_the_table_has_no_room_that_is_gone() -> None:
    """A row that names nothing is a picture of the past."""
    assert set(ALLOWED) | set(FORBIDDEN) <= set(rooms())


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_keeps_out_what_is_not_its_business(room: str) -> None:
    """The two halves meet in attributes only, and neither imports the SDK that it tells."""
    used = list(imports(rooms()[room]))

    assert [
        name
        for name in used
        for package in FORBIDDEN[room]
        if name == package or name.startswith(f"{package}.")
    ] == []


@pytest.mark.parametrize("room", STANDARD_LIBRARY_ONLY)
def test_a_pure_room_needs_the_standard_library_only(room: str) -> None:
    """It works in a process in which nothing else is installed."""
    outside = {
        name
        for name in imports(rooms()[room], run_time_only=True)
        if name.partition(".")[0] not in sys.stdlib_module_names | {OURS}
    }

    assert outside == set()


def test_the_base_install_is_small() -> None:
    """Without extras: no SDK, no mlflow, no ollama, no HTTP client."""
    code = """
import importlib.metadata as m, re
seen, todo = set(), ["ollama-otel"]
while todo:
    for line in m.requires(todo.pop()) or ():
        name = re.match(r"[A-Za-z0-9_.-]+", line).group().lower()
        if "extra ==" not in line and name not in seen:
            seen.add(name)
            todo.append(name)
print(*sorted(seen))
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    heavy = {"opentelemetry-sdk", "mlflow", "mlflow-tracing", "ollama", "httpx", "requests"}
    assert not heavy & set(printed)
    assert {"opentelemetry-api", "opentelemetry-util-genai", "wrapt"} <= set(printed)


def test_the_picture_of_the_rooms_shows_every_room() -> None:
    """docs/architecture.md shows the package as it is."""
    picture = (SOURCE.parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = {path.name for path in rooms().values()}

    assert [name for name in sorted(files) if name not in picture] == []
    shown = set(re.findall(r"\b(\w+\.py)\b", picture))
    tests = {"test_architecture.py", "test_upstream.py"}
    assert shown - tests <= files
