"""What a worker does with its model: takes requests, prepares, computes, answers.

Frames are read on the main thread, requests are made into tokens by a few others, and one computes:
llama.cpp's contexts are not thread-safe, and each thread that computes would get its own pool of
OpenMP threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from logging import WARNING
from typing import Any, Final

from one_api.adapter import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    GatewayError,
    InternalError,
    InvalidRequest,
    JsonObject,
    UpstreamError,
)
from one_api_llamacpp.answers import Answer
from one_api_llamacpp.batching import BatchEngine
from one_api_llamacpp.embedding_queue import EmbeddingQueue
from one_api_llamacpp.frames import Answered, Count, MalformedFrame, answers_to_wire, error_to_wire
from one_api_llamacpp.jobs import Job, Output
from one_api_llamacpp.language_model import Tokeniser
from one_api_llamacpp.prompt import PromptMaker
from one_api_llamacpp.template import CHATML, ChatTemplate, InvalidTemplate
from one_api_llamacpp.vitals import Vitals
from one_api_llamacpp.worker_settings import WorkerSettings

#: Threads that make requests into tokens: a long conversation is not to hold up the others.
_PREPARERS: Final = 2


class ModelWorker:
    """One model and the requests that ask it; `send` takes messages to the parent."""

    def __init__(self, settings: WorkerSettings, send: Callable[[JsonObject], None]) -> None:
        self._settings = settings
        self._send = send
        self._preparers = ThreadPoolExecutor(_PREPARERS, thread_name_prefix="prepare")
        self._wake = threading.Event()
        self._vitals = Vitals()
        #: Guards the two that follow.
        self._lock = threading.Lock()
        #: Requests that are not answered yet; None while their prompts are made.
        self._requests: dict[int, Answer | None] = {}
        self._answers: dict[Job, Answer] = {}
        self._engine: BatchEngine | None = None
        self._prompts: PromptMaker | None = None
        self._weights: Any = None
        self._is_pooling_wanted = threading.Event()
        self._pooling: Future[EmbeddingQueue] = Future()
        self._kinds: dict[str, Callable[[int, str, JsonObject], None]] = {
            "chat": self._chat,
            "completion": self._complete,
            "embedding": self._embed,
            "count": self._count,
        }

    # On the main thread

    def take(self, message: JsonObject) -> None:
        """Begin or end what `message` says.

        Raises: MalformedFrame.
        """
        id_ = message.get("id")
        if not isinstance(id_, int):
            raise MalformedFrame("a request without a number")
        if message["kind"] == "cancel":
            self._cancel(id_)
            return
        if message["kind"] not in self._kinds:
            raise MalformedFrame("a frame of an unknown kind")
        with self._lock:
            self._requests[id_] = None
        self._preparers.submit(self._prepare, id_, message)

    def _cancel(self, id_: int) -> None:
        answer = self._forget(id_)
        if answer is not None and self._engine is not None:
            for job in answer.jobs:
                self._engine.cancel(job)
        if self._pooling.done() and not self._pooling.exception():
            self._pooling.result().cancel(id_)
        self._wake.set()

    # On the preparers' threads

    def _prepare(self, id_: int, message: JsonObject) -> None:
        try:
            self._kinds[message["kind"]](id_, message["caller"], message["body"])
        except GatewayError as exc:
            self._fail(id_, exc)
        except Exception as exc:  # noqa: BLE001 - whoever asked must hear of it
            self._report(exc)
            self._fail(id_, InternalError("The local model could not be asked."))
        self._wake.set()

    def _chat(self, id_: int, caller: str, body: JsonObject) -> None:
        # Checked by the gateway, which also writes what clients may not: more stop sequences.
        request = ChatCompletionRequest.model_construct(**body)
        prompt = self._maker().make(request)
        self._submit(Answer(id_, caller=caller, prompts=[prompt], number=request.n or 1))

    def _complete(self, id_: int, caller: str, body: JsonObject) -> None:
        request = CompletionRequest.model_construct(**body)
        maker = self._maker()
        prompts = [maker.make_raw(request, given) for given in request.prompts]
        self._submit(Answer(id_, caller=caller, prompts=prompts, number=request.n or 1))

    def _count(self, id_: int, _: str, body: JsonObject) -> None:
        prompt = self._maker().make(ChatCompletionRequest.model_construct(**body))
        self._emit([Answered(id_, [Count(len(prompt.tokens))], is_last=True)])

    def _embed(self, id_: int, caller: str, body: JsonObject) -> None:
        request = EmbeddingRequest.model_construct(**body)
        self._is_pooling_wanted.set()
        self._wake.set()
        pooling = self._pooling.result()
        with self._lock:
            if id_ not in self._requests:
                return
        pooling.submit(id_, caller, request)

    def _submit(self, answer: Answer) -> None:
        engine = self._engine
        if engine is None:
            raise self._only_embeds()
        with self._lock:
            if answer.id not in self._requests:
                return  # cancelled meanwhile
            engine.submit(answer.jobs)
            self._requests[answer.id] = answer
            self._answers.update(dict.fromkeys(answer.jobs, answer))

    def _maker(self) -> PromptMaker:
        if self._prompts is None:
            raise self._only_embeds()
        return self._prompts

    def _only_embeds(self) -> GatewayError:
        return InvalidRequest(
            f"The model '{self._settings.name}' only makes embeddings.", param="model"
        )

    # On the engine's thread

    def run(self) -> None:
        """Load the model and compute for good; returns only if it cannot be loaded."""
        try:
            self._load()
        except UpstreamError as exc:
            self._send({"kind": "failed", "error": error_to_wire(exc)})
            return
        self._send(
            {
                "kind": "loaded",
                "context_tokens": self._weights.context_tokens,
                "readings": self._vitals.read(self._engine),
            }
        )
        while True:
            self._wake.clear()
            is_busy = self._step()
            if self._vitals.is_due(is_busy=is_busy):
                self._send({"kind": "readings", "readings": self._vitals.read(self._engine)})
            if not is_busy:
                self._wake.wait()

    def _step(self) -> bool:
        if self._is_pooling_wanted.is_set() and not self._pooling.done():
            self._open_pooling()
        is_busy = self._engine.step() if self._engine is not None else False
        if self._pooling.done() and not self._pooling.exception():
            is_busy |= self._pooling.result().step()
        return is_busy

    def _load(self) -> None:
        """Load the weights, and what is needed to answer.

        Raises: UpstreamError.
        """
        # Not before the settings are there: the import loads llama.cpp's library and numpy.
        from one_api_llamacpp.native_log import NativeLog
        from one_api_llamacpp.native_model import CannotLoad, NativeModel, NativeWeights

        settings = self._settings
        try:
            self._weights = NativeWeights(settings, NativeLog(self._tell), self._tell)
            if settings.kind == "embedding":
                self._open_pooling()
                self._pooling.result()
                return
            model = NativeModel(self._weights)
            self._prompts = PromptMaker(model.tokeniser, self._template(model.tokeniser))
        except CannotLoad as exc:
            raise self._cannot_load(str(exc)) from exc
        except InvalidTemplate as exc:
            self._tell(WARNING, f"Local model '{settings.name}' has a wrong template: {exc}")
            raise UpstreamError(
                f"The local model '{settings.name}' cannot be used: its chat template is wrong."
            ) from exc
        self._engine = BatchEngine(
            model,
            name=settings.name,
            queue_limit=settings.queue,
            emit=self._take_outputs,
            report=self._report,
        )

    def _open_pooling(self) -> None:
        from one_api_llamacpp.native_model import CannotLoad
        from one_api_llamacpp.native_pooling import NativePooling

        try:
            pooling = NativePooling(self._weights)
        except CannotLoad as exc:
            self._pooling.set_exception(self._cannot_load(str(exc)))
            return
        self._pooling.set_result(
            EmbeddingQueue(
                pooling,
                name=self._settings.name,
                queue_limit=self._settings.queue,
                emit=self._emit,
            )
        )

    def _template(self, tokeniser: Tokeniser) -> ChatTemplate:
        vocabulary = tokeniser.vocabulary
        source = self._settings.chat_template or vocabulary.chat_template
        if source is None:
            self._tell(
                WARNING,
                f"The file of local model '{self._settings.name}' has no chat template: ChatML is "
                "used, and answers will be poor if the model was trained on another format",
            )
        return ChatTemplate(source or CHATML, bos=vocabulary.bos, eos=vocabulary.eos)

    def _cannot_load(self, reason: str) -> UpstreamError:
        name = self._settings.name
        self._tell(WARNING, f"Local model '{name}' cannot be loaded: {reason}")
        return UpstreamError(
            f"The local model '{name}' cannot be loaded: its file is damaged, it is of a kind that "
            "this version of llama.cpp does not run, or memory is short."
        )

    def _take_outputs(self, outputs: Sequence[Output]) -> None:
        """Tell the parent what all requests got in one step."""
        by_answer: dict[Answer, list[Output]] = {}
        with self._lock:
            for output in outputs:
                answer = self._answers.get(output.job)
                if answer is not None:
                    by_answer.setdefault(answer, []).append(output)
        self._emit([answer.take(of_it) for answer, of_it in by_answer.items()])

    # On any thread

    def _emit(self, answered: Sequence[Answered]) -> None:
        for part in answered:
            if part.is_last:
                answer = self._forget(part.id)
                if answer is not None and self._engine is not None and part.error is not None:
                    for job in answer.jobs:
                        self._engine.cancel(job)
        if answered:
            self._send(answers_to_wire(answered))

    def _fail(self, id_: int, error: GatewayError) -> None:
        self._emit([Answered(id_, is_last=True, error=error)])

    def _forget(self, id_: int) -> Answer | None:
        with self._lock:
            answer = self._requests.pop(id_, None)
            if answer is not None:
                for job in answer.jobs:
                    del self._answers[job]
            return answer

    def _tell(self, level: int, text: str) -> None:
        self._send({"kind": "log", "level": level, "text": text})

    def _report(self, error: Exception) -> None:
        """Tell the operator of a fault of ours, without what a request said."""
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f" in {place.tb_frame.f_code.co_qualname}" if place is not None else ""
        name = self._settings.name
        self._tell(WARNING, f"Local model '{name}' failed: {type(error).__name__}{where}")
