"""What may be shown of an address."""

import pytest

from ollama_otel.mlflow._errors import redacted


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://localhost:5000", "http://localhost:5000"),
        ("https://host/team/?token=secret", "https://host/team/"),
        ("https://host/#secret", "https://host/"),
        ("http://secret@host/", "http://host/"),
        ("http://user:secret@", "http://"),
        ("http://user:secret@host:5000/", "http://host:5000/"),
        ("http://user:secret@[::1", "http://[::1"),
        ("http://user:se@cret@host", "http://host"),
        ("https://me@corp.com:secret@host/", "https://host/"),
        ("postgresql+psycopg2://user:secret@db/x", "postgresql+psycopg2://db/x"),
        ("postgresql://user:sec/ret@db/x", "postgresql://db/x"),
        ("postgresql://user:sec?ret@db/x", "postgresql://***"),
        ("postgresql://user:sec#ret@db/x", "postgresql://***"),
        ("postgresql://user:se@c?ret@db/x", "postgresql://***"),
        ("postgresql://user:sec://ret@db/x", "postgresql://db/x"),
        ("postgresql://db/x?user=me@corp.com&password=secret", "postgresql://***"),
        ("postgresql://db/x?user=me&password=secret", "postgresql://db/x"),
        ("postgresql:/user:secret@db", "db"),
        ("user:secret@host:11434", "host:11434"),
        ("sqlite:////home/me@corp/x.db", "sqlite:////home/me@corp/x.db"),
        ("https://host/@team/x", "https://host/@team/x"),
        ("sqlite:///C:/x.db", "sqlite:///C:/x.db"),
        ("./mlruns", "./mlruns"),
        ("databricks", "databricks"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    """Whatever the password is made of; rather too little is shown than too much."""
    assert redacted(uri) == shown


def test_a_mark_may_stand_where_the_credentials_were() -> None:
    """In a command that somebody is to complete, say."""
    assert redacted("http://user:secret@host/", mark="***@") == "http://***@host/"
    assert redacted("http://host/", mark="***@") == "http://host/"
