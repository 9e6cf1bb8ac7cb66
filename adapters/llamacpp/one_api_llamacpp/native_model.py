"""A model that answers several sequences at a time, through llama-cpp-python's C bindings.

Importing this module imports llama_cpp and loads its library. The high-level `Llama` class is not
used: it has one sequence, adds no BOS to templated prompts, withholds text after an undecodable
byte, and has other defaults than OpenAI's. All here was checked against llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import llama_cpp.llama_cpp as llama
from typing_extensions import override

from one_api.adapter import UpstreamServerError
from one_api_llamacpp.batch_model import (
    BatchModel,
    Interrupted,
    MemoryFull,
    Part,
    Sampler,
)
from one_api_llamacpp.native_batch import NativeBatch
from one_api_llamacpp.native_log import NativeLog, Tell
from one_api_llamacpp.native_sampler import NativeSampler
from one_api_llamacpp.native_vocabulary import NativeVocabulary
from one_api_llamacpp.sampling import Sampling
from one_api_llamacpp.thread_count import ThreadCount, can_tell_waiting, waited_s
from one_api_llamacpp.worker_settings import WorkerSettings

_NO_CELLS: Final = 1
_ABORTED: Final = 2
_TO_END: Final = -1
_KV_TYPES: Final = {"f16": llama.GGML_TYPE_F16, "q8_0": llama.GGML_TYPE_Q8_0}
_FLASH_ATTENTION: Final = {
    "auto": llama.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


class CannotLoad(Exception):
    """llama.cpp does not take the model; the message has its own words."""


class NativeWeights:
    """What is in the model's file, for all contexts over it.

    Raises: CannotLoad.
    """

    def __init__(self, settings: WorkerSettings, log: NativeLog, tell: Tell) -> None:
        self._log = log
        self.settings = settings
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = settings.gpu_layers
        self._progress = _Progress(settings.name, tell)
        parameters.progress_callback = self._progress.callback
        self.model = llama.llama_model_load_from_file(str(settings.path).encode(), parameters)
        if not self.model:
            raise CannotLoad(log.take_errors())
        trained = int(llama.llama_model_n_ctx_train(self.model)) or settings.context_tokens
        #: Most tokens of one sequence.
        self.context_tokens = min(trained, settings.context_tokens)
        self.vocabulary = NativeVocabulary(self.model, self.context_tokens)

    def context(self, **changes: int) -> Any:
        """A context over the weights, with `changes` to the default parameters.

        Raises: CannotLoad.
        """
        settings = self.settings
        parameters = llama.llama_context_default_params()
        parameters.n_threads = settings.threads
        parameters.n_threads_batch = settings.batch_threads or settings.threads
        parameters.flash_attn_type = _FLASH_ATTENTION[settings.flash_attention]
        parameters.kv_unified = True  # else every sequence would have its share of the cells
        parameters.no_perf = True
        for name, value in changes.items():
            setattr(parameters, name, value)
        context = llama.llama_init_from_model(self.model, parameters)
        if not context:
            raise CannotLoad(self._log.take_errors())
        return context

    def metadata(self, key: str) -> str | None:
        """One value of the file's header, as text."""
        buffer = ctypes.create_string_buffer(256)
        length = llama.llama_model_meta_val_str(self.model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if length >= 0 else None


class NativeModel(BatchModel):
    """A context of several sequences over `weights`. Never freed: it ends with its process.

    Raises: CannotLoad, also for a model that only encodes text.
    """

    def __init__(self, weights: NativeWeights) -> None:
        settings = weights.settings
        self._name = settings.name
        self._vocabulary = self.tokeniser = weights.vocabulary
        self.sequences = settings.parallel
        # No more than all sequences can fill: cells are paid for when the context is made.
        cells = min(settings.context_tokens, weights.context_tokens * settings.parallel)
        self.batch_tokens = max(min(settings.batch_tokens, cells), settings.parallel)
        kv_type = _KV_TYPES[settings.kv_type]
        self._context = weights.context(
            n_ctx=cells,
            n_batch=self.batch_tokens,
            n_ubatch=min(settings.micro_batch_tokens, self.batch_tokens),
            n_seq_max=settings.parallel,
            # Of each sequence only the last token is sampled from; room for the logits of a whole
            # batch would be hundreds of megabytes with a large vocabulary.
            n_outputs_max=settings.parallel,
            type_k=kv_type,
            type_v=kv_type,
        )
        self._memory = llama.llama_get_memory(self._context)
        if not self._memory:
            raise CannotLoad("it only encodes text")
        self.cells = int(llama.llama_n_ctx(self._context))
        # A recurrent state has no beginning to keep, and a sliding window forgets its own.
        self.can_fork = not (
            llama.llama_model_is_recurrent(weights.model)
            or llama.llama_model_is_hybrid(weights.model)
            or llama.llama_model_n_swa(weights.model)
        )
        self._batch = NativeBatch(self.batch_tokens)
        self._threads = settings.threads
        self._batch_threads = settings.batch_threads or settings.threads
        self._thread_count = ThreadCount(
            max(self._threads, self._batch_threads),
            waited_s=waited_s if can_tell_waiting() else None,
        )
        self._interruption = ctypes.create_string_buffer(2)
        self._install_interruption()

    @override
    def evaluate(self, parts: Sequence[Part]) -> list[int]:
        if self._interruption.raw[0]:  # on a GPU nothing looks at it during the evaluation
            raise Interrupted
        rows = self._batch.fill(parts)
        code = self._decode()
        if code == 0:
            # What was computed for nobody to sample from may still be under way, and its time
            # is what the engine sizes the next step by.
            if not rows:
                llama.llama_synchronize(self._context)
            return rows
        if code == _ABORTED:
            raise Interrupted
        if code == _NO_CELLS:
            raise MemoryFull
        raise UpstreamServerError(
            f"The local model '{self._name}' failed (llama_decode gave {code})."
        )

    def _decode(self) -> int:
        began_s = time.perf_counter()
        code: int = llama.llama_decode(self._context, self._batch.batch)
        left_out = self._thread_count.left_out
        self._thread_count.note(time.perf_counter() - began_s)
        if left_out != self._thread_count.left_out:
            left_out = self._thread_count.left_out
            llama.llama_set_n_threads(
                self._context,
                max(self._threads - left_out, 1),
                max(self._batch_threads - left_out, 1),
            )
        return code

    @override
    def keep(self, sequence: int, count: int) -> bool:
        if llama.llama_memory_seq_rm(self._memory, sequence, count, _TO_END):
            return True
        llama.llama_memory_seq_rm(self._memory, sequence, -1, _TO_END)
        return False

    @override
    def copy(self, source: int, target: int, count: int) -> None:
        llama.llama_memory_seq_cp(self._memory, source, target, 0, count)

    @override
    def sampler(self, sampling: Sampling) -> Sampler:
        return NativeSampler(self._context, self._vocabulary, self.cells, sampling)

    @override
    def interrupt(self) -> None:
        self._interruption.value = b"!"

    @override
    def allow(self) -> None:
        self._interruption.value = b""

    def _install_interruption(self) -> None:
        # llama.cpp asks this function many times per evaluation, from its own threads. A Python
        # function would need the interpreter's lock each time; strlen of a buffer that is empty
        # or not answers the same question without it.
        libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        self._abort_callback = ctypes.cast(libc.strlen, llama.ggml_abort_callback)
        llama.llama_set_abort_callback(
            self._context,
            self._abort_callback,
            ctypes.cast(self._interruption, ctypes.c_void_p),
        )


class _Progress:
    """Tells how far a load is, every quarter of it."""

    def __init__(self, name: str, tell: Tell) -> None:
        self._name = name
        self._tell = tell
        self._told = 0
        self.callback = llama.llama_progress_callback(self._take)

    def _take(self, progress: float, _: object) -> bool:
        quarters = int(progress * 4)
        if quarters > self._told:
            self._told = quarters
            self._tell(logging.INFO, f"Loading local model '{self._name}': {25 * quarters} %")
        return True
