"""A small application that knows nothing of telemetry: one question, answered as it comes.

    ollama pull llama3.2
    opentelemetry-instrument python app.py [model]

The README says which variables name the place where the traces go.
Without telemetry: python app.py
"""

import sys

import ollama

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
QUESTION = "Briefly describe the components of an MLflow model"


def main() -> None:
    """Ask, and print the answer word by word."""
    messages = [{"role": "user", "content": QUESTION}]
    for chunk in ollama.chat(MODEL, messages, stream=True):
        print(chunk.message.content, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
