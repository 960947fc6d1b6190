"""transformers behind FastAPI, as `serving.py` asks it.

python fastapi_side.py entities|answers CHECKPOINT threads|"in turn"

Says its address on standard error once it is ready.
"""

import os
import sys
import threading
from contextlib import nullcontext
from typing import Any

import torch
import transformers
import uvicorn
from _question_answering import QuestionAnswerer
from fastapi import FastAPI
from pydantic import BaseModel

LENGTH, STRIDE = 384, 128  # Those of the pipeline of earlier versions.


class Asked(BaseModel):
    """A text, or a question and a context."""

    instance: str | dict[str, str]


def main() -> None:
    what, checkpoint, way = sys.argv[1:]
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # FastAPI runs such endpoints in threads of its own.
    in_turn = way == "in turn"
    torch.set_num_threads((os.cpu_count() or 1) if in_turn else 1)
    turn: Any = threading.Lock() if in_turn else nullcontext()
    app = FastAPI()

    if what == "entities":
        find = transformers.pipeline(
            "token-classification", checkpoint, aggregation_strategy="simple"
        )

        @app.post("/predict")
        def predict(asked: Asked) -> list[dict[str, Any]]:
            with turn:
                found = find(asked.instance)
            return [{**one, "score": float(one["score"])} for one in found]

    else:
        answerer = QuestionAnswerer(checkpoint, LENGTH, STRIDE)

        @app.post("/predict")
        def predict(asked: Asked) -> dict[str, Any]:
            columns = [asked.instance["question"]], [asked.instance["context"]]
            with turn:
                (answer,) = answerer.answers_one_by_one(*columns)
            return {"answer": answer}

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            port = self.servers[0].sockets[0].getsockname()[1]
            print(f"http://127.0.0.1:{port}", file=sys.stderr, flush=True)

    Server(uvicorn.Config(app, port=0, log_level="warning")).run()


if __name__ == "__main__":
    main()
