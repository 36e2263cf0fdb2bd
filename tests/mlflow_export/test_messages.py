"""The parts of a message, one by one, and who answers which tool call."""

import base64
import hashlib
from typing import Any

import pytest

from mlflow_export.golden import PNG, said, text
from mlflow_export.page import draws_message
from ollama_otel.mlflow._messages import MAX_INLINE_MEDIA, Conversation, system_message

Json = dict[str, Any]


def messages(*sent: object) -> list[Json]:
    """The messages as MLflow gets them."""
    turned = Conversation().messages(list(sent))
    assert all(draws_message(message) for message in turned)
    return turned


def content(*parts: object) -> Any:
    """What one user message with these parts says in MLflow."""
    (message,) = messages({"role": "user", "parts": list(parts)})
    assert message["role"] == "user"
    return message["content"]


def call(name: str, identifier: object = None, **arguments: object) -> Json:
    """A part that asks for a tool."""
    return {"type": "tool_call", "id": identifier, "name": name, "arguments": arguments}


def result(response: object, identifier: object = None) -> Json:
    """A part that says what a tool said."""
    return {"type": "tool_call_response", "id": identifier, "response": response}


BIG = base64.b64encode(b"\x89PNG" * MAX_INLINE_MEDIA).decode()
BIG_DIGEST = hashlib.sha256(b"\x89PNG" * MAX_INLINE_MEDIA).hexdigest()
WAV = base64.b64encode(b"RIFF").decode()


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "blob", "modality": "image", "mime_type": None, "content": PNG},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ),
        (
            {"type": "blob", "modality": "image", "mime_type": "image/webp", "content": PNG},
            {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{PNG}"}},
        ),
        (
            {"type": "blob", "modality": "audio", "mime_type": "audio/x-wav", "content": WAV},
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        ),
        (
            {"type": "uri", "modality": "image", "uri": "https://example.org/cat.png"},
            {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_pictures_and_sounds_are_shown(part: Json, block: Json) -> None:
    """The page has a place for them."""
    assert content(text("Look:"), part) == [{"type": "text", "text": "Look:"}, block]


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": BIG},
            f"[image/png, {4 * MAX_INLINE_MEDIA} bytes, sha256 {BIG_DIGEST}]",
        ),
        (
            {
                "type": "blob",
                "modality": "image",
                "mime_type": "image/png",
                "content": "iVB… [cut]",
            },
            "[image/png, 10 characters that are not base64]",
        ),
        (
            {"type": "blob", "modality": "image", "content": "abcd!"},
            "[image, 5 characters that are not base64]",
        ),
        (
            {"type": "blob", "modality": "video", "mime_type": "video/mp4", "content": WAV},
            "[video/mp4, 4 bytes, sha256 " + hashlib.sha256(b"RIFF").hexdigest() + "]",
        ),
        (
            {"type": "uri", "modality": "image", "uri": "ni:///sha-256;abc?size=9"},
            "[image, 9 bytes, sha256 abc]",
        ),
        (
            {"type": "uri", "modality": "image", "uri": "data:image/png;base64," + BIG},
            "[image: data:image/png;base64," + BIG[:978] + "]",
        ),
        (
            {"type": "uri", "modality": "document", "uri": "https://example.org/a.pdf"},
            "[document: https://example.org/a.pdf]",
        ),
        (
            {"type": "file", "modality": "document", "mime_type": None, "file_id": "file-7"},
            "[document, file file-7]",
        ),
        (
            {"type": "compaction", "content": "so far"},
            '{"type": "compaction", "content": "so far"}',
        ),
        ({"type": "weather", "degrees": 11}, '{"type": "weather", "degrees": 11}'),
        ({"type": ["odd"], "content": 1}, '{"type": ["odd"], "content": 1}'),
        ({"type": "text", "content": {"a": 1}}, '{"a": 1}'),
        ({"type": "text"}, ""),
        ("bare words", "bare words"),
        (7, "7"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_the_page_cannot_show_is_named(part: object, shown: str) -> None:
    """No part vanishes, and no megabytes stay."""
    assert content(part) == shown


def test_texts_of_one_message_become_one_text() -> None:
    """MLflow's previews read the first text of a message only."""
    assert content(text("one"), text("two")) == "one\ntwo"


@pytest.mark.parametrize(
    ("role", "shown"),
    [
        ("User", "user"),
        ("human", "user"),
        ("model", "assistant"),
        ("ai", "assistant"),
        ("developer", "system"),
        ("captain", "user"),
        (None, "user"),
        (7, "user"),
    ],
)
def test_every_role_is_one_that_the_page_knows(role: object, shown: str) -> None:
    """One unknown role, and the page draws none of the messages."""
    (message,) = messages({"role": role, "parts": [text("hi")]})

    assert message == {"role": shown, "content": "hi"}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "parts": "hi"},
        "hi",
    ],
    ids=str,
)
def test_messages_in_other_shapes_are_read_too(message: object) -> None:
    """Not every instrumentation keeps to the conventions."""
    assert messages(message) == [{"role": "user", "content": "hi"}]


def test_one_message_alone_is_a_conversation() -> None:
    """Without the list around it."""
    sent = '{"role": "user", "parts": [{"type": "text", "content": "hi"}]}'

    assert Conversation().messages(sent) == [{"role": "user", "content": "hi"}]


