"""An application that binds the SDK's functions by name, and has its server in OLLAMA_HOST.

OLLAMA_HOST=http://127.0.0.1:11434 python module_functions.py
"""

# ruff: noqa: T201 - a script, and it prints

from ollama import chat, embed, embeddings, generate

WHY = "Why is the sky blue?"

answer = chat("scripted", [{"role": "user", "content": WHY}], think=False)
print("chat:", answer.message.content)
chunks = chat("scripted", [{"role": "user", "content": WHY}], think=False, stream=True)
print("streamed chat:", "|".join(chunk.message.content or "" for chunk in chunks))
print("generate:", generate("scripted", WHY, think=False).response)
parts = generate("scripted", WHY, think=False, stream=True)
print("streamed generate:", "|".join(each.response or "" for each in parts))
print("embed:", len(embed("embedder", WHY).embeddings[0]))
print("embeddings:", len(embeddings("embedder", WHY).embedding))
