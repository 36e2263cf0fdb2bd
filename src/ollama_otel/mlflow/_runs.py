"""MLflow's runs: which one a trace belongs to."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

RUN: Final = "mlflow.sourceRun"
"""On a span: the run that was active when its call was made. MLflow's own name for it."""

MOST_TRACES: Final = 100
"""Traces that MLflow links at once. Source: mlflow/store/tracking/abstract_store.py"""


def active_run_id() -> str | None:
    """Return the run that is active in this thread, else the latest in any thread.

    As MLflow's own tracing does. There is none where MLflow was never imported; and MLflow has no
    public way to ask for the runs of other threads.
    """
    fluent = sys.modules.get("mlflow.tracking.fluent")
    if fluent is None:
        return None
    run = fluent.active_run() or fluent._get_latest_active_run()  # noqa: SLF001  (see above)
    return run.info.run_id if run is not None else None


def traces_of_runs(
    spans: Iterable["ReadableSpan"], *, always: str | None = None, default: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield runs, and the ids of traces that belong to them, as many as MLflow links at once.

    Args:
        spans: exported spans.
        always: the run of every trace, whatever its spans name.
        default: the run of a trace of which no span in this batch names one.
    """
    runs: dict[str, set[str]] = {}
    named: dict[int, str] = {}
    for span in spans:
        if span.context is None:
            continue
        trace_id = span.context.trace_id
        noted = (span.attributes or {}).get(RUN)
        if always is None and isinstance(noted, str):
            named[trace_id] = noted
        elif span.parent is None and (run := always or default):
            named.setdefault(trace_id, run)
    for trace_id, run in named.items():
        runs.setdefault(run, set()).add(f"tr-{trace_id:032x}")
    for run, traces in runs.items():
        rest = iter(sorted(traces))
        while some := list(islice(rest, MOST_TRACES)):
            yield run, some
