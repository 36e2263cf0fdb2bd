"""The part of an MLflow server that a sink talks to, with every request kept."""

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import Self

API = "/api/2.0/mlflow/experiments"
LINK = "/api/2.0/mlflow/traces/link-to-run"


@dataclass(frozen=True)
class Request:
    """A request that the server got."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def spans(self) -> list[str]:
        """The names of the spans that came."""
        message = ExportTraceServiceRequest.FromString(gzip.decompress(self.body))
        return [
            span.name
            for resource_spans in message.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]


@dataclass(frozen=True)
class Answer:
    """What the server says."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/x-protobuf"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def error(cls, status: int, code: str, message: str = "no") -> "Answer":
        """An error as MLflow's REST API words it."""
        return cls.json({"error_code": code, "message": message}, status)

    @classmethod
    def json(cls, body: object, status: int = 200) -> "Answer":
        """An answer of MLflow's REST API."""
        return cls(status, json.dumps(body).encode(), "application/json")


class FakeMlflow:
    """An MLflow server on a loopback port.

    ``experiments`` maps names to ids, ``deleted`` holds the ids of deleted ones, and ``script``
    the answers that are given before the usual ones.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.experiments: dict[str, str] = {"Default": "0"}
        self.deleted: set[str] = set()
        self.script: list[Answer] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.fake = self  # type: ignore[attr-defined]  # the way to the handler
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def asked(self) -> list[str]:
        """What was asked, in short."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, request: Request) -> Answer:
        """Return the next answer of the script, else what MLflow would say."""
        self.requests.append(request)
        if self.script:
            return self.script.pop(0)
        if request.path == "/v1/traces":
            return Answer()
        if request.path == LINK:
            return Answer.json({})
        if request.path == f"{API}/get-by-name":
            return self._find(request.query["experiment_name"][0])
        if request.path == f"{API}/create":
            return self._create(json.loads(request.body)["name"])
        return Answer(404, b"Not Found", "text/plain")

    def _find(self, name: str) -> Answer:
        if (found := self.experiments.get(name)) is None:
            return Answer.error(404, "RESOURCE_DOES_NOT_EXIST")
        stage = "deleted" if found in self.deleted else "active"
        experiment = {"experiment_id": found, "name": name, "lifecycle_stage": stage}
        return Answer.json({"experiment": experiment})

    def _create(self, name: str) -> Answer:
        self.experiments[name] = str(len(self.experiments))
        return Answer.json({"experiment_id": self.experiments[name]})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _reply(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=parse_qs(parts.query),
            headers=dict(self.headers.items()),
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        answer = cast("Any", self.server).fake.answer(request)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = _reply  # noqa: N815  (names that the standard library looks for)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
