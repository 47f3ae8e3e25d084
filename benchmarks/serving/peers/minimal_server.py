# mypy: ignore-errors
"""The peer that everyone writes first: SentenceTransformer.encode behind FastAPI. `python minimal_server.py MODEL PORT`."""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1])
model.max_seq_length = 256
app = FastAPI()


class Body(BaseModel):
    input: str | list[str]
    model: str = ""


@app.post("/v1/embeddings")
def embeddings(body: Body) -> dict:
    texts = [body.input] if isinstance(body.input, str) else body.input
    vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return {"data": [{"index": n, "embedding": v.tolist()} for n, v in enumerate(vectors)]}


@app.get("/readyz")
def ready() -> str:
    return "ok"


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
