"""llama-cpp-python's high-level API under a lock: a contender, as a program of its own.

    python -m benchmarks.local.locked_llama MODEL THREADS CONTEXT_TOKENS

Every line on the standard input is a stint, every line on the output its answers; an empty list
says that the model is loaded. Each client has a thread, as in a threaded web server, and the lock
is one of `threading`: nothing says whose turn it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from llama_cpp import Llama

from benchmarks.local.stints import Answer, Prompt, Stint, Watch


class LockedLlama:
    """One model, which answers one prompt at a time."""

    def __init__(self, model: str, *, threads: int, context_tokens: int) -> None:
        self._llama: Any = Llama(
            model,
            n_ctx=context_tokens,
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )
        self._lock = threading.Lock()

    def work(self, stint: Stint) -> list[Answer]:
        """The answers to `stint`."""
        answers: list[Answer] = []
        # A list's iterator gives no item twice, whichever threads ask it.
        arguments = (iter(stint.prompts), stint.tokens, answers)
        clients = [
            threading.Thread(target=self._serve, args=arguments, daemon=True)
            for _ in range(stint.clients)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return answers

    def _serve(self, prompts: Iterator[Prompt], tokens: int, answers: list[Answer]) -> None:
        for prompt in prompts:
            watch = Watch()
            with self._lock:
                chunks = self._llama.create_completion(
                    list(prompt), max_tokens=tokens, temperature=0.0, stream=True
                )
                for chunk in chunks:
                    if chunk["choices"][0]["text"]:
                        watch.see()
                        watch.tokens += 1
            answers.append(watch.answer())


def _tell(answers: Sequence[Answer]) -> None:
    sys.stdout.buffer.write(orjson.dumps([answer.to_wire() for answer in answers]) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Answer stints until the input ends."""
    model, threads, context_tokens = sys.argv[1:]
    llama = LockedLlama(model, threads=int(threads), context_tokens=int(context_tokens))
    _tell([])
    for line in sys.stdin.buffer:
        _tell(llama.work(Stint.from_wire(orjson.loads(line))))


if __name__ == "__main__":
    main()
