"""An application whose calls all fail, and which copes with that.

python failing.py OLLAMA_URL DEAD_URL MUTE_URL BREAKING_URL
"""

# ruff: noqa: T201 - a script, and it prints

import asyncio
import sys
from collections.abc import Callable

import ollama

WHY = {"role": "user", "content": "Why is the sky blue?"}
OLLAMA_URL, DEAD_URL, MUTE_URL, BREAKING_URL = sys.argv[1:]


def missing_model() -> None:
    ollama.Client(OLLAMA_URL).chat("nope", [WHY])


def missing_model_streamed() -> None:
    for chunk in ollama.Client(OLLAMA_URL).chat("nope", [WHY], stream=True):
        print(chunk)


def missing_model_asynchronously() -> None:
    asyncio.run(ollama.AsyncClient(OLLAMA_URL).chat("nope", [WHY]))


def server_down() -> None:
    ollama.Client(DEAD_URL).chat("scripted", [WHY])


def too_slow() -> None:
    ollama.Client(MUTE_URL, timeout=0.3).chat("scripted", [WHY])


def broken_off() -> None:
    for chunk in ollama.Client(BREAKING_URL).chat("scripted", [WHY], stream=True):
        print(chunk.message.content)


def show(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        kind = type(error)
        print(f"{call.__name__}: {kind.__module__}.{kind.__qualname__}: {error}")


show(missing_model)
show(missing_model_streamed)
show(missing_model_asynchronously)
show(server_down)
show(too_slow)
show(broken_off)
