"""Opening MLflow's database: looked at first, and by one process at a time.

Importing this module imports neither mlflow nor sqlalchemy.
"""

import logging
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ollama_otel.mlflow._errors import DeliveryError, misconfigured, redacted

if TYPE_CHECKING:
    from mlflow.tracing.client import TracingClient

_OPENING_SECONDS: Final = 60.0
"""How long another process may take to make the tables; MLflow needs about five seconds."""

_BUSY_SECONDS: Final = 20.0
"""How long a writer may keep an SQLite file; as long as MLflow itself waits."""


def open_store(tracking_uri: str) -> "TracingClient":
    """Return MLflow's client of a database, with its tables made and ready for forks.

    Args:
        tracking_uri: the database's address, as in MLFLOW_TRACKING_URI.

    Raises:
        DeliveryError: it is an SQLite file that cannot be opened, or that another process has
            been opening for a minute.
    """
    from mlflow.tracing.client import TracingClient  # noqa: PLC0415  (optional, and slow)
    from sqlalchemy import make_url  # noqa: PLC0415  (optional)

    url = make_url(tracking_uri)
    if url.get_backend_name() != "sqlite":
        return _fit_for_forks(TracingClient(tracking_uri))
    if not url.database or url.database.startswith((":memory:", "file:")):
        return TracingClient(tracking_uri)
    file = Path(url.database)
    _make_folder(file, tracking_uri)
    _check_file(file, tracking_uri)
    with _one_process(file, tracking_uri):
        return _fit_for_forks(TracingClient(tracking_uri))


def _make_folder(file: Path, uri: str) -> None:
    """Make the folder as MLflow does, for the lock is taken before MLflow has its turn."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise misconfigured(
            f"the folder {file.parent} of the MLflow database {redacted(uri)} cannot be created "
            f"({error.strerror}); create it or correct MLFLOW_TRACKING_URI"
        ) from error


def _check_file(file: Path, uri: str) -> None:
    """Read a first page: MLflow would try ten times and more than a minute to open the file."""
    try:
        with closing(sqlite3.connect(file, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("pragma schema_version")
    except sqlite3.Error as error:
        if _is_busy(error):
            raise _busy(uri, _BUSY_SECONDS) from error
        raise misconfigured(
            f"the MLflow database {redacted(uri)} cannot be opened ({error}); MLFLOW_TRACKING_URI "
            "must name an SQLite file that this process may read and write, or a new one"
        ) from error


@contextmanager
def _one_process(file: Path, uri: str) -> Iterator[None]:
    """Keep out every other process of ours while MLflow makes or changes its tables.

    MLflow does that without a lock: two processes that begin together leave tables that neither
    can use any more. The lock is an empty database next to the real one, because SQLite's locks
    work wherever its files do and end with their process. Processes that open the database with
    MLflow alone know nothing of it and stay beyond reach.
    """
    beside = Path(f"{file}.lock")
    with closing(_lock(beside, uri)):
        yield
        # Nobody needs it once the tables are made: whoever waits for the removed file, or makes
        # another, finds them. It stays where it cannot be removed, as on Windows while it is open.
        with suppress(OSError):
            beside.unlink()


def _lock(beside: Path, uri: str) -> sqlite3.Connection:
    try:
        return _locked(beside, uri)
    except sqlite3.Error:
        # Another user's file, say. This one is shared by fewer: those with our temporary folder.
        digest = sha256(str(beside.resolve()).encode()).hexdigest()[:32]
        return _locked(Path(tempfile.gettempdir(), f"ollama-otel-{digest}.lock"), uri)


def _locked(lock: Path, uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(lock, timeout=_OPENING_SECONDS)
    try:
        connection.execute("begin exclusive")
    except sqlite3.Error as error:
        connection.close()
        if _is_busy(error):
            raise _busy(uri, _OPENING_SECONDS) from error
        raise
    return connection


def _is_busy(error: sqlite3.Error) -> bool:
    # Python 3.10 has no error codes of SQLite.
    return "locked" in str(error)


def _busy(uri: str, seconds: float) -> DeliveryError:
    return DeliveryError(
        f"another process has kept the MLflow database {redacted(uri)} for {seconds:g} s; end it "
        "if it hangs, or set MLFLOW_TRACKING_URI to an MLflow server, which many may share",
        retryable=True,
        kind="store",
    )


def _fit_for_forks(client: "TracingClient") -> "TracingClient":
    """Let a forked process open connections of its own; MLflow keeps its parent's.

    The engine is internal to MLflow: this is the one place that touches it, and a contract test
    watches it. Source: https://docs.sqlalchemy.org/en/20/core/pooling.html
    (Using Connection Pools with Multiprocessing or os.fork())
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(client.store.engine.dispose, close=False))
    return client


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what MLflow logs of its database in this thread: our error tells it once."""
    here = threading.get_ident()
    logger = logging.getLogger("mlflow.store.db.utils")

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != here

    logger.addFilter(is_of_others)
    try:
        yield
    finally:
        logger.removeFilter(is_of_others)
