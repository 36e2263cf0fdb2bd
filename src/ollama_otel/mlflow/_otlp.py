"""OTLP over http as OpenTelemetry's own variables want it."""

import gzip
import os
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.util.re import parse_env_headers
from requests.structures import CaseInsensitiveDict

from ollama_otel.mlflow._errors import misconfigured

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HEADERS: Final = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
COMPRESSION: Final = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"

_COMPRESS: Final[Mapping[str, Callable[[bytes], bytes] | None]] = {
    "gzip": partial(gzip.compress, compresslevel=1),
    "deflate": zlib.compress,
    "none": None,
}


def otlp_request(
    request: "ExportTraceServiceRequest", headers: Mapping[str, str]
) -> dict[str, Any]:
    """Return body and headers of an export request, as ``requests`` takes them.

    OTEL_EXPORTER_OTLP_TRACES_COMPRESSION (gzip unless set) and
    OTEL_EXPORTER_OTLP_TRACES_HEADERS count, as they are now: the second may hold a token.

    Args:
        request: the spans.
        headers: headers that the variable may replace.

    Raises:
        DeliveryError: the compression is none that works.
    """
    name = os.environ.get(COMPRESSION, "").strip().lower() or "gzip"
    if name not in _COMPRESS:
        raise misconfigured(f"{COMPRESSION} is {name!r}; what works: {', '.join(_COMPRESS)}")
    compress = _COMPRESS[name]
    body = request.SerializeToString()
    sent = CaseInsensitiveDict(headers)
    sent.update(parse_env_headers(os.environ.get(HEADERS, ""), liberal=True))
    sent["Content-Type"] = "application/x-protobuf"
    if compress is not None:
        sent["Content-Encoding"] = name
        body = compress(body)
    return {"data": body, "headers": sent}
