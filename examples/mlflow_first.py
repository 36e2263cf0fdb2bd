"""MLflow first: two lines, and every call of a model is a trace in MLflow.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    python mlflow_first.py [model]
    mlflow ui

The traces go where MLFLOW_TRACKING_URI says; without it, to the file mlflow.db in this folder.
"""

import sys

import mlflow
import ollama

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
QUESTION = {"role": "user", "content": "Why is the sky blue?"}


def main() -> None:
    """Ask once with tracing, and twice without."""
    mlflow.set_experiment("ollama-tracing")
    ollama_otel.mlflow.autolog()

    # In a notebook the trace shows below the cell. The answer is the SDK's own object.
    print(ollama.chat(MODEL, [QUESTION]).message.content)

    mlflow.flush_trace_async_logging()  # MLflow writes traces in the background
    trace = mlflow.get_trace(mlflow.get_last_active_trace_id() or "")
    if trace is not None:
        print(trace.info.state.value, *(span.name for span in trace.data.spans))

    # Not traced: all of MLflow's tracing is off.
    mlflow.tracing.disable()
    ollama.chat(MODEL, [QUESTION])
    mlflow.tracing.enable()

    # Not traced: the calls of Ollama alone are left out.
    ollama_otel.mlflow.autolog(disable=True)
    ollama.chat(MODEL, [QUESTION])


if __name__ == "__main__":
    main()
