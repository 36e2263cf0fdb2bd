"""Environments of their own for the packages that benchmarks compare, kept from run to run."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]

OPENLLMETRY: Final = "opentelemetry-instrumentation-ollama==0.62.4"
OPENINFERENCE: Final = "openinference-instrumentation-ollama==0.1.13"
TRACEAI: Final = "traceai-ollama==0.1.0"

SHARED: Final = ("ollama", "opentelemetry-sdk", "httpx", "pydantic")
"""Packages that get the release that runs here, in every environment that has them."""


def ours(*extras: str) -> tuple[str, ...]:
    """Return what installs the package from the tree.

    Args:
        extras: the package's extras that come with it.
    """
    return "--editable", str(ROOT) + (f"[{','.join(extras)}]" if extras else "")


def environment(
    name: str, requirements: Sequence[str], *, shared: Sequence[str] = SHARED, purpose: str
) -> Path:
    """Return the interpreter of an environment, made if there is none yet.

    Args:
        name: what it is called.
        requirements: what to install, in the words of pip's command line.
        shared: packages that get the release that runs here.
        purpose: of the environment: a folder in the cache.
    """
    wanted = [*requirements, *(f"{it}=={version(it)}" for it in shared)]
    # Ours is installed from the tree: what it requires may change there.
    tree = (ROOT / "pyproject.toml").read_text() if "--editable" in wanted else ""
    stamp = hashlib.sha256(" ".join([sys.version, tree, *wanted]).encode()).hexdigest()[:12]
    home = cache_directory() / purpose / f"{name}-{stamp}"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (home / "complete").exists():
        print(f"setting up {name} in {home}", file=sys.stderr)
        _install(home, python, wanted)
        (home / "complete").touch()
    return python


def _install(home: Path, python: Path, wanted: list[str]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    beside = str(Path(sys.executable).parent)
    uv = shutil.which("uv", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if uv:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(home))
        _run(
            uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *wanted
        )
    else:
        _run(sys.executable, "-m", "venv", str(home))
        _run(str(python), "-m", "pip", "install", "--quiet", *wanted)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603  (our own commands)


def cache_directory() -> Path:
    """Return the directory for what is kept outside the tree."""
    if own := os.environ.get("OLLAMA_OTEL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ollama-otel"
