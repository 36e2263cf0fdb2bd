"""An MLflow server over HTTP: one call that returns its answer or says what is wrong.

Settings are MLflow's own: MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN;
MLFLOW_TRACKING_INSECURE_TLS, _SERVER_CERT_PATH and _CLIENT_CERT_PATH. They are read at every
call, as MLflow does: a renewed token counts from then on. So is MLFLOW_HTTP_REQUEST_TIMEOUT.
"""

import math
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.structures import CaseInsensitiveDict

from ollama_otel.mlflow._errors import DeliveryError, RefusedError, misconfigured, redacted

_TIMEOUT_SETTING: Final = "MLFLOW_HTTP_REQUEST_TIMEOUT"
# OTLP's usual 10 seconds lose the slow answers of a busy server.
_TIMEOUT_SECONDS: Final = 60.0
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

_START: Final = "start it (mlflow server) or set MLFLOW_TRACKING_URI to where it is"
_LOST: Final[tuple[tuple[tuple[type[Exception], ...], str, str, str], ...]] = (
    ((requests.ReadTimeout,), "did not answer in {:g} s", _START, "slow"),
    # It took long enough already.
    ((requests.ConnectTimeout,), "was not reached in time", _START, "slow"),
    ((requests.ConnectionError, requests.Timeout), "was not reached", _START, "unreachable"),
    (
        (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError),
        "broke off its answer",
        "its log, or that of a proxy in front of it, says why",
        "unreachable",
    ),
)
"""Ways to lose a server: the exceptions, what they mean, the cure, the kind of the fault."""


class Server:
    """An MLflow tracking server.

    Args:
        tracking_uri: its address, as in MLFLOW_TRACKING_URI.
        timeout: seconds that one answer may take; by default MLFLOW_HTTP_REQUEST_TIMEOUT, or 60.
        credentials: returns who we are, for every request anew; by default MLflow's variables.
        headers: returns more headers for every request; they go before those of the request.
    """

    def __init__(
        self,
        tracking_uri: str,
        timeout: float | None = None,
        credentials: Callable[[], AuthBase | None] | None = None,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._headers = headers
        self._credentials = credentials or _credentials
        self._base = tracking_uri.rstrip("/")
        self._shown = redacted(self._base)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._gone = False
        self._session: requests.Session | None = None
        self._process = 0

    def call(self, method: str, path: str, **request: Any) -> requests.Response:
        """Send one request, a few times if need be, and return the answer, which is a success.

        A server that was not there the last time is tried once: else an application that exits
        would wait for it again with every batch of spans that is left.

        Args:
            method: the HTTP method.
            path: what follows the server's address.
            request: what ``requests`` takes: params, json, data, headers.

        Raises:
            RefusedError: the server answered with an error, or points elsewhere.
            DeliveryError: it was not reached, or is no MLflow server.
        """
        for wait in (*_WAITS_SECONDS, None):
            try:
                answer = self._send(method, path, request)
            except DeliveryError as error:  # noqa: PERF203  (it is the failures that are counted)
                if wait is None or not self._soon_over(error) or self._closes_in(wait, error):
                    self._gone = error.kind == "unreachable"
                    raise
            else:
                break
        self._gone = False
        return answer

    def _soon_over(self, error: DeliveryError) -> bool:
        if isinstance(error, RefusedError):
            return error.status in _SOON_OVER
        return error.kind == "unreachable" and not self._gone

    def _closes_in(self, wait: float, error: DeliveryError) -> bool:
        """Wait before the next try; closing ends it: an application that exits is not held up."""
        asked = error.retry_after if isinstance(error, RefusedError) else None
        return self._closing.wait(min(max(wait, asked or 0), _LONGEST_WAIT_SECONDS))

    def json(self, method: str, path: str, **parameters: object) -> dict[str, Any]:
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
        timeout = self._timeout or _timeout_from_settings()
        sent = CaseInsensitiveDict(request.get("headers", {}))
        sent.update(self._headers())
        try:
            answer = self._connection().request(
                method,
                self._base + path,
                auth=self._credentials(),
                # Credentials stay with the host that they were given for.
                allow_redirects=False,
                timeout=(min(_CONNECT_SECONDS, timeout), timeout),
                **_tls(),
                **request | {"headers": sent},
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise self._unreached(error, timeout) from error
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

    def _unreached(self, error: Exception, timeout: float) -> DeliveryError:
        if isinstance(error, requests.exceptions.SSLError):
            return misconfigured(
                f"the certificate of the MLflow server at {self._shown} was not accepted "
                f"({_shown_reason(error)}); set MLFLOW_TRACKING_SERVER_CERT_PATH to the "
                "certificate of its authority"
            )
        for types, said, cure, kind in _LOST:
            if isinstance(error, types):
                return DeliveryError(
                    f"the MLflow server at {self._shown} {said.format(timeout)} "
                    f"({type(error).__name__}); {cure}",
                    retryable=True,
                    kind=kind,
                )
        return misconfigured(
            f"the MLflow server at {self._shown} cannot be called ({_shown_reason(error)}); check "
            "MLFLOW_TRACKING_URI and the other MLFLOW_TRACKING_ variables"
        )

    def _stranger(self, answer: requests.Response) -> DeliveryError:
        kind = answer.headers.get("Content-Type", "no content type")
        return misconfigured(
            f"what answers at {self._shown} is no MLflow server (it sent {kind}); check "
            "MLFLOW_TRACKING_URI, and whether a proxy wants a login first"
        )


def _timeout_from_settings() -> float:
    text = os.environ.get(_TIMEOUT_SETTING, "").strip()
    if not text:
        return _TIMEOUT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < math.inf:
        raise misconfigured(f"{_TIMEOUT_SETTING} is {text!r}; set it to a number of seconds")
    return seconds


def _shown_reason(error: Exception) -> str:
    """Return what an error says where that holds no address and no header, else its type."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.exceptions.SSLError) and reason is not None:
        return str(reason)
    # Of its own, the operating system and ``requests`` name files: of certificates, say.
    is_about_files = isinstance(error, OSError) and not isinstance(error, requests.RequestException)
    return str(error) if is_about_files else type(error).__name__


def _seconds(text: str | None) -> float | None:
    # A date is allowed too, but the clocks of two machines are no ground for a short wait.
    return float(text) if text and text.strip().isdecimal() else None


class Bearer(AuthBase):
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
    # A token that was read from a file often ends with its line.
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "").strip()
    return Bearer(token) if token else None


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
