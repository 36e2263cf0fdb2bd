"""Retrieval: documents that suit the question, and an answer from them, as one trace.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2 && ollama pull all-minilm
    python rag.py [model] [embedding model]
    mlflow ui

In MLflow:

    answer                     AGENT
    ├── retrieve               RETRIEVER   the documents, as MLflow shows them
    │   └── embeddings ...     EMBEDDING
    └── answer_from            CHAIN
        └── chat ...           CHAT_MODEL

The documents are embedded before, which is a trace of its own.
"""

import sys
from collections.abc import Sequence

import mlflow
import ollama
from mlflow.entities import Document, SpanType

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
EMBEDDER = sys.argv[2] if len(sys.argv) > 2 else "all-minilm"  # noqa: PLR2004  (the second one)

QUESTION = "Why is the sky blue?"
LIBRARY = {
    "sky.md": "The sky is blue because air scatters blue light.",
    "sea.md": "Most of the sea is salt water.",
    "tips.md": "A tip of 22 % of $187.32 is $41.21.",
}
index: dict[str, Sequence[float]] = {}
"""The vectors of the library; not an argument, or they would be among the inputs of a span."""


def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
    """Return one vector for each text."""
    return ollama.embed(EMBEDDER, texts).embeddings


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors, which Ollama makes of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


@mlflow.trace(span_type=SpanType.RETRIEVER)
def retrieve(question: str, count: int) -> list[Document]:
    """Return the documents that are most like the question."""
    (wanted,) = embed([question])
    best = sorted(index, key=lambda name: likeness(index[name], wanted), reverse=True)
    return [Document(LIBRARY[name], metadata={"doc_uri": name}) for name in best[:count]]


@mlflow.trace(span_type=SpanType.CHAIN)
def answer_from(documents: list[Document], question: str) -> str:
    """Let the model answer from the documents."""
    known = "\n".join(document.page_content for document in documents)
    messages = [
        {"role": "system", "content": f"Answer from these notes only:\n{known}"},
        {"role": "user", "content": question},
    ]
    return ollama.chat(MODEL, messages).message.content or ""


@mlflow.trace(span_type=SpanType.AGENT)
def answer(question: str) -> str:
    """Find what is known, and answer from it."""
    return answer_from(retrieve(question, count=2), question)


def main() -> None:
    """Embed the library, and ask it."""
    mlflow.set_experiment("ollama-tracing")
    ollama_otel.mlflow.autolog()

    index.update(zip(LIBRARY, embed([*LIBRARY.values()]), strict=True))
    print(answer(QUESTION))


if __name__ == "__main__":
    main()
