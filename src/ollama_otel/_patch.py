"""The wrappers on the Ollama SDK: put on when it is imported, and only these taken off."""

import logging
from typing import TYPE_CHECKING, Any, Final, cast

import wrapt

from ollama_otel._internal_errors import Guard
from ollama_otel._others import WITH_OUR_NAME, others

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from ollama_otel._telemetry import Telemetry

_SEAM: Final = "_request"

_SAME_NAME: Final = (
    " (OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=ollama turns both off: they have the same name.)"
)

_logger = logging.getLogger(__name__)

_PATCHING: Final = Guard("instrumenting the Ollama SDK")
_LOOKING_AROUND: Final = Guard("looking for other instrumentations of the Ollama SDK")


class Patch:
    """The wrappers of one recorder of calls: put on once, and inert for good once taken off.

    They are put on when the application imports the SDK, at once if it has done so already.

    Args:
        make_telemetry: makes what records the calls.
    """

    def __init__(self, make_telemetry: "Callable[[], Telemetry]") -> None:
        self._make_telemetry = make_telemetry
        self._active = True
        self._looked_around = False
        self._put_on: list[tuple[type, Any]] = []
        self._telemetry: Telemetry | None = None
        wrapt.register_post_import_hook(self._wrap_clients, "ollama")

    def _wrap_clients(self, ollama: "ModuleType") -> None:
        if not self._active:
            return
        with _PATCHING:
            # Here, and not above: an application that never imports the SDK pays nothing.
            from ollama_otel._wrappers import async_wrapper, sync_wrapper  # noqa: PLC0415

            self._telemetry = self._make_telemetry()
            self._wrap(ollama.Client, sync_wrapper(self._telemetry))
            self._wrap(ollama.AsyncClient, async_wrapper(self._telemetry))

    def _wrap(self, client: type, wrapper: Any) -> None:
        wrapped = wrapt.FunctionWrapper(getattr(client, _SEAM), wrapper, enabled=self._is_active)
        setattr(client, _SEAM, wrapped)
        self._put_on.append((client, wrapped))

    def _is_active(self) -> bool:
        if not self._looked_around:
            # With the first call: by then all that instruments has done so.
            self._looked_around = True
            self._look_around()
        return self._active

    def _look_around(self) -> None:
        with _LOOKING_AROUND:
            for package in others(*(client for client, _ in self._put_on)):
                _logger.warning(
                    "%s instruments the Ollama SDK too: every call is recorded twice. Keep one: "
                    "uninstall the other.%s",
                    package,
                    _SAME_NAME if package in WITH_OUR_NAME else "",
                )

    def take_off(self) -> None:
        """Unwrap the seam; where somebody wrapped it after us, ours stays on and does nothing."""
        self._active = False
        if self._telemetry is not None:
            self._telemetry.close()
        for client, wrapped in self._put_on:
            if vars(client).get(_SEAM) is wrapped:
                setattr(client, _SEAM, cast("Any", wrapped).__wrapped__)
        self._put_on.clear()
