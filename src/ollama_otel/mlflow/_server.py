"""An MLflow server over HTTP: one call that returns its answer or says what is wrong.

Settings are MLflow's own: MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN;
MLFLOW_TRACKING_INSECURE_TLS, _SERVER_CERT_PATH and _CLIENT_CERT_PATH. They are read at every
call, as MLflow does: a renewed token counts from then on.
"""

import os
import threading
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from ollama_otel.mlflow._errors import DeliveryError, RefusedError, misconfigured, redacted

TIMEOUT_SECONDS: Final = 60.0
"""How long one request may take. OTLP's usual 10 seconds lose the slow answers of a busy server."""

_CONNECT_SECONDS: Final = 10.0
_LONGEST_WAIT_SECONDS: Final = 10.0
_RETRIED: Final = (429, 502, 503, 504)
_RETRYABLE: Final = frozenset({408, 500, *_RETRIED})
_SUCCESS: Final = range(200, 300)
_REDIRECTION: Final = range(300, 400)
_QUOTED_CHARACTERS: Final = 300

_CURES: Final = {
    401: "it wants to know who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "or MLFLOW_TRACKING_TOKEN",
    403: "these credentials may not write there: check MLFLOW_TRACKING_USERNAME or "
    "MLFLOW_TRACKING_TOKEN and the permissions on the experiment; a server that does not know its "
    "own name wants --allowed-hosts",
    404: "there is no such thing: check MLFLOW_TRACKING_URI and the experiment; the server must be "
    "MLflow 3.6 or newer",
    413: "the batch is too large for it: set OTEL_BSP_MAX_EXPORT_BATCH_SIZE to less, or raise the "
    "limit of the proxy in front of it",
    501: "its own store takes no spans: it must run on a database (mlflow server "
    "--backend-store-uri sqlite:///...)",
}


class Server:
    """An MLflow tracking server.

    Args:
        tracking_uri: its address, as in MLFLOW_TRACKING_URI.
        timeout: seconds that one request may take.
    """

    def __init__(self, tracking_uri: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._base = tracking_uri.rstrip("/")
        self._shown = redacted(self._base)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._process = 0

    def call(self, method: str, path: str, **request: Any) -> requests.Response:
        """Send one request and return the answer, which is a success.

        Args:
            method: the HTTP method.
            path: what follows the server's address.
            request: what ``requests`` takes: params, json, data, headers.

        Raises:
            RefusedError: the server answered with an error, or sends us elsewhere.
            DeliveryError: it was not reached, or is no MLflow server.
        """
        try:
            answer = self._connection().request(
                method,
                self._base + path,
                auth=_credentials(),
                # Credentials stay with the host they were given for.
                allow_redirects=False,
                timeout=(_CONNECT_SECONDS, self._timeout),
                **_tls(),
                **request,
            )
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise self._unreached(error) from error
        self._check(answer)
        return answer

    def json(self, method: str, path: str, **parameters: str) -> dict[str, Any]:
        """Send one request of MLflow's REST API and return what the answer says.

        Args:
            method: the HTTP method.
            path: what follows the server's address.
            parameters: of the request; they ride in the URL of a GET, else in the body.

        Raises:
            RefusedError: the server answered with an error, or sends us elsewhere.
            DeliveryError: it was not reached, or is no MLflow server.
        """
        answer = self.call(method, path, **{"params" if method == "GET" else "json": parameters})
        if (body := _json_object(answer)) is None:
            raise self._stranger(answer)
        return body

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def _connection(self) -> requests.Session:
        with self._lock:
            # A forked child must not talk through the sockets of its parent.
            if self._session is None or self._process != os.getpid():
                self._session = requests.Session()
                for scheme in ("http://", "https://"):
                    self._session.mount(scheme, HTTPAdapter(max_retries=_retries()))
                self._process = os.getpid()
            return self._session

    def _check(self, answer: requests.Response) -> None:
        status = answer.status_code
        if status not in _SUCCESS:
            raise self._refusal(answer)
        if "html" in answer.headers.get("Content-Type", ""):
            raise self._stranger(answer)

    def _refusal(self, answer: requests.Response) -> RefusedError:
        status = answer.status_code
        body = _json_object(answer) or {}
        said = str(body.get("message") or body.get("detail") or answer.text)[:_QUOTED_CHARACTERS]
        cure = _CURES.get(status, "its log says more")
        if status in _REDIRECTION:
            target = redacted(answer.headers.get("Location", "nowhere"))
            cure = f"it points to {target}: set MLFLOW_TRACKING_URI to the final address"
        return RefusedError(
            f"the MLflow server at {self._shown} answered {status} ({said.strip()}); {cure}",
            retryable=status in _RETRYABLE,
            status=status,
            error_code=str(body.get("error_code", "")),
        )

    def _unreached(self, error: Exception) -> DeliveryError:
        if isinstance(error, requests.exceptions.SSLError):
            return misconfigured(
                f"the certificate of the MLflow server at {self._shown} was not accepted "
                f"({error}); set MLFLOW_TRACKING_SERVER_CERT_PATH to its authority's certificate"
            )
        if isinstance(error, ValueError | OSError) and not isinstance(
            error, requests.ConnectionError | requests.Timeout
        ):
            return misconfigured(
                f"the MLflow server at {self._shown} cannot be called ({error}); check "
                "MLFLOW_TRACKING_URI and the MLFLOW_TRACKING_* variables"
            )
        return DeliveryError(
            f"the MLflow server at {self._shown} was not reached ({type(error).__name__}); "
            "start it (mlflow server) or set MLFLOW_TRACKING_URI to where it is",
            retryable=True,
            kind="unreachable",
        )

    def _stranger(self, answer: requests.Response) -> DeliveryError:
        kind = answer.headers.get("Content-Type", "no content type")
        return misconfigured(
            f"what answers at {self._shown} is no MLflow server (it sent {kind}); check "
            "MLFLOW_TRACKING_URI, and whether a proxy wants a login first"
        )


class _Patience(Retry):
    """Waits as long as the server asks, within bounds."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        try:
            wait = super().get_retry_after(response)
        except InvalidHeader:
            return None
        return None if wait is None else min(wait, _LONGEST_WAIT_SECONDS)


def _retries() -> Retry:
    return _Patience(
        total=3,
        backoff_factor=0.5,
        status_forcelist=_RETRIED,
        # Storing the same spans again changes nothing, so POST may be sent again as well.
        allowed_methods=None,
        raise_on_status=False,
    )


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


def _json_object(answer: requests.Response) -> dict[str, Any] | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
