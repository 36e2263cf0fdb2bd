"""How a server that is lost, slow or badly addressed is treated, and what is said of it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from mlflow_export.fake_mlflow import Answer, FakeMlflow
from ollama_otel.mlflow import _server
from ollama_otel.mlflow._errors import DeliveryError
from ollama_otel.mlflow._server import Server


def refusal(server: Server) -> DeliveryError:
    """What a call is refused with."""
    with pytest.raises(DeliveryError) as caught:
        server.call("POST", "/v1/traces", data=b"")
    return caught.value


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which take no time."""
    waited: list[float] = []

    def wait(_server: Server, seconds: float, _error: DeliveryError) -> bool:
        waited.append(seconds)
        return False

    monkeypatch.setattr(Server, "_closes_in", wait)
    return waited


@contextmanager
def answering(payload: bytes) -> Iterator[str]:
    """Run something that sends these bytes, whatever it is asked, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if not connection.recv(65536):
                    return
                connection.sendall(payload)
                # A request may come in two pieces: hanging up on the second would be a reset.
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(1)
                with suppress(OSError):
                    while connection.recv(65536):
                        pass

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()
        listener.close()


# Lost servers -------------------------------------------------------------------------------


def test_a_server_that_is_gone_is_waited_for_once(waits: list[float]) -> None:
    """Else every batch that is left would hold up an application that exits."""
    gone = Server("http://127.0.0.1:9")

    assert [refusal(gone).kind for _ in range(3)] == ["unreachable"] * 3
    assert waits == [0.5, 1.0, 2.0]


def test_a_server_that_came_back_is_waited_for_again(
    server: FakeMlflow, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A success ends the haste, and so does a refusal: somebody is there."""
    for answer in (Answer(), Answer(400)):
        calls = Server("http://127.0.0.1:9")
        refusal(calls)
        monkeypatch.setattr(calls, "_base", server.uri)
        server.script = [answer]
        if answer.status == 200:
            calls.call("POST", "/v1/traces")
        else:
            refusal(calls)
        monkeypatch.setattr(calls, "_base", "http://127.0.0.1:9")
        waits.clear()
        refusal(calls)

        assert waits == [0.5, 1.0, 2.0]


def test_a_server_that_starts_after_it_was_gone_is_given_its_time(
    server: FakeMlflow, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy says that it is busy before it is up."""
    calls = Server("http://127.0.0.1:9")
    refusal(calls)
    waits.clear()
    monkeypatch.setattr(calls, "_base", server.uri)
    server.script = [Answer(503), Answer()]

    assert calls.call("POST", "/v1/traces").status_code == 200
    assert waits == [0.5]


@pytest.mark.parametrize(
    ("payload", "error_type"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "ChunkedEncodingError",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "ContentDecodingError",
        ),
    ],
)
def test_an_answer_that_is_cut_off_is_a_lost_connection(
    payload: bytes, error_type: str, waits: list[float]
) -> None:
    """It may succeed the next time; no setting is wrong."""
    with answering(payload) as uri:
        error = refusal(Server(uri))

    assert str(error) == (
        f"the MLflow server at {uri} broke off its answer ({error_type}); its log, or that of a "
        "proxy in front of it, says why"
    )
    assert (error.retryable, error.kind) == (True, "unreachable")
    assert waits == [0.5, 1.0, 2.0]


# Secrets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["t0ken\n", " t0ken\r\n"])
def test_a_token_is_taken_without_the_end_of_its_line(
    token: str, server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read from a file."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)

    Server(server.uri).call("POST", "/v1/traces")

    assert server.requests[0].headers["Authorization"] == "Bearer t0ken"


def test_a_blank_token_is_none(server: FakeMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file was read."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "\n")

    Server(server.uri).call("POST", "/v1/traces")

    assert "Authorization" not in server.requests[0].headers


def test_a_token_that_cannot_be_sent_is_not_shown(
    server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines are no header."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret\ns3cret")

    error = refusal(Server(server.uri))

    assert str(error) == (
        f"the MLflow server at {server.uri} cannot be called (ValueError); check "
        "MLFLOW_TRACKING_URI and the other MLFLOW_TRACKING_ variables"
    )


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:s3cret@",
        "http://user:s3cret@[::1",
        "http://user:s3cret@a b",
        "http://user:s3cret@host:port",
        "http://127.0.0.1:9/?token=s3cret",
    ],
)
@pytest.mark.usefixtures("waits")
def test_a_password_in_a_wrong_address_is_not_shown(uri: str) -> None:
    """Whatever ``requests`` says of it."""
    assert "s3cret" not in str(refusal(Server(uri, timeout=0.5)))


def test_a_refused_certificate_is_explained_without_the_address(server: FakeMlflow) -> None:
    """The address that ``requests`` quotes may hold a secret."""
    error = refusal(Server(server.uri.replace("http", "https") + "/?token=s3cret"))

    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in str(error)
    assert "SSL" in str(error)
    assert "s3cret" not in str(error)


# Time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "given", "seconds"), [("0.2", None, "0.2"), ("50", 0.2, "0.2"), (" 1 ", None, "1")]
)
def test_the_timeout_is_mlflow_s_own_setting_unless_one_is_given(
    setting: str, given: float | None, seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read at every call."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = Server(f"http://127.0.0.1:{silent.getsockname()[1]}", given)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", setting)

        error = refusal(slow)

    assert f"did not answer in {seconds} s (ReadTimeout)" in str(error)


@pytest.mark.parametrize("setting", ["soon", "0", "-1", "inf", "nan"])
def test_a_timeout_that_is_none_is_named(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what would be one."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", setting)

    error = refusal(Server("http://127.0.0.1:9"))

    assert str(error) == (
        f"MLFLOW_HTTP_REQUEST_TIMEOUT is {setting!r}; set it to a number of seconds"
    )
    assert (error.retryable, error.kind) == (False, "configuration")


def test_without_a_setting_an_answer_may_take_a_minute() -> None:
    """A busy server does."""
    assert _server._timeout_from_settings() == 60.0
