"""Other instrumentations of the Ollama SDK in the same process, which record every call again."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

KNOWN: Final[Mapping[str, str]] = {
    "openinference.instrumentation.ollama": "openinference-instrumentation-ollama",
    "openlit": "openlit",
    "opentelemetry.instrumentation.ollama": "opentelemetry-instrumentation-ollama",
    "traceai_ollama": "traceai-ollama",
}
"""Module whose wrappers they put on, and the package to uninstall."""

WITH_OUR_NAME: Final = frozenset(
    {"openinference-instrumentation-ollama", "opentelemetry-instrumentation-ollama"}
)
"""Packages whose entry point has our name, so that one variable turns off both."""

_WRAPPED: Final = ("_request", "chat", "generate", "embed", "embeddings")


def others(*clients: type) -> list[str]:
    """Return the packages that have wrapped the clients of the SDK as well.

    Args:
        clients: the SDK's classes.
    """
    modules = {
        _module(wrapper)
        for client in clients
        for method in _WRAPPED
        for wrapper in _wrappers(getattr(client, method, None))
    }
    return sorted(
        package
        for known, package in KNOWN.items()
        if any(module == known or module.startswith(f"{known}.") for module in modules)
    )


def _wrappers(function: Any) -> Iterator[Any]:
    """Yield what wraps a function, by wrapt or by hand, the outermost first."""
    while (wrapped := getattr(function, "__wrapped__", None)) is not None:
        yield getattr(function, "_self_wrapper", function)
        function = wrapped


def _module(wrapper: Any) -> str:
    # A function made by functools.wraps calls itself what it wraps; its globals do not.
    own = getattr(wrapper, "__globals__", {}).get("__name__")
    return own or getattr(wrapper, "__module__", None) or type(wrapper).__module__
