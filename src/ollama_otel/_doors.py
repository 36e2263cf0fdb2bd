"""Through which doors traces leave this process, as far as the instrumentation has to know."""

from typing import Final
from weakref import WeakSet

mlflow: Final[WeakSet[object]] = WeakSet()
"""The live exporters to MLflow: while there is one, spans tell what only MLflow's users expect."""
