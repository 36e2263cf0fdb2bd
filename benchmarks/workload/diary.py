"""What is asked in the workload, and the diary of when it was asked.

A case is found again in the store by the time at which it ran: the diary says when each began and
ended, and what the application saw of it.
"""

import json
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

CHAT_MODEL: Final = "deepseek-r1"
EMBEDDING_MODEL: Final = "all-minilm"
MISSING_MODEL: Final = "not-pulled"

SYSTEM: Final = "Be brief."
QUESTION: Final = "Why is the sky blue?"
TIP: Final = "What is the tip for a $187.32 bill with a 22% tip?"
LOOP: Final = "loop"
"""At this question the model talks until it is stopped."""

OPTIONS: Final = {"temperature": 0, "seed": 7, "num_ctx": 2048}
"""The last one only Ollama knows: its OpenAI-compatible endpoint does not take it."""

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["answer", "n"],
}
TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "calculate_tip",
        "description": "Calculate the tip.",
        "parameters": {
            "type": "object",
            "properties": {
                "bill_amount": {"type": "number", "description": "The total bill"},
                "tip_percentage": {"type": "integer", "description": "A whole number"},
            },
            "required": ["bill_amount", "tip_percentage"],
        },
    },
}

SESSION: Final = "session-7"
USER: Final = "ada"
BREAK_AFTER: Final = 3
"""Chunks that the user waits for before breaking a stream off."""

_PAUSE: Final = 0.05  # seconds between two cases, so that no clock mixes them up


def calculate_tip(bill_amount: float, tip_percentage: int) -> str:
    """Return the tip, as the tool that the model calls."""
    return f"{bill_amount * tip_percentage / 100:.2f}"


def picture(side: int) -> bytes:
    """Return a PNG that does not compress: 3 bytes for each pixel.

    Args:
        side: its width and height in pixels.
    """
    state, row = 1, bytearray()
    rows = bytearray()
    for _ in range(side):
        row = bytearray(1)  # the filter type: none
        for _ in range(3 * side):
            state = (1103515245 * state + 12345) % (1 << 31)
            row.append(state >> 16 & 255)
        rows += row
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


ICON: Final = picture(40)  # 5 kB
PHOTO: Final = picture(340)  # 350 kB


def keep(cases: Mapping[str, Callable[[], object]]) -> None:
    """Run the cases one after another, and print the diary as one line of JSON.

    Args:
        cases: the cases by name; each returns what the application got, as JSON can tell it.
    """
    entries: dict[str, dict[str, object]] = {}
    for name, run in cases.items():
        began = time.time_ns()
        outcome = _outcome(run)
        entries[name] = {"began": began, "ended": time.time_ns()} | outcome
        time.sleep(_PAUSE)
    print(json.dumps(entries), flush=True)


def _outcome(run: Callable[[], object]) -> dict[str, object]:
    try:
        return {"got": run()}
    except Exception as error:  # noqa: BLE001  (the application's view is a finding)
        return {"raised": f"{type(error).__name__}: {error}"}
