"""Get ready what the live tests run against: an Ollama server, a collector, a browser.

What is on PATH is used as it is. What is not is built, or installed by apt-get, and builds are kept
in a cache outside the tree: $OLLAMA_OTEL_CACHE, or else ollama-otel in the user's cache directory.
Standard library only, so that it runs before anything else is installed:

    python tests/live/counterparts.py prepare
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OLLAMA_VERSION = "0.24.0"
COLLECTOR_VERSION = "0.145.0"
MALGO_VERSION = "0.11.24"
BUILDER_MANIFEST = Path(__file__).with_name("collector-builder.yaml")
COMMAND_LIMIT = 1800  # seconds; the longest is Ollama's C++ on a small machine

_log = logging.getLogger("counterparts")


class CounterpartUnavailableError(RuntimeError):
    """A counterpart of the live tests cannot be had on this machine."""


@dataclass(frozen=True)
class Counterpart:
    """A program that the live tests need.

    Attributes:
        on_path: names under which the program may be on PATH, best first.
        cached: the file name of our own build, with its version; None if we build none.
        provide: builds the program into the given directory and returns its path there, or
            installs it on PATH and returns None.
    """

    on_path: tuple[str, ...]
    cached: str | None
    provide: Callable[[Path], Path | None]

    def find(self) -> Path | None:
        """Return the program on PATH or in the cache, None where there is neither."""
        found = next(filter(None, map(shutil.which, self.on_path)), None)
        if found is not None:
            return Path(found)
        if self.cached is None:
            return None
        ours = cache_directory() / self.cached
        return ours if ours.exists() else None

    def get(self) -> Path:
        """Return the program.

        Raises:
            CounterpartUnavailableError: it has not been prepared.
        """
        found = self.find()
        if found is None:
            raise CounterpartUnavailableError(
                f"{self.on_path[0]} is neither on PATH nor in {cache_directory()}; "
                "run: make counterparts"
            )
        return found

    def prepare(self) -> Path:
        """Return the program, after making it where it is missing."""
        found = self.find()
        if found is None:
            _log.info("%s: not here yet, getting it ready", self.on_path[0])
            self._provide()
            found = self.get()
        _log.info("%s: %s", self.on_path[0], found)
        return found

    def _provide(self) -> None:
        cache = cache_directory()
        cache.mkdir(parents=True, exist_ok=True)
        # On the cache's own file system a rename is atomic: another process sees all or nothing.
        with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
            built = self.provide(Path(scratch))
            if built is not None and self.cached is not None:
                built.replace(cache / self.cached)


def cache_directory() -> Path:
    """Return the directory that keeps our builds, outside the tree."""
    own = os.environ.get("OLLAMA_OTEL_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ollama-otel"


def build_ollama(scratch: Path) -> Path:
    """Build the Ollama server with its CPU engine.

    The module zip leaves out the vendored C++ headers, so they come from elsewhere: two from
    Debian, miniaudio.h from a Go module that ships it.
    """
    apt_install("g++", "nlohmann-json3-dev", "libstb-dev")
    headers = scratch / "include"
    (headers / "miniaudio").mkdir(parents=True)
    (headers / "miniaudio" / "miniaudio.h").symlink_to(go_module_directory() / "miniaudio.h")
    go_install(
        f"github.com/ollama/ollama@v{OLLAMA_VERSION}",
        scratch,
        {"CGO_ENABLED": "1", "CGO_CXXFLAGS": f"-O2 -I{headers}"},
    )
    return scratch / "ollama"


def go_module_directory() -> Path:
    """Download the Go module that ships miniaudio.h and return its directory."""
    module = f"github.com/gen2brain/malgo@v{MALGO_VERSION}"
    answer = run(["go", "mod", "download", "-json", module], capture=True)
    return Path(json.loads(answer)["Dir"])


def build_collector(scratch: Path) -> Path:
    """Build an OpenTelemetry collector with the components that the tests configure."""
    go_install(f"go.opentelemetry.io/collector/cmd/builder@v{COLLECTOR_VERSION}", scratch)
    run([str(scratch / "builder"), f"--config={BUILDER_MANIFEST}"], cwd=scratch)
    return scratch / "collector" / "otelcol-live"


def install_chromium(_scratch: Path) -> None:
    """Install the browser, with a font for it to write in."""
    apt_install("chromium", "fonts-liberation")


OLLAMA = Counterpart(("ollama",), f"ollama-{OLLAMA_VERSION}", build_ollama)
COLLECTOR = Counterpart(("otelcol-contrib",), f"otelcol-live-{COLLECTOR_VERSION}", build_collector)
CHROMIUM = Counterpart(
    ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    None,
    install_chromium,
)
COUNTERPARTS = (CHROMIUM, COLLECTOR, OLLAMA)


def go_install(package: str, directory: Path, env: Mapping[str, str] | None = None) -> None:
    """Build a Go program into a directory."""
    if shutil.which("go") is None:
        raise CounterpartUnavailableError(f"{package} is built with Go: install it from go.dev")
    run(["go", "install", package], env={**(env or {}), "GOBIN": str(directory)})


def apt_install(*packages: str) -> None:
    """Install the Debian packages that are missing; only root can."""
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise CounterpartUnavailableError(
            f"missing Debian packages, and only root can install them: {' '.join(command)}"
        )
    run(["apt-get", "update"])
    run(command, env={"DEBIAN_FRONTEND": "noninteractive"})


def _installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    state = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package],  # noqa: S607 - found above
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    return state.stdout == "installed"


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    capture: bool = False,
) -> str:
    """Run a command to its end and return what it printed, if asked to capture that.

    Raises:
        CounterpartUnavailableError: it failed or took too long.
    """
    _log.info("$ %s", " ".join(command))
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE if capture else None,
            check=True,
            text=True,
            timeout=COMMAND_LIMIT,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CounterpartUnavailableError(str(error)) from error
    return done.stdout or ""


def prepare() -> int:
    """Get every counterpart ready; return the number of those that cannot be had."""
    return [_prepared(counterpart) for counterpart in COUNTERPARTS].count(False)


def _prepared(counterpart: Counterpart) -> bool:
    try:
        counterpart.prepare()
    except CounterpartUnavailableError as error:
        _log.error("%s cannot be had: %s", counterpart.on_path[0], error)
        return False
    return True


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Get the live tests' counterparts ready.")
    parser.add_argument("command", choices=["prepare"])
    parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return prepare()


if __name__ == "__main__":
    sys.exit(main())
