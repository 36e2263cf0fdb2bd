"""Through which doors traces leave this process, as far as the instrumentation has to know."""

from collections.abc import Mapping
from typing import Final, Protocol
from weakref import WeakSet


class Door(Protocol):
    """What sends traces to MLflow."""

    def notes(self) -> Mapping[str, str]:
        """Return span attributes that can only be known where and when a call is made."""
        ...


mlflow: Final["WeakSet[Door]"] = WeakSet()
"""The live exporters to MLflow: while there is one, spans tell what only MLflow's users expect."""


def notes() -> dict[str, str]:
    """Return what every door wants to be noted on the span of a call that is about to be made."""
    return {name: value for door in list(mlflow) for name, value in door.notes().items()}
