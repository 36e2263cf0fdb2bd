"""A server that answers many at once, each in a session, with an experiment for each team.

    pip install "ollama-otel[mlflow]" ollama fastapi uvicorn
    ollama pull llama3.2
    python server.py [model] [port]
    curl --json '{"session": "s-1", "user": "ada", "question": "Why?"}' localhost:8000/physics/chat
    mlflow ui

Every request is a trace. Two teams have an experiment each, and share the process: the trace says
where it belongs, so that no request can change where the others go.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import mlflow
import ollama
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from mlflow.entities import SpanType
from mlflow.entities.trace_location import MlflowExperimentLocation
from pydantic import BaseModel

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 8000  # noqa: PLR2004  (the second one)

TEAMS: Final = ("physics", "finance")


@asynccontextmanager
async def serving(_: FastAPI) -> AsyncIterator[None]:
    """Write what MLflow still holds back when the server is stopped."""
    yield
    await run_in_threadpool(mlflow.flush_trace_async_logging)


app = FastAPI(lifespan=serving)
experiments: dict[str, str] = {}
"""The id of each team's experiment."""


class Question(BaseModel):
    """What is asked, by whom, in which conversation."""

    session: str
    user: str
    question: str


class Answer(BaseModel):
    """What the model said."""

    answer: str


@app.post("/{team}/chat")
async def chat(team: str, asked: Question) -> Answer:
    """Answer in the event loop, beside all other requests."""
    if team not in experiments:
        raise HTTPException(404, f"there is no team {team!r}; what there is: {', '.join(TEAMS)}")
    with mlflow.start_span(
        "POST /chat",
        span_type=SpanType.CHAIN,
        trace_destination=MlflowExperimentLocation(experiments[team]),
    ) as request:
        mlflow.update_current_trace(session_id=asked.session, user=asked.user)
        request.set_inputs({"question": asked.question})
        messages = [{"role": "user", "content": asked.question}]
        answer = (await ollama.AsyncClient().chat(MODEL, messages)).message.content or ""
        request.set_outputs(answer)
    return Answer(answer=answer)


def main() -> None:
    """Make the experiments, and serve."""
    for team in TEAMS:
        experiments[team] = mlflow.set_experiment(f"team-{team}").experiment_id
    ollama_otel.mlflow.autolog()
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")


if __name__ == "__main__":
    main()
