"""The severity of util-genai's events: 1.3b0 sets none, where the conventions say DEBUG."""

from typing import TYPE_CHECKING, Any, cast

import wrapt
from opentelemetry._logs import SeverityNumber

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider, LogRecord


def with_severity(provider: "LoggerProvider") -> "LoggerProvider":
    """Return a logger provider through which an event without a severity gets DEBUG.

    https://github.com/open-telemetry/semantic-conventions-genai
    (gen_ai.client.inference.operation.details)

    Args:
        provider: where the events go.
    """
    return cast("LoggerProvider", _Provider(provider))


class _Provider(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]  # untyped in wrapt 1
    def get_logger(self, *args: Any, **kwargs: Any) -> Any:
        return _Logger(self.__wrapped__.get_logger(*args, **kwargs))


class _Logger(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]  # untyped in wrapt 1
    def emit(self, record: "LogRecord", **kwargs: Any) -> None:
        if record.severity_number is None:
            record.severity_number = SeverityNumber.DEBUG
            record.severity_text = SeverityNumber.DEBUG.name
        self.__wrapped__.emit(record, **kwargs)
