"""An MLflow server over HTTP: one call that returns its answer or says what is wrong.

Settings are MLflow's own: MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN;
MLFLOW_TRACKING_INSECURE_TLS, _SERVER_CERT_PATH and _CLIENT_CERT_PATH. They are read at every
call, as MLflow does: a renewed token counts from then on.
"""

import os
import threading
from typing import Any, Final

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from ollama_otel.mlflow._errors import DeliveryError, RefusedError, misconfigured, redacted

TIMEOUT_SECONDS: Final = 60.0
"""How long one answer may take. OTLP's usual 10 seconds lose the slow answers of a busy server."""

_CONNECT_SECONDS: Final = 10.0
_WAITS_SECONDS: Final = (0.5, 1.0, 2.0)
_LONGEST_WAIT_SECONDS: Final = 10.0
_QUOTED_CHARACTERS: Final = 300

_SUCCESS: Final = range(200, 300)
_REDIRECTION: Final = range(300, 400)
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_SOON_OVER: Final = frozenset({429, 502, 503, 504})

_CURES: Final = {
    401: "it wants to know who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "or MLFLOW_TRACKING_TOKEN",
    403: "it does not let these credentials in: check MLFLOW_TRACKING_USERNAME or "
    "MLFLOW_TRACKING_TOKEN and their permissions; a server that does not accept the name it is "
    "called by wants --allowed-hosts",
    404: "there is no such thing: check MLFLOW_TRACKING_URI and the experiment; the server must be "
    "MLflow 3.6 or newer",
    413: "the batch is too large for it: set OTEL_BSP_MAX_EXPORT_BATCH_SIZE to less, or raise the "
    "limit of the proxy in front of it",
    501: "its own store takes no spans: it must run on a database (mlflow server "
    "--backend-store-uri sqlite:///mlflow.db)",
}


