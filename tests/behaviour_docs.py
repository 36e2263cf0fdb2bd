"""Write docs/behaviour.md from the rows that tests prove: ``python tests/behaviour_docs.py``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from behaviour import COLUMNS, Cell, rows

PAGE = Path(__file__).parent.parent / "docs" / "behaviour.md"

INTRO = """\
# Behaviour

What is told of a call, whatever becomes of it. The application sees what it would see without
ollama-otel: the same values and exceptions, its own span current all the time, no warning that the
SDK alone would not cause, and no connection left open that the SDK alone would close. The call's
span is a child of the span that was current at the call, and it has ended once the application
holds the whole answer, or the chunk that says done.

How to read a cell:

- `unset`: one span, whose status is unset: the call did not fail. `ERROR 404`: the status is
  ERROR, `error.type` is 404, and the description is the exception's message.
- `stop`, `load`, ...: the finish reason. `error` stands where the server's own was expected and
  never came.
- whole, what came, empty: how much of the answer is kept where content is captured. An empty answer
  is a message without parts. Where a cell says nothing of it, there is no output message.
- tokens: the counts that the server sends. Where a cell does not say it, there are none.

Embeddings have neither finish reason nor output message, and the server counts no tokens for
`embeddings`.

Made from the rows that `tests/test_behaviour.py` proves cell by cell, by util-genai and by
[the span alone](decisions/0001-spans-alone.md). Change `tests/behaviour.py`, and run
`python tests/behaviour_docs.py`.
"""


def page() -> str:
    """Return the page as it has to be."""
    return "\n".join(
        [
            INTRO,
            "## Calls that are not streamed\n",
            *_table(streamed=False),
            "\n## Streams\n",
            *_table(streamed=True),
            "",
        ]
    )


def _table(*, streamed: bool) -> Iterator[str]:
    names = (f"{operation.name}{' async' * is_async}" for operation, is_async in COLUMNS)
    yield _line(["outcome", *names])
    yield _line(["---"] * (1 + len(COLUMNS)))
    for outcome, cells in rows(streamed=streamed):
        texts = (str(cell.telling) if isinstance(cell, Cell) else cell for cell in cells)
        yield _line([f"**{outcome.name}**: {outcome.sentence}", *texts])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
