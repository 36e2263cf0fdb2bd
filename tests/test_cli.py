"""The command line: its table of commands, help, and what it says when an extra is missing."""

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

import ollama_otel
from ollama_otel import __version__, cli
from ollama_otel._demo import run as demo_run

INSTALL_ALL = 'pip install "ollama-otel[cli,mlflow,instruments]"'


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argparse wraps at the same column everywhere."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main(["--version"])

    assert (exited.value.code, capsys.readouterr().out) == (0, f"ollama-otel {__version__}\n")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main(["--help"])

    printed = " ".join(capsys.readouterr().out.split())
    assert exited.value.code == 0
    for command in cli.COMMANDS:
        assert f" {command.name} {command.summary}" in printed


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_help_on_a_command_describes_it_whole_at_80_columns(
    command: cli.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main([command.name, "--help"])

    printed = capsys.readouterr().out
    assert exited.value.code == 0
    assert command.description in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_without_a_command_it_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main([])

    assert code == 2
    assert capsys.readouterr().out.startswith("usage: ollama-otel [-h] [--version] COMMAND ...\n")


def test_an_unknown_command_is_a_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main(["frobnicate"])

    assert exited.value.code == 2
    assert "invalid choice: 'frobnicate'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("absent", "named"),
    [
        (["rich"], "rich"),
        (["ollama"], "ollama"),
        (["mlflow"], "mlflow"),
        # mlflow-tracing alone brings the package mlflow, and nothing to store with.
        (["sqlalchemy"], "sqlalchemy"),
        (["rich", "mlflow"], "rich, mlflow"),
    ],
)
def test_a_missing_extra_gives_one_line_with_the_cure(
    absent: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for package in absent:
        monkeypatch.setitem(sys.modules, package, None)

    code = cli.main(["demo"])

    assert code == 2
    assert capsys.readouterr() == (
        "",
        f"ollama-otel demo needs {named}, not installed here: {INSTALL_ALL}\n",
    )


def test_the_bare_package_says_what_is_missing() -> None:
    """With nothing installed at all but this package: no traceback."""
    source = Path(ollama_otel.__file__).parents[1]

    ran = subprocess.run(
        [sys.executable, "-S", "-m", "ollama_otel.cli", "demo"],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )

    packages = "rich, ollama, opentelemetry.sdk, mlflow, sqlalchemy"
    complaint = f"ollama-otel demo needs {packages}, not installed here: {INSTALL_ALL}\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", complaint)


def test_an_interrupted_command_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_arguments: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_run, "run", interrupted)

    assert cli.main(["demo"]) == 130
    assert capsys.readouterr() == ("", "ollama-otel demo: interrupted\n")


def test_the_arguments_reach_the_command_and_its_exit_code_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, object]] = []

    def run(arguments: Namespace) -> int:
        seen.append(vars(arguments))
        return 1

    monkeypatch.setattr(demo_run, "run", run)
    code = cli.main(["demo", "--model", "tiny", "--tracking-uri", "sqlite:///a.db", "--stand-in"])

    (demo,) = cli.COMMANDS
    assert code == 1
    assert seen == [
        {"command": demo, "model": "tiny", "tracking_uri": "sqlite:///a.db", "stand_in": True}
    ]
