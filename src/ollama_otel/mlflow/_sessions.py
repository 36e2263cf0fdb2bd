"""Sessions and users as OpenTelemetry's baggage carries them.

Names: https://opentelemetry.io/docs/specs/semconv/registry/attributes/session/ and user/, which
MLflow reads from spans.
"""

from typing import TYPE_CHECKING, Final

from opentelemetry import baggage

if TYPE_CHECKING:
    from opentelemetry.context import Context

_NAMES: Final = ("session.id", "user.id")


def session_from_baggage(context: "Context") -> dict[str, str]:
    """Return the attributes of a session and a user that the application put into its baggage.

    Args:
        context: the context of a call.
    """
    found = ((name, baggage.get_baggage(name, context)) for name in _NAMES)
    return {name: value for name, value in found if isinstance(value, str) and value}
