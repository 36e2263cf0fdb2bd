"""GenAI attributes in, MLflow's attributes out."""

import json
import subprocess
import sys

import pytest

import mapping_docs
from mlflow_export.genai import ANSWER, QUESTION, GenAi
from mlflow_export.golden import GOLDEN, OLLAMA, Attributes, added, encoded, said, text
from mlflow_export.page import draws_message, draws_tool
from ollama_otel.mlflow.translation import KINDS, RULES, translate_attributes

CHAT = {**OLLAMA, "gen_ai.operation.name": "chat"}


def inputs(attributes: Attributes) -> Attributes:
    """The inputs that a span has in MLflow."""
    decoded: Attributes = json.loads(translate_attributes(attributes)["mlflow.spanInputs"])
    return decoded


@pytest.mark.parametrize("case", GOLDEN)
def test_a_span_is_told_to_mlflow_whole(case: str) -> None:
    """All that was there stays, and what is added is exactly the golden pair's other half."""
    attributes, told = GOLDEN[case]

    assert translate_attributes(attributes) == {**attributes, **encoded(told)}


def test_every_kind_of_span_has_a_golden_pair() -> None:
    """A new kind comes with its pair."""
    assert set(KINDS) <= {pair[0]["gen_ai.operation.name"] for pair in GOLDEN.values()}


def test_every_rule_has_a_golden_pair() -> None:
    """A new rule comes with a pair in which it writes something."""
    written = {name for _, told in GOLDEN.values() for name in told}

    assert written == {rule.writes for rule in RULES}


@pytest.mark.parametrize("case", GOLDEN)
def test_rules_name_what_they_read(case: str) -> None:
    """Without the attributes that no rule names, the same comes out."""
    attributes, told = GOLDEN[case]
    read = {name for rule in RULES for name in rule.reads} | {"error.type"}
    needed = {name: value for name, value in attributes.items() if name in read}

    assert translate_attributes(needed) == {**needed, **encoded(told)}


@pytest.mark.parametrize("row", [*RULES, *KINDS.values()], ids=repr)
def test_every_row_links_to_its_source(row: object) -> None:
    """The reason for a row can be looked up."""
    source: str = row.source  # type: ignore[attr-defined]  # both kinds of row have it

    assert source.startswith("https://github.com/")


def test_the_page_of_the_mapping_shows_these_tables() -> None:
    """``python tests/mapping_docs.py`` writes it."""
    assert mapping_docs.PAGE.read_text(encoding="utf-8") == mapping_docs.page()


@pytest.mark.parametrize("case", GOLDEN)
def test_the_page_draws_every_conversation_and_tool(case: str) -> None:
    """MLflow's page draws messages and tools all or nothing: here it draws all."""
    translated = translate_attributes(GOLDEN[case][0])
    conversation = "mlflow.message.format" in translated
    messages = json.loads(translated["mlflow.spanInputs"])["messages"] if conversation else []
    answer = json.loads(translated.get("mlflow.spanOutputs", "{}")) if conversation else {}
    tools = json.loads(translated.get("mlflow.chat.tools", "[]"))

    assert [message for message in messages if not draws_message(message)] == []
    assert [one for one in answer.get("choices", []) if not draws_message(one["message"])] == []
    assert [tool for tool in tools if not draws_tool(tool)] == []


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.request.method": "POST", "session.id": "s" * 250},
        {"gen_ai.operation.name": ""},
        {"gen_ai.operation.name": 7},
        {"gen_ai.request.model": "llama3.2"},
        {"mlflow.spanType": "CHAIN", "mlflow.spanInputs": '{"question": 1}'},
    ],
    ids=repr,
)
def test_other_spans_come_back_as_they_are(attributes: Attributes) -> None:
    """Not even a copy is made of what is no GenAI span."""
    assert translate_attributes(attributes) is attributes


def test_what_somebody_told_mlflow_already_is_kept() -> None:
    """An ``mlflow.*`` attribute on the span goes before ours."""
    own = {"mlflow.spanType": "AGENT", "mlflow.spanInputs": '{"question": "?"}'}

    translated = translate_attributes({**CHAT, **own})

    assert {name: translated[name] for name in own} == own
    assert translated["mlflow.llm.model"] == '"llama3.2"'


def test_the_type_of_a_span_of_mlflow_s_own_sdk_is_found_by_search_too() -> None:
    """The SDK quotes it, and MLflow's index would keep the quotes."""
    own = {"mlflow.spanType": '"CHAIN"', "mlflow.spanInputs": '{"question": 1}'}

    assert translate_attributes(own) == {**own, "mlflow.spanType": "CHAIN"}


