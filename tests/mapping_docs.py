"""Write docs/mapping.md from the tables that translate: ``python tests/mapping_docs.py``."""
# ruff: noqa: E501  (a row of a table is one line)

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow_export.golden import GOLDEN
from ollama_otel.mlflow.translation import KINDS, RULES, translate_attributes

PAGE = Path(__file__).parent.parent / "docs" / "mapping.md"

INTRO = """\
# From GenAI spans to MLflow

What `MlflowSpanExporter` and `MlflowOtlpSpanExporter` add to a span that follows OpenTelemetry's
GenAI conventions, whichever library made it. Everything that was there stays: the `gen_ai.*`
attributes beside the new ones, and an `mlflow.*` attribute that somebody set before. Spans of other
kinds (HTTP, databases, your own) pass as they are and keep their place in the tree; the first one
of a trace is told what was asked and answered below it, if it says nothing itself.

Made from the tables in `src/ollama_otel/mlflow`. Change those, and run
`python tests/mapping_docs.py`.

## Attributes
"""

BESIDE = """
## Beside the attributes

| of the span | in MLflow |
| --- | --- |
| status unset | OK |
| status ERROR, or `error.type` | ERROR, and an event `exception` with type and message where the instrumentation made none: MLflow shows a failure from it |
| name of an `execute_tool` span | the tool's name: MLflow's judges take it for that |
| parent in another process | none (`MlflowSpanExporter`, unless `remote_parents=True`): MLflow shows a trace as in progress for ever when its first span never comes |
| first span that is never exported | a span `[not exported]` beside it, at the shutdown, or with the first export after the trace was quiet for 15 minutes (`MlflowSpanExporter`) |

## The trace

| in MLflow | from |
| --- | --- |
| name | `mlflow.traceTag.mlflow.traceName` of its first span, else that span's name |
| request and response | the text of the last user message and of the answer of the first span; of an answer without a text, its tool calls, its reasoning or why it ended. Where the first span is the application's own and says nothing, the first question and the last answer below it |
| session, user | `session.id` or `gen_ai.conversation.id`, `user.id` of any span |
| tags | the resource's attributes, `tags=` of the exporter, `mlflow.traceTag.*` of the first span |
| run | the one that was active at a call, else `MLFLOW_RUN_ID`; `run_id=` goes before both (`MlflowSpanExporter`) |
| tokens, cost, state | MLflow's own sums over the spans; the status of the first span |

## What MLflow would refuse

One bad span costs a whole batch there. So these are mended before they leave, with a warning:
session and conversation ids longer than 250 characters and trace names longer than 4096 are cut;
a token usage or a cost that is no object of numbers, and a span type or kind that is no word, are
left out.
Texts that are no Unicode are replaced.
"""


def page() -> str:
    """Return the page as it has to be."""
    return "\n".join(
        [
            INTRO,
            *_attributes(),
            "\n## Operations\n",
            *_operations(),
            BESIDE,
            "## Examples\n",
            "Every pair is a test: what comes in, and what is added.",
            *_examples(),
            "",
        ]
    )


def _attributes() -> Iterator[str]:
    yield from _header("attribute", "what it says", "made from", "read by MLflow in")
    for rule in RULES:
        reads = ", ".join(f"`{name}`" for name in rule.reads)
        yield _row(f"`{rule.writes}`", rule.meaning, reads, _link(rule.source))


def _operations() -> Iterator[str]:
    yield from _header("`gen_ai.operation.name`", "span type", "inputs and outputs", "defined in")
    for name, kind in KINDS.items():
        shape = "a conversation" if kind.conversation else "what it was given and gave"
        yield _row(f"`{name}`", kind.span_type, shape, _link(kind.source))


def _examples() -> Iterator[str]:
    for name, (attributes, _) in GOLDEN.items():
        added = {
            key: value
            for key, value in translate_attributes(attributes).items()
            if attributes.get(key) != value
        }
        yield f"\n<details><summary>{name}</summary>\n"
        yield from _json(attributes)
        yield "becomes\n"
        yield from _json(added)
        yield "</details>"


def _json(attributes: dict[str, Any]) -> Iterator[str]:
    yield "```json"
    yield json.dumps({key: _read(value) for key, value in attributes.items()}, indent=2)
    yield "```\n"


def _read(value: Any) -> Any:
    """Return JSON texts as what they say, for people."""
    if not isinstance(value, str) or value[:1] not in ("{", "[", '"'):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _header(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield _row(*(["---"] * len(names)))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _link(source: str) -> str:
    return f"[{source.partition('#')[0].rpartition('/')[2]}]({source})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
