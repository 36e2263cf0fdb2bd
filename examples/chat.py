"""A chat, in one piece and word by word.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    python chat.py [model]
    mlflow ui

In MLflow the first trace is a span of type CHAT_MODEL with the conversation and its tokens. In the
second the same lies below a function of the program that hands the answer on as it comes; the
reducer says what MLflow shows as that function's output.
"""

import sys
from collections.abc import Iterator

import mlflow
import ollama

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
QUESTION = "Briefly describe the components of an MLflow model"


def ask(question: str) -> ollama.ChatResponse:
    """Ask, and get the answer in one piece."""
    return ollama.chat(model=MODEL, messages=[{"role": "user", "content": question}])


@mlflow.trace(output_reducer="".join)
def ask_for_words(question: str) -> Iterator[str]:
    """Ask, and get the answer word by word."""
    messages = [{"role": "user", "content": question}]
    for chunk in ollama.chat(model=MODEL, messages=messages, stream=True):
        yield chunk.message.content or ""


def main() -> None:
    """Ask both ways, and print the answers."""
    mlflow.set_experiment("ollama-tracing")
    ollama_otel.mlflow.autolog()

    print(ask(QUESTION).message.content)
    for word in ask_for_words(QUESTION):
        print(word, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
