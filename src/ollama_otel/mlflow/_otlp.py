"""OTLP over http as OpenTelemetry's own variables want it."""

import gzip
import os
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from ollama_otel._internal_errors import warn
from ollama_otel.mlflow._errors import misconfigured

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HEADERS: Final = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
COMPRESSION: Final = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_COMPRESS: Final[Mapping[str, Callable[[bytes], bytes] | None]] = {
    "gzip": partial(gzip.compress, compresslevel=1),
    "deflate": zlib.compress,
    "none": None,
}


def otlp_request(
    request: "ExportTraceServiceRequest", headers: Mapping[str, str]
) -> dict[str, Any]:
    """Return body and headers of an export request, as ``requests`` takes them.

    OTEL_EXPORTER_OTLP_TRACES_COMPRESSION counts; unset, it is gzip.

    Args:
        request: the spans.
        headers: more headers.

    Raises:
        DeliveryError: the compression is none that works.
    """
    name = os.environ.get(COMPRESSION, "").strip().lower() or "gzip"
    if name not in _COMPRESS:
        raise misconfigured(f"{COMPRESSION} is {name!r}; what works: {', '.join(_COMPRESS)}")
    compress = _COMPRESS[name]
    body = request.SerializeToString()
    sent = {"Content-Type": "application/x-protobuf", **headers}
    if compress is not None:
        sent["Content-Encoding"] = name
        body = compress(body)
    return {"data": body, "headers": sent}


def headers_from_settings() -> dict[str, str]:
    """Return what OTEL_EXPORTER_OTLP_TRACES_HEADERS says, as it is now: it may hold a token.

    Where an OTLP endpoint is set too, the headers are for that, and none of them is MLflow's.
    OpenTelemetry's own reader is not used: it logs the values that it cannot read.
    """
    text = os.environ.get(HEADERS, "")
    if any(os.environ.get(endpoint) for endpoint in _ENDPOINTS):
        return {}
    headers = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, is_given, value = entry.partition("=")
        if not is_given or not name.strip():
            warn(HEADERS, f"{HEADERS} has an entry that is not name=value, which is left out")
        elif not name.strip().lower().startswith("content-"):
            headers[unquote(name).strip()] = unquote(value).strip()
    return headers
