"""LlamaIndex: its span of a chat, and below it the call that was made to Ollama.

pip install "ollama-otel[mlflow]" llama-index-core llama-index-llms-ollama
ollama pull llama3.2
python llamaindex_chat.py [model]
mlflow ui
"""

import os
import sys

import mlflow
from llama_index.core.llms import ChatMessage
from llama_index.llms.ollama import Ollama  # type: ignore[import-untyped]  # LlamaIndex's

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"


def main() -> None:
    """Ask once."""
    mlflow.set_experiment("ollama-tracing")
    mlflow.llama_index.autolog()
    ollama_otel.mlflow.autolog()

    # LlamaIndex does not look at OLLAMA_HOST itself.
    host = os.environ.get("OLLAMA_HOST", "http://localhost:11434")
    llm = Ollama(model=MODEL, base_url=host, context_window=4096)
    print(llm.chat([ChatMessage(role="user", content="Why is the sky blue?")]).message.content)


if __name__ == "__main__":
    main()
