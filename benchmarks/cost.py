"""What a call of the Ollama SDK costs more when it is instrumented, beside other instrumentations.

    python benchmarks/cost.py [--rounds 30] [--rows chat import] [--peers openllmetry]

Each instrumentation gets an environment of its own, with the same releases of the packages they
share. A row is timed in rounds; in each round every instrumentation has its turn, and times the
baseline and the instrumented calls one after the other, so that what else the machine does hits
all alike. The cost is the lowest instrumented time less the lowest baseline, in the middle one of
several processes. README.md says what the rows mean.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import IO, Any, Final

from environments import OPENINFERENCE, OPENLLMETRY, TRACEAI, environment, ours

LIMIT: Final = 1.5
"""A row is marked when it costs more than this many times the best peer."""

ROUNDS_PER_PROCESS: Final = 5
"""Where the linker and the allocator put things is worth some microseconds: a process keeps its
luck for life, so that several have to be asked."""

HERE: Final = Path(__file__).resolve().parent
WORKER: Final = str(HERE / "worker.py")
IMPORT_TIME: Final = str(HERE / "import_time.py")


@dataclass(frozen=True)
class Instrumentation:
    """What to install, and the module that has an ``OllamaInstrumentor``."""

    requirement: tuple[str, ...]
    module: str


OURS: Final = "ollama-otel"
PEERS: Final = {
    "openllmetry": Instrumentation((OPENLLMETRY,), "opentelemetry.instrumentation.ollama"),
    "openinference": Instrumentation((OPENINFERENCE,), "openinference.instrumentation.ollama"),
    "traceai": Instrumentation((TRACEAI,), "traceai_ollama"),
}
INSTRUMENTATIONS: Final = {
    OURS: Instrumentation(ours(), "ollama_otel"),
    **PEERS,
}
LOADED: Final = {
    "by hand": ("ollama", "opentelemetry.sdk.trace"),
    "zero-code": (
        "ollama",
        "opentelemetry.sdk.trace",
        "opentelemetry.instrumentation.auto_instrumentation._load",
    ),
}
"""What a program has imported before it loads the instrumentation, by way of doing so."""


@dataclass(frozen=True)
class Timing:
    """What a worker times in one go.

    Attributes:
        mode: the worker's mode; for an import, a key of ``LOADED``.
        case: the worker's case; an import where there is none.
        calls: how many calls one figure averages over.
    """

    mode: str
    case: str | None = None
    calls: int = 1


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        label: what it says.
        timing: what is timed.
        less: what is taken off, so that only the difference counts.
        units: how many of what the row is about are in the difference.
        unit: of the figures.
        scale: how many units a second has.
    """

    label: str
    timing: Timing
    less: Timing | None = None
    units: int = 1
    unit: str = "us"
    scale: float = 1e6

    def timings(self) -> list[Timing]:
        """Return what is timed for this row."""
        return [self.timing] + ([self.less] if self.less else [])


def _per_chunk(label: str, mode: str, case: str) -> Row:
    whole, ends = Timing(mode, case), Timing(mode, f"{case}, few chunks", calls=5)
    return Row(label, whole, less=ends, units=1000)


def _import(label: str, setup: str) -> Row:
    return Row(label, Timing(setup), unit="ms", scale=1e3)


USUAL: Final = {
    "chat": Row("chat", Timing("recording", "chat", calls=5)),
    "history": Row("chat, history of 40 x 1 kB", Timing("recording", "history", calls=3)),
    "sampled-out": Row("chat, sampled out", Timing("sampled out", "chat", calls=5)),
    "no-sdk": Row("chat, no SDK (API only)", Timing("no SDK", "chat", calls=5)),
    "stream": _per_chunk("per chunk, sync stream", "recording", "stream"),
    "async-stream": _per_chunk("per chunk, async stream", "recording", "async stream"),
    "import": _import("import and instrument()", "by hand"),
}
ON_REQUEST: Final = {
    "metrics": Row("chat, metrics too", Timing("with metrics", "chat", calls=5)),
    "stream-metrics": _per_chunk("per chunk, metrics too", "with metrics", "stream"),
    "import-zero-code": _import("import, zero-code start", "zero-code"),
}
ROWS: Final = {**USUAL, **ON_REQUEST}


