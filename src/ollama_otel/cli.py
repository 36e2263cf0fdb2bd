"""The command ``ollama-otel``.

Its subcommands are the rows of a table. Nothing that an extra brings is imported before a
subcommand runs, so that help and version work in the base install.
"""

import io
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from ollama_otel._version import __version__

_PROGRAM: Final = "ollama-otel"
_USAGE_ERROR: Final = 2
_INTERRUPTED: Final = 130

_DEMO: Final = """\
Run a small application that calls Ollama in several ways: a chat, a streamed
chat, thinking, a tool-calling loop, an embedding and a call that fails. Its
traces are stored in MLflow, read back and shown.

Ollama is looked for at OLLAMA_HOST, by default http://127.0.0.1:11434. Where
none answers, or it has no model, a stand-in answers that is built in. What is
asked and answered is stored too, unless
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says otherwise."""


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Args:
        name: what is typed.
        summary: what it does, in one line.
        description: what it does, in full.
        add_arguments: adds its options to its parser.
        run: takes them parsed, does it and returns the exit code.
        needs: the packages that must be installed.
        extras: the extras that bring them.
    """

    name: str
    summary: str
    description: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    needs: Sequence[str]
    extras: str

    def missing(self) -> Sequence[str]:
        """Return the packages that it needs and that are not installed."""
        return [package for package in self.needs if not _installed(package)]


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _add_demo_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the model to ask; by default the smallest of those that can do most: call tools, "
        "think",
    )
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="where MLflow keeps the traces; by default MLFLOW_TRACKING_URI, or else "
        "sqlite:///ollama-otel-demo.db in this folder",
    )
    parser.add_argument(
        "--stand-in",
        action="store_true",
        help="do not look for Ollama: the built-in stand-in answers",
    )


def _run_demo(arguments: Namespace) -> int:
    from ollama_otel._demo.run import run  # noqa: PLC0415  (imports what the extras bring)

    return run(arguments)


COMMANDS: Final = (
    Command(
        name="demo",
        summary="trace a small application into a local MLflow, and show the traces",
        description=_DEMO,
        add_arguments=_add_demo_arguments,
        run=_run_demo,
        # sqlalchemy: the light mlflow-tracing has the package mlflow too, and no store.
        needs=("rich", "ollama", "opentelemetry.sdk", "mlflow", "sqlalchemy"),
        extras="cli,mlflow,instruments",
    ),
)
"""The subcommands, in the order in which help lists them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; by default those of the process.

    Returns:
        The exit code: 0 for success, 1 for what went wrong, 2 for a wrong use or a missing extra.
    """
    _never_fail_to_print()
    parser = _parser()
    arguments = parser.parse_args(argv)
    command: Command | None = arguments.command
    if command is None:
        parser.print_help()
        return _USAGE_ERROR
    if missing := command.missing():
        sys.stderr.write(
            f"{_PROGRAM} {command.name} needs {', '.join(missing)}, not installed here: "
            f'pip install "{_PROGRAM}[{command.extras}]"\n'
        )
        return _USAGE_ERROR
    try:
        return command.run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write(f"{_PROGRAM} {command.name}: interrupted\n")
        return _INTERRUPTED


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog=_PROGRAM,
        description="OpenTelemetry for the Ollama Python SDK, and its traces in MLflow.",
        epilog=f"`{_PROGRAM} COMMAND --help` says more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            formatter_class=RawDescriptionHelpFormatter,
        )
        subparser.set_defaults(command=command)
        command.add_arguments(subparser)
    return parser


def _never_fail_to_print() -> None:
    """Print a question mark for a character that the terminal's encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
