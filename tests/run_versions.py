"""Run the fast tests on the oldest and on the newest supported versions of everything.

The oldest Python found here gets the lowest versions that pyproject.toml allows, the newest
Python the highest. Environments are kept in a cache outside the tree.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from live.counterparts import cache_directory

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class End:
    """One end of the supported range."""

    name: str
    pythons: tuple[str, ...]
    resolution: str


ENDS = (
    End("oldest", PYTHONS, "lowest-direct"),
    End("newest", PYTHONS[::-1], "highest"),
)


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)


def uv() -> Path:
    return Path(sys.executable).with_name("uv")


def candidates(version: str) -> Iterator[str]:
    """Where a Python of this version may be: on PATH, or installed by pyenv."""
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))


def works(python: str) -> bool:
    """Whether it starts: pyenv's shims stand on PATH for versions that are switched off."""
    return subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0


def find_python(versions: tuple[str, ...]) -> str:
    """Return the first of the versions that this machine has."""
    found = (python for version in versions for python in candidates(version) if works(python))
    return next(found, sys.executable)


def main() -> None:
    """Make both environments and run the tests in each; stop at the first that fails."""
    for end in ENDS:
        environment = cache_directory() / f"versions-{end.name}"
        python = environment / "bin" / "python"
        run(uv(), "venv", "--quiet", "--clear", "--python", find_python(end.pythons), environment)
        run(
            *(uv(), "pip", "install", "--quiet", "--compile-bytecode", "--python", python),
            *("--resolution", end.resolution),
            *("--editable", ".[cli,instruments,mlflow]", "--group", "test"),
        )
        run(python, "--version")
        run(uv(), "pip", "list", "--quiet", "--python", python)
        run(python, "-m", "pytest", "-q", "-m", "not live and not wheel")


if __name__ == "__main__":
    main()