@dataclass
class Samples:
    """What the rounds measured for one timing of one instrumentation, in seconds."""

    baseline: list[float] = field(default_factory=list)
    instrumented: list[float] = field(default_factory=list)
    error: str | None = None

    def add(self, answer: dict[str, Any]) -> None:
        """Take the worker's answer of one round."""
        if "error" in answer:
            self.error = answer["error"]
            return
        self.baseline.append(answer["baseline"])
        self.instrumented.append(answer["instrumented"])

    def lowest(self) -> float:
        """Return the lowest time with less the lowest without: of one process, the middle one."""
        return median(
            min(self.instrumented[first : first + ROUNDS_PER_PROCESS])
            - min(self.baseline[first : first + ROUNDS_PER_PROCESS])
            for first in range(0, len(self.baseline), ROUNDS_PER_PROCESS)
        )

    def median(self) -> float:
        """Return the median of what the rounds say, each by itself."""
        return median(
            after - before for before, after in zip(self.baseline, self.instrumented, strict=True)
        )


# Measuring ----------------------------------------------------------------------------------


def _interpreter(name: str) -> str:
    return str(environment(name, INSTRUMENTATIONS[name].requirement, purpose="bench"))


def _variables() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "OLLAMA_", "PYTHON", "TRACELOOP_", "OPENINFERENCE_"))
    }
    return kept | {
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "ignore",
    }