def test_an_answer_counts_its_calls_on_from_the_request_s() -> None:
    """Even where somebody told MLflow the inputs, and ours are not needed."""
    call = {"type": "tool_call", "name": "tip"}
    span = {
        **CHAT,
        "gen_ai.input.messages": json.dumps([said("assistant", call)]),
        "gen_ai.output.messages": json.dumps([said("assistant", call)]),
        "mlflow.spanInputs": "{}",
    }

    outputs = json.loads(translate_attributes(span)["mlflow.spanOutputs"])

    assert outputs["choices"][0]["message"]["tool_calls"][0]["id"] == "call_1"


def test_which_providers_are_free_can_be_said() -> None:
    """Another local server costs nothing either, once it is named."""
    local = {
        **CHAT,
        "gen_ai.provider.name": "llama.cpp",
        "gen_ai.usage.output_tokens": 3,
    }
    priced = translate_attributes(local)
    free = translate_attributes(local, free_providers={"llama.cpp"})

    assert free == {**priced, **encoded(added("CHAT_MODEL", llm__cost=_ZERO))}
    assert "mlflow.llm.cost" not in priced


_ZERO = {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.0}


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"input": 3}, (3, 0, 3)),
        ({"output": 4}, (0, 4, 4)),
        ({"input": 0, "output": 0}, (0, 0, 0)),
        ({"input": 3.0, "output": 4}, (3, 4, 7)),
        ({"input": "3", "output": 4}, (0, 4, 4)),
        ({"input": True, "output": -4}, None),
        ({"input": float("nan"), "output": 1 << 63}, None),
    ],
    ids=repr,
)
def test_tokens_are_three_numbers_or_none(
    counts: dict[str, object], usage: tuple[int, int, int] | None
) -> None:
    """The page's header wants all three; what is no count is not taken for one."""
    attributes = {f"gen_ai.usage.{name}_tokens": value for name, value in counts.items()}
    names = ("input_tokens", "output_tokens", "total_tokens")
    expected = None if usage is None else json.dumps(dict(zip(names, usage, strict=True)))

    assert translate_attributes({**CHAT, **attributes}).get("mlflow.chat.tokenUsage") == expected


@pytest.mark.parametrize("name", ["session.id", "gen_ai.conversation.id"])
@pytest.mark.parametrize("span", [{}, CHAT], ids=["any span", "GenAI span"])
def test_a_session_id_that_mlflow_refuses_is_cut(name: str, span: Attributes) -> None:
    """One of 251 characters would cost the whole batch."""
    whole = translate_attributes({**span, "nothing": None, name: "é" * 250})
    cut = translate_attributes({**span, "nothing": None, name: "é" * 251})

    assert cut == whole


@pytest.mark.parametrize("name", ["mlflow.llm.cost", "mlflow.chat.tokenUsage"])
@pytest.mark.parametrize("span", [{}, CHAT], ids=["any span", "GenAI span"])
@pytest.mark.parametrize(
    "value",
    ["null", "7", 7, '"x"', "[]", "no JSON", '{"a": null}', '{"a": "1"}', '{"a": NaN}', (1, 2)],
    ids=repr,
)
def test_sums_that_mlflow_cannot_add_are_left_out(
    value: object, span: Attributes, name: str
) -> None:
    """One of them would cost the whole batch."""
    assert translate_attributes({**span, name: value}) == translate_attributes(span)


@pytest.mark.parametrize("value", ["{}", '{"total_cost": 0.5}', {"total_cost": 1}], ids=repr)
def test_sums_that_mlflow_can_add_are_kept(value: object) -> None:
    """They are somebody's own figures."""
    own = {"mlflow.llm.cost": value, "mlflow.chat.tokenUsage": value}

    assert translate_attributes(own) is own


# Cut and malformed content ------------------------------------------------------------------

CONVERSATION = json.dumps(
    [
        said("user", text("first question")),
        said("assistant", text("first answer")),
        said("user", text("second question")),
    ]
)


def test_a_cut_conversation_is_read_as_far_as_it_goes() -> None:
    """OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT cuts anywhere: what is whole before it stays."""
    cut = CONVERSATION[: CONVERSATION.index("answer") + 3]

    assert inputs({**CHAT, "gen_ai.input.messages": cut})["messages"] == [
        {"role": "user", "content": "first question"},
        {"role": "assistant", "content": "first ans… [cut]"},
    ]


@pytest.mark.parametrize("length", range(5))
def test_half_an_escaped_character_goes_and_the_text_before_it_stays(length: int) -> None:
    """JSON writes a letter like ü in six characters, and the cut comes between them."""
    whole = json.dumps([said("user", text("C:\\Grün"))])
    cut = whole[: whole.index("\\u00fc") + 1 + length]

    assert inputs({**CHAT, "gen_ai.input.messages": cut})["messages"] == [
        {"role": "user", "content": "C:\\Gr… [cut]"}
    ]


