"""Through which doors traces leave this process, as far as the instrumentation has to know."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from opentelemetry.context import Context


class Door(Protocol):
    """What sends traces to MLflow."""

    def notes(self, context: "Context") -> Mapping[str, str]:
        """Return span attributes that can only be known where and when a call is made.

        Args:
            context: the call's context.
        """
        ...


mlflow: Final["WeakSet[Door]"] = WeakSet()
"""The live exporters to MLflow: while there is one, spans tell what only MLflow's users expect."""


def notes(context: "Context") -> dict[str, str]:
    """Return what every door wants to be noted on the span of a call that is about to be made.

    Args:
        context: the call's context.
    """
    return {name: value for door in list(mlflow) for name, value in door.notes(context).items()}
