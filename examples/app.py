"""A small application that knows nothing of telemetry: one question, answered as it comes.

    ollama pull llama3.2
    opentelemetry-instrument python app.py

Without telemetry: python app.py
"""

import ollama

QUESTION = "Briefly describe the components of an MLflow model"


def main() -> None:
    """Ask, and print the answer word by word."""
    messages = [{"role": "user", "content": QUESTION}]
    for chunk in ollama.chat("llama3.2", messages, stream=True):
        print(chunk.message.content, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