def test_a_message_that_says_nothing_is_still_a_message() -> None:
    """MLflow's previews look for content in every one."""
    assert messages({"role": "user"}, {}) == [
        {"role": "user", "content": ""},
        {"role": "user", "content": ""},
    ]


def test_reasoning_stands_beside_the_text() -> None:
    """The page draws it as a box that opens."""
    parts = [
        {"type": "reasoning", "content": "First"},
        {"type": "reasoning", "content": "then"},
        text("So."),
    ]

    assert messages({"role": "assistant", "parts": parts}) == [
        {"role": "assistant", "content": "So.", "reasoning": "First\nthen"}
    ]


def test_system_instructions_may_be_a_bare_text() -> None:
    """Parts are the rule; a text was seen."""
    assert system_message("Be brief") == {"role": "system", "content": "Be brief"}


# Tool calls ---------------------------------------------------------------------------------


def answered(*sent: Json) -> list[tuple[str, str]]:
    """Which call each tool message answers, in order."""
    return [
        (message["tool_call_id"], message["content"])
        for message in messages(*sent)
        if message["role"] == "tool"
    ]


def test_a_result_finds_its_call_by_id() -> None:
    """Whatever the order."""
    asked = said("assistant", call("tip", "a"), call("tip", "b"))

    assert answered(asked, said("tool", result("2", "b"), result("1", "a"))) == [
        ("b", "2"),
        ("a", "1"),
    ]


def test_a_result_s_id_counts_for_more_than_its_name() -> None:
    """Two calls of one tool, answered in the other order."""
    asked = said("assistant", call("tip", "a"), call("tip", "b"))

    assert answered(asked, said("tool", result("2", "b"), name="tip")) == [("b", "2")]


def test_a_result_without_id_finds_its_call_by_name() -> None:
    """Ollama's messages name the tool; the message carries that name."""
    asked = said("assistant", call("tip"), call("tax"), call("tip"))

    assert answered(
        asked,
        said("tool", result("tax is 1"), name="tax"),
        said("tool", result("tip is 2"), name="tip"),
        said("tool", result("tip is 3", "tip")),
    ) == [("call_1", "tax is 1"), ("call_0", "tip is 2"), ("call_2", "tip is 3")]


def test_results_without_id_and_name_answer_in_order() -> None:
    """The first open call first."""
    asked = said("assistant", call("tip"), call("tax"))

    assert answered(asked, said("tool", result(1), result(2))) == [
        ("call_0", "1"),
        ("call_1", "2"),
    ]


def test_a_call_that_is_answered_is_not_answered_again() -> None:
    """A result without id takes the first call that is still open."""
    asked = said("assistant", call("tip", "a"), call("tax", "b"))

    assert answered(asked, said("tool", result(1, "a"), result(2))) == [("a", "1"), ("b", "2")]


def test_a_result_that_nobody_asked_for_keeps_its_id_or_gets_one() -> None:
    """It is shown all the same."""
    assert answered(said("tool", result(1, "lost"), result(2))) == [("lost", "1"), ("call_1", "2")]


def test_a_tool_message_with_text_only_answers_too() -> None:
    """Seen where an instrumentation records the tool's words as a text part."""
    assert answered(said("assistant", call("tip")), said("tool", text("11"))) == [("call_0", "11")]


def test_made_up_ids_never_meet_given_ones() -> None:
    """An application may count its calls in the same way."""
    asked = said("assistant", call("a", "call_1"), call("b"), call("c", 7))
    (message,) = messages(asked)

    assert [one["id"] for one in message["tool_calls"]] == ["call_1", "call_2", "7"]


def test_results_between_texts_keep_their_place() -> None:
    """One message of the conventions may hold several results, and words around them."""
    sent = said("user", text("before"), result(1, "a"), result(2, "b"), text("after"))

    assert messages(sent) == [
        {"role": "user", "content": "before"},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "user", "content": "after"},
    ]


def test_tools_of_the_provider_are_calls_like_others() -> None:
    """A search that ran on the server's side."""
    asked = {
        "type": "server_tool_call",
        "id": "s",
        "name": "search",
        "server_tool_call": {"type": "web", "query": "MLflow"},
    }
    found = {
        "type": "server_tool_call_response",
        "id": "s",
        "server_tool_call_response": {"type": "web", "hits": 3},
    }

    assert messages(said("assistant", asked), said("tool", found)) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "s",
                    "type": "function",
                    "function": {
                        "name": "search",
                        "arguments": '{"type": "web", "query": "MLflow"}',
                    },
                }
            ],
        },
        {"role": "tool", "tool_call_id": "s", "content": '{"type": "web", "hits": 3}'},
    ]


def test_an_answer_may_hold_results() -> None:
    """A choice is one message: what the provider's own tools found stands in its text."""
    output = [said("assistant", text("I looked."), result("3 hits", "s"))]

    assert Conversation().choices(output, []) == [
        {
            "index": 0,
            "finish_reason": None,
            "message": {"role": "assistant", "content": "I looked.\n3 hits"},
        }
    ]


def test_choices_keep_their_finish_reasons() -> None:
    """The message's own, else the span's for the choice; in OpenAI's words."""
    output = [
        said("assistant", text("a"), finish_reason="tool_call"),
        said("assistant", text("b")),
        said("assistant", text("c")),
    ]
    choices = Conversation().choices(output, ["stop", "length"])

    assert [choice["finish_reason"] for choice in choices] == ["tool_calls", "length", None]
