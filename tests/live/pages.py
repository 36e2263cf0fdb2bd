"""MLflow's pages, as a person opens and reads them."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from .servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlflow.entities import Trace
    from playwright.sync_api import FloatRect, Locator, Page

T = TypeVar("T")
PATIENCE = 10.0  # seconds

# What the pages show once to newcomers lies over everything else.
SEEN_BEFORE = """
for (const key of ["detectIssues.guidanceShown", "assistant.fab.autoOpenedOnFirstLoad"])
    localStorage.setItem(`mlflow.${key}_v1`, "true");
"""

_COLOUR = "element => getComputedStyle(element).color"


def open_list(page: Page, mlflow_uri: str, experiment_id: str, count: int) -> Locator:
    """Open an experiment's list of traces and return its rows, the columns' names first.

    Args:
        page: the browser's page.
        mlflow_uri: where the server is.
        experiment_id: the experiment.
        count: how many traces there are.
    """
    from playwright.sync_api import expect  # noqa: PLC0415 - only in group live

    page.add_init_script(SEEN_BEFORE)
    page.set_viewport_size({"width": 1600, "height": 900})
    page.goto(f"{mlflow_uri}/#/experiments/{experiment_id}/traces")
    rows = page.get_by_role("row")
    expect(rows).to_have_count(1 + count)
    return rows


def open_trace(page: Page, mlflow_uri: str, trace: Trace) -> Locator:
    """Open a trace on the whole screen and return its dialog."""
    page.add_init_script(SEEN_BEFORE)
    page.set_viewport_size({"width": 1280, "height": 800})
    experiment = f"{mlflow_uri}/#/experiments/{trace.info.experiment_id}/traces"
    page.goto(experiment)  # whatever was open before is closed
    page.goto(f"{experiment}?selectedEvaluationId={trace.info.trace_id}")
    page.get_by_role("button", name="Full screen", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("tabpanel").wait_for()
    return dialog


def expect_text(shown: Locator, *lines: str) -> None:
    """Wait until a part of the page reads so, and not otherwise."""
    from playwright.sync_api import expect  # noqa: PLC0415 - only in group live

    expect(shown).to_have_text(" ".join(lines), use_inner_text=True)


def expect_to_read(shown: Locator, *passages: str) -> None:
    """Wait until a part of the page contains all of the passages."""
    from playwright.sync_api import expect  # noqa: PLC0415 - only in group live

    for passage in passages:
        expect(shown).to_contain_text(passage, use_inner_text=True)


def expect_value(read: Callable[[], T], expected: T) -> None:
    """Wait until what is read off the page is as expected: a page is drawn bit by bit."""
    with suppress(TimeoutError):
        wait_until(lambda: read() == expected, "what the page shows", PATIENCE)
    shown = read()
    assert shown == expected, f"the page shows {shown}, not {expected}"


def cells(rows: Locator, trace: Trace, *columns: str) -> tuple[str, ...]:
    """Return what the row of a trace tells in some columns.

    Args:
        rows: the rows of the list, the columns' names first.
        trace: the trace.
        columns: the names of the columns.
    """
    names = rows.first.get_by_role("columnheader").all_inner_texts()
    row = rows.and_(rows.page.get_by_role("row", name=trace.info.trace_id))
    row.wait_for()
    told = dict(zip(names, row.get_by_role("cell").all_inner_texts(), strict=False))
    return tuple(" ".join(told.get(column, "").split()) for column in columns)


def tree(dialog: Locator, names: Sequence[str]) -> list[tuple[int, str]]:
    """Return the spans from top to bottom, each with how far it is indented: 0, 1, ...

    Args:
        dialog: the dialog of a trace.
        names: the names that its spans have.
    """
    edge = _box(dialog.get_by_role("tablist"))["x"]  # what lies right of it is about one span
    pattern = re.compile(f"^({'|'.join(map(re.escape, names))})$")
    named = dialog.get_by_text(pattern)
    named.first.wait_for()
    found = [(_box(each), each.inner_text()) for each in named.all()]
    spans = sorted((box["y"], box["x"], name) for box, name in found if box["x"] < edge)
    columns = sorted({x for _, x, _ in spans})
    return [(columns.index(x), name) for _, x, name in spans]


def _box(shown: Locator) -> FloatRect:
    box = shown.bounding_box()
    assert box is not None, "it cannot be seen"
    return box


def is_red(shown: Locator) -> bool:
    """Tell whether a text is red: much more so than green or blue."""
    red, green, blue = map(int, re.findall(r"\d+", shown.evaluate(_COLOUR))[:3])
    return red > 2 * max(green, blue)
