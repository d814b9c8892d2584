"""The peers' side of `cargo xtask bench-peers`: requests and replies as lines of JSON.

A peer is a long-lived process, so that neither its start nor the loading of a model is ever part of a measurement.
It prepares one work at a time and then runs it on request:

    {"do": "versions"}                                  -> {"versions": {...}}
    {"do": "prepare", "work": NAME, "threads": N, ...}  -> {"ready": true}
    {"do": "check", "into": FILE}                       -> {"tensors": FILE}     results of one run, as safetensors
    {"do": "run"}                                       -> {"seconds": S}        one timed run
    {"do": "release"}                                   -> {"ready": true}

A work is a class: its constructor takes the fields of `prepare`, `run()` does the work and returns nothing, `check()`
does it and returns named tensors. What goes wrong comes back as {"error": TEXT}.
"""
import gc
import json
import os
import platform
import sys
import time
import traceback

import torch
from safetensors.torch import save_file


def serve(works, versions):
    """Answers requests until stdin ends. `works` maps names to classes."""
    # Libraries print to stdout; replies go to a copy of it that they do not know.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = Peer(works, versions)
    for line in sys.stdin:
        try:
            reply = peer.answer(json.loads(line))
        except Exception as error:  # the other side decides what a failure means
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


class Peer:
    def __init__(self, works, versions):
        self.works, self.versions, self.work = works, versions, None

    def answer(self, request):
        match request.pop("do"):
            case "versions":
                return {"versions": {"python": platform.python_version(), **self.versions}}
            case "prepare":
                self.release()
                torch.set_num_threads(request.pop("threads"))
                self.work = self.works[request.pop("work")](**request)
                return {"ready": True}
            case "check":
                tensors = {name: tensor.detach().contiguous() for name, tensor in self.work.check().items()}
                save_file(tensors, request["into"])
                return {"tensors": request["into"]}
            case "run":
                begin = time.perf_counter()
                self.work.run()
                return {"seconds": time.perf_counter() - begin}
            case "release":
                self.release()
                return {"ready": True}
            case other:
                raise ValueError(f"unknown request {other!r}")

    def release(self):
        self.work = None
        gc.collect()
