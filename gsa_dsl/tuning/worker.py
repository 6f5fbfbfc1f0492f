"""A child process that measures: reads requests as JSON lines, answers each with one line, survives nothing.

``python -m gsa_dsl.tuning.worker MODULE:FACTORY`` calls FACTORY with the :class:`Job` of the first line. Whatever
kernels print goes to standard error. When the parent goes away, so does the child, also out of a kernel that hangs.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gsa_dsl.tuning.job import Failure, Job
from gsa_dsl.tuning.space import config_from_json

if TYPE_CHECKING:
    from gsa_dsl.tuning.measure import Runner


def serve(factory: str) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    module, _, name = factory.partition(":")
    runner: Runner | None = None
    while True:
        request = json.loads(requests.get())
        try:
            if runner is None:
                runner = getattr(import_module(module), name)(Job(**request))
                answer: dict[str, Any] = {"done": True}
            else:
                answer = _answer(runner, request)
        except Exception as error:
            # Everything becomes an answer: the parent decides what a failure means.
            answer = {"failure": asdict(failure(error))}
        print(json.dumps(answer), file=answers, flush=True)


def _listen(requests: queue.Queue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def _answer(runner: Runner, request: Mapping[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "ready":
            return {"done": True}
        case "compile":
            runner.compile(config_from_json(request["config"]), request["part"], request["parts"])
            return {"done": True}
        case "inputs":
            runner.inputs(request["length"])
            return {"done": True}
        case "check":
            runner.check(config_from_json(request["config"]))
            return {"done": True}
        case "prove":
            runner.prove(config_from_json(request["config"]))
            return {"done": True}
        case "time":
            configs = [config_from_json(config) for config in request["configs"]]
            options = {name: request[name] for name in ("length", "repeats", "seconds", "kernels")}
            return {"timings": [asdict(timing) for timing in runner.time(configs, **options)]}
        case "overlap":
            return {"overlap": runner.overlap(request["length"])}
    raise ValueError(f"unknown request {request['do']!r}")


def failure(error: BaseException) -> Failure:
    """What went wrong, sorted by kind; the kernel is named where a launch failed."""
    kernel = getattr(error, "kernel", None)
    cause = error.__cause__ if kernel is not None and error.__cause__ is not None else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    detail = (lines[0] if lines else type(cause).__name__)[:300]
    if type(cause).__name__ in ("OutOfResources", "OutOfMemoryError"):
        kind = "out of resources"
    elif type(cause).__name__ == "WrongResult":
        kind = "wrong result"
    else:
        kind, detail = "error", f"{type(cause).__name__}: {detail}"
    return Failure(kind, detail, kernel)


if __name__ == "__main__":
    serve(sys.argv[1])
