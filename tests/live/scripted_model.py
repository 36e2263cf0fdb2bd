"""Write models of a few megabytes that make a real Ollama server answer from a script.

No weights are downloaded. The network is a lookup table in the shape of a Llama: the embedding is
the identity, attention and feed-forward are zero, so the state before the output layer is a one-hot
of the current token, and one large entry per column of the output layer makes every next token a
function of the current one. A template picks the script: it ends the prompt with a trigger token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

VOCABULARY_SIZE = 512  # also the width of the embedding, which is the identity
FEED_FORWARD = 32
HEADS = 8
CONTEXT_LENGTH = 4096

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
FIRST_BYTE = 3  # the byte tokens follow the three special ones

NEXT_TOKEN_WEIGHT = 2.0
# A grammar (`format=...`) forbids the scripted token; these let it finish all the same. The order
# of the weights says what a JSON grammar gets where it has a choice; the quotation mark leads by
# more than the 10 % that the default repeat penalty takes from it.
GRAMMAR_WEIGHTS = {'"': 0.19, "}": 0.14, "]": 0.13, ":": 0.12, ",": 0.11, "{": 0.10, "1": 0.09}
END_WEIGHT = 0.2


@dataclass(frozen=True)
class Script:
    """One answer: the token that triggers it, and the words that follow."""

    trigger: str
    words: tuple[str, ...]
    repeats: bool = False


# No word may occur twice: its successor would be ambiguous.
SCRIPTS = (
    Script(
        "<|plain|>",
        ("The", " sky", " is", " blue", " because", " air", " scatters", " light", "."),
    ),
    Script(
        "<|think|>",
        (
            *("<think>", "Let", " me", " reason", " about", " it", "</think>"),
            *("Blue", " wave", " wins", "!"),
        ),
    ),
    Script(
        "<|tool|>",
        (
            "<tool_call>",
            '{"name": "calculate_tip", ',
            '"arguments": {"bill_amount": 187.32, ',
            '"tip_percentage": 22}}',
            "</tool_call>",
        ),
    ),
    Script(
        "<|both|>",
        (
            "<tool_call>\n",
            '{"name": "get_weather", "arguments": {"city": "Paris"}}',
            "\n</tool_call>\n",
            "\n<tool_call>",
            '{"name": "get_weather", "arguments": {"city": "Tokyo"}}',
            "\n</tool_call>",
        ),
    ),
    Script("<|result|>", ("Your", " tip", " comes", " to", " $", "41.21", ".\n")),
    Script("<|loop|>", ("la", " lala", " lalala"), repeats=True),
)

# Ollama reads the tags of tool calls and of thinking out of the template, and the request's tools,
# `think` and last message choose the trigger.
TEMPLATE = (
    "{{- $last := index .Messages (len (slice .Messages 1)) -}}"
    "{{- range .Messages }}[{{ .Role }}]"
    "{{- if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}"
    "{{- if .ToolCalls }}{{ range .ToolCalls }}<tool_call>"
    '{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}'
    "</tool_call>{{ end }}{{ end }}"
    "{{- end }}"
    '{{- if eq $last.Role "tool" }}<|result|>'
    '{{- else if eq $last.Content "loop" }}<|loop|>'
    '{{- else if eq $last.Content "both" }}<|both|>'
    "{{- else if .Tools }}<|tool|>"
    "{{- else if .Think }}<|think|>"
    "{{- else }}<|plain|>{{ end }}"
)


def write_scripted_model(path: Path) -> None:
    """Write a chat model that answers from SCRIPTS."""
    _write(path, np.eye(VOCABULARY_SIZE, dtype=np.float32), pooling=None)


def write_embedding_model(path: Path) -> None:
    """Write an embedding model: the mean of one-hots, blind to the special tokens."""
    embedding = np.eye(VOCABULARY_SIZE, dtype=np.float32)
    embedding[:FIRST_BYTE] = 0
    _write(path, embedding, pooling=gguf.PoolingType.MEAN)


def _write(
    path: Path, embedding: npt.NDArray[np.float32], pooling: gguf.PoolingType | None
) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer)
    _add_tokenizer(writer)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    for name, tensor in _tensors(embedding):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_block_count(1)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(VOCABULARY_SIZE)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(VOCABULARY_SIZE // HEADS)
    writer.add_vocab_size(VOCABULARY_SIZE)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    pieces = list(_vocabulary())
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in pieces])
    writer.add_token_types([kind for _, kind in pieces])
    writer.add_token_scores([0.0] * len(pieces))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(value=False)


def _vocabulary() -> Iterator[tuple[str, gguf.TokenType]]:
    """Give each token's text and type, padded to the vocabulary's size."""
    pieces = [(UNKNOWN, gguf.TokenType.UNKNOWN)]
    pieces += [(text, gguf.TokenType.CONTROL) for text in (BEGIN, END)]
    pieces += [(f"<0x{byte:02X}>", gguf.TokenType.BYTE) for byte in range(256)]
    for script in SCRIPTS:
        pieces.append((script.trigger, gguf.TokenType.CONTROL))
        pieces += [(word, gguf.TokenType.USER_DEFINED) for word in script.words]
    yield from pieces
    for index in range(len(pieces), VOCABULARY_SIZE):
        yield f"<|unused{index}|>", gguf.TokenType.UNUSED


def _tensors(
    embedding: npt.NDArray[np.float32],
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    width = VOCABULARY_SIZE
    ones = np.ones(width, dtype=np.float32)
    square = np.zeros((width, width), dtype=np.float32)
    yield "token_embd.weight", embedding
    yield "output_norm.weight", ones
    yield "output.weight", _output_weights()
    for norm in ("attn_norm", "ffn_norm"):
        yield f"blk.0.{norm}.weight", ones
    for projection in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield f"blk.0.{projection}.weight", square
    yield "blk.0.ffn_gate.weight", np.zeros((FEED_FORWARD, width), dtype=np.float32)
    yield "blk.0.ffn_up.weight", np.zeros((FEED_FORWARD, width), dtype=np.float32)
    yield "blk.0.ffn_down.weight", np.zeros((width, FEED_FORWARD), dtype=np.float32)


def _output_weights() -> npt.NDArray[np.float32]:
    """Make row `next`, column `current` large for every pair that a script holds."""
    ids = {text: index for index, (text, _) in enumerate(_vocabulary())}
    weights = np.zeros((VOCABULARY_SIZE, VOCABULARY_SIZE), dtype=np.float32)
    for character, weight in GRAMMAR_WEIGHTS.items():
        weights[FIRST_BYTE + ord(character)] = weight
    weights[ids[END]] = END_WEIGHT
    for current, following in _successions():
        weights[ids[following], ids[current]] = NEXT_TOKEN_WEIGHT
    return weights


def _successions() -> Iterator[tuple[str, str]]:
    for script in SCRIPTS:
        last = script.words[0] if script.repeats else END
        yield from zip((script.trigger, *script.words), (*script.words, last), strict=True)