@pytest.mark.parametrize("length", range(1, len(CONVERSATION)))
def test_wherever_it_is_cut_the_page_draws_it(length: int) -> None:
    """And no word that came before the cut is lost."""
    cut = CONVERSATION[:length]
    messages = inputs({**CHAT, "gen_ai.input.messages": cut})["messages"]
    shown = json.dumps(messages)

    assert all(draws_message(message) for message in messages)
    for words in ("first question", "first answer", "second question"):
        assert (words in cut) <= (words in shown)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("no JSON at all", "no JSON at all"),
        ("", ""),
        ("[]", "[]"),
        ("7", "7"),
        ("null", "null"),
        ("[" * 100_000, "[" * 100_000),
        ("] no [1", "] no [1"),
        ((10**5000,), f'"{hex(10**5000)}"'),
        (7, "7"),
    ],
    ids=lambda value: str(type(value)),
)
def test_what_is_no_conversation_is_shown_as_the_text_it_is(value: object, content: str) -> None:
    """Nothing that was recorded is thrown away."""
    messages = inputs({**CHAT, "gen_ai.input.messages": value})["messages"]

    assert messages == [{"role": "user", "content": content}]


def test_structured_attributes_are_read_as_well_as_json_text() -> None:
    """Newer SDKs let maps and lists ride on a span as they are."""
    plain = {**CHAT, "gen_ai.input.messages": json.loads(CONVERSATION)}

    assert inputs(plain) == inputs({**CHAT, "gen_ai.input.messages": CONVERSATION})


def test_characters_that_otlp_cannot_carry_are_replaced() -> None:
    """A lone surrogate would make the encoder drop the attribute."""
    translated = translate_attributes(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.call.arguments": "half \ud83d",
            "gen_ai.tool.call.result": '["half \\ud83d"]',
        }
    )

    assert translated == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.call.arguments": "half ?",
        "gen_ai.tool.call.result": '["half \\ud83d"]',
        **encoded(added("TOOL", spanInputs="half ?", spanOutputs=["half ?"])),
    }


def test_documents_of_any_shape_are_kept() -> None:
    """MLflow's retriever schema wants text, metadata and a text for an id."""
    found = ["bare words", 7, {"text": "t", "id": 10**5000}, {"content": 7, "page_content": "p"}]
    translated = translate_attributes(
        {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": found}
    )

    assert json.loads(translated["mlflow.spanOutputs"]) == [
        {"page_content": "bare words", "metadata": {}},
        {"page_content": "7", "metadata": {}},
        {"page_content": "t", "metadata": {}, "id": json.dumps(hex(10**5000))},
        {"page_content": "p", "metadata": {}},
    ]


@pytest.mark.parametrize("text", ["3.10", "1e5", "true", "null", "-0", '"quoted"', "[1] first"])
def test_a_tools_text_stays_the_text_that_it_was(text: str) -> None:
    """Only objects and lists are read as JSON: 3.10 may be a version."""
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.call.result": text,
    }

    assert json.loads(translate_attributes(attributes)["mlflow.spanOutputs"]) == text


def test_numbers_that_json_does_not_have_become_texts() -> None:
    """JavaScript refuses a document with NaN in it."""
    told = inputs(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.call.arguments": '{"a": NaN, "b": 1e999, "c": [-Infinity]}',
        }
    )

    assert told == {"a": "NaN", "b": "inf", "c": ["-Infinity"]}


def test_a_tool_result_that_begins_like_json_is_left_alone() -> None:
    """A tool answers in words too; only messages are known to be JSON, and mended."""
    words = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.call.result": "[1] first, second",
    }

    assert translate_attributes(words)["mlflow.spanOutputs"] == '"[1] first, second"'


# Spans of a real instrumentation library ----------------------------------------------------


def test_a_chat_recorded_by_util_genai(genai: GenAi) -> None:
    """The pairs above are what util-genai really records."""
    span = genai.chat()

    assert inputs(dict(span.attributes or {})) == {
        "model": "llama3.2",
        "messages": [
            {"role": "system", "content": "Answer in one sentence."},
            {"role": "user", "content": QUESTION},
        ],
        "temperature": 0.2,
    }
    assert ANSWER in translate_attributes(dict(span.attributes or {}))["mlflow.spanOutputs"]


def test_importing_the_translation_imports_nothing_heavy() -> None:
    """Neither mlflow nor an HTTP client nor the OpenTelemetry SDK."""
    code = (
        "import sys, ollama_otel.mlflow, ollama_otel.mlflow.translation, ollama_otel.mlflow.sinks\n"
        "heavy = ('mlflow', 'requests', 'opentelemetry.sdk', 'opentelemetry', 'sqlalchemy')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
