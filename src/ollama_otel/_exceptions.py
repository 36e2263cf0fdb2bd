"""The exception of a failed call as events: one on its span, one among the logs.

https://github.com/open-telemetry/semantic-conventions-genai (gen_ai.client.operation.exception)
"""

import time
import traceback
from typing import TYPE_CHECKING, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.semconv.attributes import exception_attributes as exception
from opentelemetry.trace import set_span_in_context

from ollama_otel._extract import exception_message, exception_type
from ollama_otel._text import utf8

if TYPE_CHECKING:
    from opentelemetry._logs import Logger
    from opentelemetry.trace import Span

SPAN_EVENT: Final = "exception"
LOG_EVENT: Final = "gen_ai.client.operation.exception"


def record_exception(error: BaseException, span: "Span", logger: "Logger | None") -> None:
    """Record why a call failed.

    ``Span.record_exception`` is not used: the SDK's adds ``exception.escaped``, which the
    conventions have given up.

    Args:
        error: what the application is about to see.
        span: the call's span, still open.
        logger: where the log event goes; ``None`` where nobody receives logs.
    """
    if logger is None and not span.is_recording():
        return
    told = {
        exception.EXCEPTION_TYPE: exception_type(error),
        exception.EXCEPTION_MESSAGE: exception_message(error),
        exception.EXCEPTION_STACKTRACE: utf8("".join(traceback.format_exception(error))),
    }
    span.add_event(SPAN_EVENT, told)
    if logger is not None:
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                context=set_span_in_context(span),
                severity_number=SeverityNumber.WARN,
                severity_text="WARN",
                attributes=told,
                event_name=LOG_EVENT,
            )
        )
