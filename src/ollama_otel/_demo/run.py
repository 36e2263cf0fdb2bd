"""``ollama-otel demo``: run a small application, store its traces in MLflow, show them."""

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ollama import ResponseError
from opentelemetry.util.genai.handler import TelemetryHandler
from rich.console import Console
from rich.text import Text

from ollama_otel._demo.app import STEPS, Application, Step
from ollama_otel._demo.server import UnknownModelError, serving
from ollama_otel._demo.store import (
    EXPERIMENT,
    RunLabels,
    Store,
    StoreError,
    tracking_uri_from,
    without_credentials,
)
from ollama_otel._trace_tree import ASCII_GLYPHS, GLYPHS, TraceTree, duration, lines, trace_tree

if TYPE_CHECKING:
    from argparse import Namespace

    from ollama_otel._demo.server import Server

_SCOPE: Final = "ollama_otel.demo"
_ENVIRONMENT: Final = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    # MLflow's client would try for minutes to reach a server that is not there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # And it would report its use to the internet.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_TITLE_WIDTH: Final = max(len(step.title) for step in STEPS)


def run(arguments: "Namespace") -> int:
    """Run the demo.

    Args:
        arguments: model, stand_in and tracking_uri, as the command line gives them.

    Returns:
        The exit code: 0 when all went as it should; 1 when a call failed that should not, or the
        traces could not be stored and read back; 2 when there is no such model.
    """
    screen = _Screen()
    uri = tracking_uri_from(arguments.tracking_uri)
    try:
        with _environment(_ENVIRONMENT), _quiet(), ExitStack() as stack:
            with screen.busy("Looking for Ollama", announce=False):
                found = serving(arguments.model, stand_in=arguments.stand_in)
                server = stack.enter_context(found)
            screen.say(server.introduction)
            place = without_credentials(uri)
            screen.say(f"Traces go to {place}, experiment {EXPERIMENT!r}.", wrap=False)
            return _demonstrate(screen, server, uri)
    except UnknownModelError as error:
        return screen.complain(error, 2)
    except StoreError as error:
        return screen.complain(error, 1)


def _demonstrate(screen: "_Screen", server: "Server", tracking_uri: str) -> int:
    with screen.busy("Preparing the store"):
        store = Store(tracking_uri)
    labels = RunLabels.now()
    with store.tracing(labels) as provider:
        tracer = provider.get_tracer(_SCOPE)
        handler = TelemetryHandler(tracer_provider=provider, instrumentation_scope_name=_SCOPE)
        application = Application(server.client, server.model, tracer, handler)
        failed = [s.title for s in STEPS if not _run_step(screen, s, application, labels)]
        with screen.busy("Storing the traces"):
            provider.force_flush()
    with screen.busy("Reading the traces back"):
        trees = [trace_tree(trace) for trace in store.read(labels)]
    screen.show(trees)
    screen.point_to(*store.ui())
    if failed:
        return screen.complain(f"these did not go as they should: {', '.join(failed)}", 1)
    return 0


# The calls ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Outcome:
    """What came of a call.

    Args:
        said: the answer, or the error's message.
        failed: whether it is an error.
        expected: whether it is what the demo is about.
    """

    said: str
    failed: bool = False
    expected: bool = True


def _run_step(screen: "_Screen", step: Step, application: Application, labels: RunLabels) -> bool:
    """Run one step, and tell whether it went as it should."""
    labels.title = step.title
    started = time.perf_counter_ns()
    with screen.busy(step.title, announce=False):
        outcome = _outcome(step, application)
    screen.report(step.title, time.perf_counter_ns() - started, outcome)
    return outcome.expected


def _outcome(step: Step, application: Application) -> _Outcome:
    try:
        return _Outcome(step.run(application), expected=step.fails_with is None)
    except ResponseError as error:
        if step.fails_with == error.status_code:
            return _Outcome(f"as it should: {error.error}", failed=True)
        if "does not support" in error.error:
            return _Outcome(f"not with this model: {error.error}", failed=True)
        return _Outcome(error.error, failed=True, expected=False)
    except Exception as error:  # noqa: BLE001  (shown, and the next call gets its turn)
        return _Outcome(f"{type(error).__name__}: {error}", failed=True, expected=False)


# The screen ---------------------------------------------------------------------------------


class _Screen:
    """What is printed: on a terminal with colours and what goes on, else plain lines."""

    def __init__(self) -> None:
        self._out = Console(highlight=False)
        self._errors = Console(highlight=False, stderr=True)
        self._glyphs = ASCII_GLYPHS if self._out.options.ascii_only else GLYPHS

    def busy(self, what: str, *, announce: bool = True) -> AbstractContextManager[object]:
        """Show what goes on for as long as it does.

        Args:
            what: a phrase.
            announce: print it as a line where there is no terminal.
        """
        if self._out.is_terminal:
            spinner = "line" if self._out.options.ascii_only else "dots"
            return self._out.status(Text(f"{what} ..."), spinner=spinner)
        if announce:
            self.say(f"{what} ...")
        return nullcontext()

    def say(self, sentence: str, *, wrap: bool = True) -> None:
        """Print a sentence.

        Args:
            sentence: plain text.
            wrap: break it between words; what is to be copied stays whole.
        """
        self._out.print(Text(sentence), soft_wrap=not wrap)

    def report(self, title: str, nanoseconds: int, outcome: _Outcome) -> None:
        """Print what came of a step, in one line."""
        mark, colour = (self._glyphs.bad, "red") if outcome.failed else (self._glyphs.good, "green")
        line = Text.assemble(
            (f"  {mark} ", colour),
            f"{title:<{_TITLE_WIDTH}}  {duration(nanoseconds):>8}  ",
            (" ".join(outcome.said.split()), colour if outcome.failed else "dim"),
        )
        line.truncate(self._out.width, overflow="ellipsis")
        self._line(line)

    def show(self, trees: Sequence[TraceTree]) -> None:
        """Print the traces, and what they add up to."""
        self._out.print()
        for line in lines(trees, self._out.width, self._glyphs):
            self._line(line)
        self._out.print()
        self.say(_total(trees))

    def point_to(self, command: str | None, url: str) -> None:
        """Print how to open the UI."""
        self._out.print()
        if command is not None:
            self.say("To see them in MLflow, run")
            self._line(Text(f"  {command}", "bold"))
        self.say("To see them in MLflow, open" if command is None else "and open")
        self._line(Text(f"  {url}", "bold"))

    def complain(self, problem: object, exit_code: int) -> int:
        """Print what went wrong, and return the exit code."""
        message = Text.assemble(("ollama-otel demo: ", "red"), str(problem))
        self._errors.print(message, soft_wrap=True)
        return exit_code

    def _line(self, line: Text) -> None:
        """Print a line as it is: whole, so that it can be copied."""
        self._out.print(line, soft_wrap=True)


def _total(trees: Sequence[TraceTree]) -> str:
    spans = [span for tree in trees for span in tree.walk()]
    read = sum(span.input_tokens or 0 for span in spans)
    made = sum(span.output_tokens or 0 for span in spans)
    errors = sum(span.error is not None for span in spans)
    return (
        f"{len(trees)} traces, {len(spans)} spans, {read} tokens in, {made} out, "
        f"{errors} error{'' if errors == 1 else 's'}"
    )


# The surroundings ---------------------------------------------------------------------------


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set the environment variables that are not set."""
    missing = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off the screen what MLflow says while it sets up a database; warnings pass."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
