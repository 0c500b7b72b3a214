"""A server in the manner of vLLM's `/classify` and SGLang's `/v1/classify`, by stock transformers, one text at a time."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoModelForSequenceClassification


class Classifier:
    """`with Classifier(model) as server: server.url`. asked: the requests. answer: given in place of the model's, if set."""

    def __init__(self, model: str | Path, *, path: str = "/classify", key: str | None = None) -> None:
        self._model = AutoModelForSequenceClassification.from_pretrained(model).eval()
        self.asked: list[dict[str, Any]] = []
        self.answer: Any = None
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if key is not None and self.headers["Authorization"] != f"Bearer {key}":
                    self._send(401, {"error": "Unauthorized"})
                elif self.path != path:
                    self._send(404, {"detail": "Not Found"})
                else:
                    owner.asked.append(body)
                    self._send(200, owner._classified(body) if owner.answer is None else owner.answer)

            def _send(self, status: int, content: Any) -> None:
                if isinstance(content, str):  # an address: a redirect
                    self.send_response(307)
                    self.send_header("Location", content)
                    self.end_headers()
                    return
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @torch.inference_mode()
    def _classified(self, body: dict[str, Any]) -> dict[str, Any]:
        data = []
        for index, ids in enumerate(body["input"]):
            logits = self._model(input_ids=torch.tensor([ids])).logits[0]
            activated = logits.softmax(0) if len(logits) > 1 else logits.sigmoid()
            probs = (activated if body.get("use_activation", True) else logits).tolist()
            label = self._model.config.id2label[int(logits.argmax())]
            data.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
        data.reverse()  # the order is the index's, not the list's
        return {"id": "classify-1", "object": "list", "created": 0, "model": body["model"], "data": data, "usage": {}}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
