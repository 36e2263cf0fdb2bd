"""LangChain: a chain with ChatOllama, its steps and the call of the model as one trace.

    pip install "ollama-otel[mlflow]" langchain-ollama
    ollama pull llama3.2
    python langchain_chat.py [model]
    mlflow ui

In MLflow:

    RunnableSequence            CHAIN
    ├── ChatPromptTemplate      CHAIN
    ├── ChatOllama              CHAT_MODEL   what LangChain knows
    │   └── chat llama3.2       CHAT_MODEL   what went to Ollama and came back, with its tokens
    └── StrOutputParser         CHAIN

The tokens of the call are counted once for the trace, though both spans tell them.
"""

import asyncio
import sys

import mlflow
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_ollama import ChatOllama

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"


def main() -> None:
    """Run the chain, and run it again in an event loop."""
    mlflow.set_experiment("ollama-tracing")
    # Inline, or the spans of what runs in an event loop would not be current there.
    mlflow.langchain.autolog(run_tracer_inline=True)
    ollama_otel.mlflow.autolog()

    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "{question}")])
    chain = prompt | ChatOllama(model=MODEL) | StrOutputParser()
    question = {"question": "Why is the sky blue?"}
    print(chain.invoke(question))
    print(asyncio.run(chain.ainvoke(question)))


if __name__ == "__main__":
    main()