class Worker:
    """The process that times the calls of one instrumentation in one mode.

    Args:
        name: a key of ``INSTRUMENTATIONS``.
        mode: the worker's mode.
    """

    def __init__(self, name: str, mode: str) -> None:
        command = [_interpreter(name), WORKER, mode, INSTRUMENTATIONS[name].module]
        self._process = subprocess.Popen(  # noqa: S603  (our own command)
            command, env=_variables(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._name = name
        self.versions = self._read()

    def ask(self, case: str, calls: int) -> dict[str, Any]:
        """Return what the worker measured."""
        stdin = _pipe(self._process.stdin)
        stdin.write(json.dumps({"case": case, "calls": calls}) + "\n")
        stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"the worker of {self._name} ended; its last words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        _pipe(self._process.stdin).close()
        self._process.wait()


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the worker was started without pipes")
    return stream


def time_import(name: str, setup: str) -> dict[str, Any]:
    """Return what an import in a fresh process takes; the baseline is none.

    Args:
        name: a key of ``INSTRUMENTATIONS``.
        setup: a key of ``LOADED``.
    """
    command = [_interpreter(name), IMPORT_TIME, INSTRUMENTATIONS[name].module, *LOADED[setup]]
    done = subprocess.run(  # noqa: S603  (our own command)
        command, env=_variables(), text=True, stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        return {"error": f"the import ended with status {done.returncode}; see above"}
    return {"baseline": 0.0, "instrumented": float(done.stdout)}


class Measurement:
    """Rows timed for some instrumentations, round after round.

    Args:
        names: keys of ``INSTRUMENTATIONS``.
        rows: keys of ``ROWS``.
    """

    def __init__(self, names: Sequence[str], rows: Sequence[str]) -> None:
        timings = dict.fromkeys(timing for row in rows for timing in ROWS[row].timings())
        self.samples = {pair: Samples() for pair in product(timings, names)}
        self._modes = list(dict.fromkeys(timing.mode for timing in timings if timing.case))
        self._names = names
        self._workers: dict[tuple[str, str], Worker] = {}

    def versions(self) -> dict[str, dict[str, str]]:
        """Return the releases of the packages that all share, by instrumentation."""
        return {name: worker.versions for (name, _), worker in self._workers.items()}

    def run(self, rounds: int) -> None:
        """Time everything, several times over."""
        for number in range(rounds):
            if number % ROUNDS_PER_PROCESS == 0:
                self.close()
                self._workers = {pair: Worker(*pair) for pair in product(self._names, self._modes)}
            print(f"\rround {number + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
            for (timing, name), samples in self.samples.items():
                if not samples.error:
                    samples.add(self._once(name, timing))
        print(file=sys.stderr)

    def _once(self, name: str, timing: Timing) -> dict[str, Any]:
        if timing.case is None:
            return time_import(name, timing.mode)
        return self._workers[name, timing.mode].ask(timing.case, timing.calls)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.close()


# Telling ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a row costs with one instrumentation, in the row's unit; or why that is unknown."""

    lowest: float = 0.0
    median: float = 0.0
    error: str | None = None


def cost(samples: dict[tuple[Timing, str], Samples], row: Row, name: str) -> Cost:
    """Return what a row costs with one instrumentation.

    Args:
        samples: what was measured.
        row: the row.
        name: the instrumentation's.
    """
    parts = [samples[timing, name] for timing in row.timings()]
    if error := next((part.error for part in parts if part.error), None):
        return Cost(error=error)
    scale = row.scale / row.units
    lowest, middle = [part.lowest() for part in parts], [part.median() for part in parts]
    return Cost(
        lowest=(lowest[0] - sum(lowest[1:])) * scale, median=(middle[0] - sum(middle[1:])) * scale
    )


def ratio(costs: dict[str, Cost]) -> float | None:
    """Return what ours costs over the cheapest peer that can do it; ``None`` if there is none.

    Args:
        costs: of one row, by instrumentation.
    """
    peers = [it.lowest for name, it in costs.items() if name != OURS and it.error is None]
    best = min(peers, default=0.0)
    return costs[OURS].lowest / best if costs[OURS].error is None and best > 0 else None


def table(costs: dict[str, dict[str, Cost]]) -> list[list[str]]:
    """Return the table's cells, header first.

    Args:
        costs: by row, then by instrumentation.
    """
    names = list(next(iter(costs.values())))
    header = ["cost over the bare call: lowest (median)", "", *names, f"{OURS} / best peer"]
    return [header] + [
        [ROWS[row].label, ROWS[row].unit, *map(_cell, of.values()), _verdict(ratio(of))]
        for row, of in costs.items()
    ]


def _cell(value: Cost) -> str:
    return "fails" if value.error else f"{_figure(value.lowest)} ({_figure(value.median)})"


def _figure(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"  # noqa: PLR2004  (three digits)


def _verdict(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" + (f"  ABOVE {LIMIT}" if value > LIMIT else "")


def lay_out(lines: Iterable[Sequence[str]]) -> str:
    """Return cells as text in columns, the first two flush left.

    Args:
        lines: rows of equal length.
    """
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column > 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def report(measurement: Measurement, costs: dict[str, dict[str, Cost]]) -> dict[str, Any]:
    """Return everything measured, for a file.

    Args:
        measurement: when it has run.
        costs: what it comes to.
    """
    return {
        "python": sys.version,
        "machine": platform.platform(),
        "releases": measurement.versions(),
        "costs": {
            row: {"unit": ROWS[row].unit, "ratio": ratio(of)}
            | {name: asdict(value) for name, value in of.items()}
            for row, of in costs.items()
        },
        "seconds": [
            asdict(timing) | {"instrumentation": name} | asdict(samples)
            for (timing, name), samples in measurement.samples.items()
        ],
    }


def tell(measurement: Measurement, costs: dict[str, dict[str, Cost]]) -> None:
    """Print the table, and what one has to know to read it.

    Args:
        measurement: when it has run.
        costs: what it comes to.
    """
    print(lay_out(table(costs)))
    for row, of in costs.items():
        for name, value in of.items():
            if value.error:
                print(f"{name} fails at {row}: {value.error}")
    for name, versions in measurement.versions().items():
        print(f"{name} ran with {', '.join(f'{it} {at}' for it, at in versions.items())}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"there must be one round at least, not {number}")
    return number


def main() -> int:
    """Measure what the command line asks for, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    rows = f"default: {' '.join(USUAL)}; there are also {' '.join(ON_REQUEST)}"
    peers = f"default: {' '.join(PEERS)}"
    add("--rounds", type=_positive, default=30, metavar="N", help="default: %(default)s")
    add("--peers", nargs="*", choices=PEERS, metavar="PEER", default=list(PEERS), help=peers)
    add("--rows", nargs="+", choices=ROWS, metavar="ROW", default=list(USUAL), help=rows)
    add("--json", type=Path, metavar="FILE", help="write every sample there")
    options = parser.parse_args()
    names = [OURS, *options.peers]
    measurement = Measurement(names, options.rows)
    try:
        measurement.run(options.rounds)
    finally:
        measurement.close()
    costs = {
        row: {name: cost(measurement.samples, ROWS[row], name) for name in names}
        for row in options.rows
    }
    tell(measurement, costs)
    if options.json:
        options.json.write_text(json.dumps(report(measurement, costs), indent=1))
    return 1 if any(of[OURS].error for of in costs.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
