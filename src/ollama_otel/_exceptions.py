"""The exception of a failed call as events: one on its span, one among the logs.

https://github.com/open-telemetry/semantic-conventions-genai (gen_ai.client.operation.exception)
"""

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.semconv.attributes import exception_attributes as exception
from opentelemetry.trace import set_span_in_context

from ollama_otel._extract import exception_message, exception_type
from ollama_otel._text import utf8

if TYPE_CHECKING:
    from opentelemetry._logs import Logger
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

_HERE: Final = str(Path(__file__).parent)

SPAN_EVENT: Final = "exception"
LOG_EVENT: Final = "gen_ai.client.operation.exception"


def record_exception(  # noqa: PLR0913  (two receivers, and what each may be told)
    error: BaseException,
    span: "Span",
    logger: "Logger | None",
    context: "Context",
    *,
    handled: BaseException | None,
    quote: bool,
) -> None:
    """Record why a call failed.

    ``Span.record_exception`` is not used: the SDK's adds ``exception.escaped``, which the
    conventions have given up.

    Args:
        error: what the application is about to see.
        span: the call's span, still open.
        logger: where the log event goes; ``None`` where nobody receives logs.
        context: the call's parent.
        handled: the exception that was being handled when the call was made: it is none of the
            call's, and stays out.
        quote: whether content may be quoted.
    """
    if logger is None and not span.is_recording():
        return
    message = exception_message(error, quote=quote)
    told = {
        exception.EXCEPTION_TYPE: exception_type(error),
        exception.EXCEPTION_MESSAGE: message,
        exception.EXCEPTION_STACKTRACE: _stack(error, message, handled),
    }
    span.add_event(SPAN_EVENT, told)
    if logger is not None:
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                context=set_span_in_context(span, context),
                severity_number=SeverityNumber.WARN,
                severity_text="WARN",
                attributes=told,
                event_name=LOG_EVENT,
            )
        )


def _stack(error: BaseException, message: str, handled: BaseException | None) -> str:
    story = traceback.TracebackException.from_exception(error)
    # Our own frames are nobody's business, unless there are no others: thrown into a stream.
    others = [frame for frame in story.stack if not frame.filename.startswith(_HERE)]
    if others:
        story.stack = traceback.StackSummary.from_list(others)
    if handled is not None:
        _cut(story, error, handled)
    text = utf8("".join(story.format()))
    said = exception_message(error)
    return text if said == message else text.replace(said, message)


def _cut(story: traceback.TracebackException, error: BaseException, handled: BaseException) -> None:
    """End a story before the exception that has nothing to do with it."""
    told: traceback.TracebackException | None = story
    part: BaseException | None = error
    while told is not None and part is not None:
        if part.__context__ is handled:
            told.__context__ = None
            return
        if part.__cause__ is not None:
            told, part = told.__cause__, part.__cause__
        else:
            told, part = told.__context__, part.__context__