class Server:
    """An MLflow tracking server.

    Args:
        tracking_uri: its address, as in MLFLOW_TRACKING_URI.
        timeout: seconds that one answer may take.
    """

    def __init__(self, tracking_uri: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._base = tracking_uri.rstrip("/")
        self._shown = redacted(self._base)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._session: requests.Session | None = None
        self._process = 0

    def call(self, method: str, path: str, **request: Any) -> requests.Response:
        """Send one request, a few times if need be, and return the answer, which is a success.

        Args:
            method: the HTTP method.
            path: what follows the server's address.
            request: what ``requests`` takes: params, json, data, headers.

        Raises:
            RefusedError: the server answered with an error, or points elsewhere.
            DeliveryError: it was not reached, or is no MLflow server.
        """
        for wait in _WAITS_SECONDS:
            try:
                return self._send(method, path, request)
            except DeliveryError as error:  # noqa: PERF203  (it is the failures that are counted)
                # Closing ends the waiting: an application that exits is not held up.
                if not _soon_over(error) or self._closing.wait(_longer(wait, error)):
                    raise
        return self._send(method, path, request)

    def json(self, method: str, path: str, **parameters: str) -> dict[str, Any]:
        """Send one request of MLflow's REST API and return what the answer says.

        Args:
            method: the HTTP method.
            path: what follows the server's address.
            parameters: of the request; they ride in the URL of a GET, else in the body.

        Raises:
            RefusedError: the server answered with an error, or points elsewhere.
            DeliveryError: it was not reached, or is no MLflow server.
        """
        answer = self.call(method, path, **{"params" if method == "GET" else "json": parameters})
        if (body := _json_object(answer)) is None:
            raise self._stranger(answer)
        return body

    def close(self) -> None:
        """Close the connections, and try nothing again from now on."""
        self._closing.set()
        with self._lock:
            if self._session is not None:
                self._session.close()

    def _send(self, method: str, path: str, request: dict[str, Any]) -> requests.Response:
        try:
            answer = self._connection().request(
                method,
                self._base + path,
                auth=_credentials(),
                # Credentials stay with the host that they were given for.
                allow_redirects=False,
                timeout=(_CONNECT_SECONDS, self._timeout),
                **_tls(),
                **request,
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise self._unreached(error) from error
        if answer.status_code not in _SUCCESS:
            raise self._refusal(answer)
        if "html" in answer.headers.get("Content-Type", ""):
            raise self._stranger(answer)
        return answer

    def _connection(self) -> requests.Session:
        with self._lock:
            # A forked child must not talk through the sockets of its parent.
            if self._session is None or self._process != os.getpid():
                self._session = requests.Session()
                self._process = os.getpid()
            return self._session

    def _refusal(self, answer: requests.Response) -> RefusedError:
        status = answer.status_code
        body = _json_object(answer) or {}
        said = str(body.get("message") or body.get("detail") or _words(answer))
        cure = _CURES.get(status, "its log says more")
        if status in _REDIRECTION:
            target = redacted(answer.headers.get("Location", "nowhere"))
            cure = f"it points to {target}: set MLFLOW_TRACKING_URI to the final address"
        return RefusedError(
            f"the MLflow server at {self._shown} answered {status} "
            f"({said[:_QUOTED_CHARACTERS].strip()}); {cure}",
            retryable=status in _PASSING,
            status=status,
            error_code=str(body.get("error_code", "")),
            retry_after=_seconds(answer.headers.get("Retry-After")),
        )

    def _unreached(self, error: Exception) -> DeliveryError:
        if isinstance(error, requests.exceptions.SSLError):
            return misconfigured(
                f"the certificate of the MLflow server at {self._shown} was not accepted "
                f"({error}); set MLFLOW_TRACKING_SERVER_CERT_PATH to its authority's certificate"
            )
        if isinstance(error, requests.ConnectionError | requests.Timeout):
            slow = isinstance(error, requests.ReadTimeout)
            said = f"did not answer in {self._timeout:g} s" if slow else "was not reached"
            return DeliveryError(
                f"the MLflow server at {self._shown} {said} ({type(error).__name__}); start it "
                "(mlflow server) or set MLFLOW_TRACKING_URI to where it is",
                retryable=True,
                kind="slow" if slow else "unreachable",
            )
        return misconfigured(
            f"the MLflow server at {self._shown} cannot be called ({error}); check "
            "MLFLOW_TRACKING_URI and the other MLFLOW_TRACKING_ variables"
        )

    def _stranger(self, answer: requests.Response) -> DeliveryError:
        kind = answer.headers.get("Content-Type", "no content type")
        return misconfigured(
            f"what answers at {self._shown} is no MLflow server (it sent {kind}); check "
            "MLFLOW_TRACKING_URI, and whether a proxy wants a login first"
        )


def _soon_over(error: DeliveryError) -> bool:
    if isinstance(error, RefusedError):
        return error.status in _SOON_OVER
    return error.kind == "unreachable"


def _longer(wait: float, error: DeliveryError) -> float:
    asked = error.retry_after if isinstance(error, RefusedError) else None
    return min(max(wait, asked or 0), _LONGEST_WAIT_SECONDS)


def _seconds(text: str | None) -> float | None:
    # A date is allowed too, but the clocks of two machines are no ground for a short wait.
    return float(text) if text and text.strip().isdecimal() else None


class _Bearer(AuthBase):
    """A token. As an auth object it keeps ``requests`` from taking a ~/.netrc entry instead."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _credentials() -> AuthBase | None:
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return HTTPBasicAuth(user.encode(), password.encode())
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return _Bearer(token) if token else None


def _tls() -> dict[str, Any]:
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").strip().lower() in ("true", "1")
    authority = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    return {
        "verify": not insecure and (authority or True),
        "cert": os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
    }


def _words(answer: requests.Response) -> str:
    """Return what an answer says that is no JSON: a web page says no more than its status."""
    words = " ".join(answer.text.split())
    return answer.reason if words.startswith("<") else words


def _json_object(answer: requests.Response) -> dict[str, Any] | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
