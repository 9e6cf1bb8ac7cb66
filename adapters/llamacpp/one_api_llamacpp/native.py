"""A model in llama.cpp's hands, through llama-cpp-python's bindings of its C functions.

Importing this module imports llama_cpp and loads its library. The high-level `Llama` class is not
used: it adds no BOS to templated prompts, withholds text after an undecodable byte, and has other
defaults than OpenAI's. Everything here was checked against llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import llama_cpp.llama_cpp as llama
from typing_extensions import override

from one_api.adapter import UpstreamError
from one_api_llamacpp.language_model import Interrupted, LanguageModel, Sampler, Vocabulary
from one_api_llamacpp.markup import MARKERS
from one_api_llamacpp.sampling import Sampling

#: Prompt tokens per evaluation: full speed on a CPU from 128 on, and small enough to stop soon.
_BATCH_TOKENS: Final = 256
#: Candidates that nucleus sampling sorts: sorting a whole vocabulary costs milliseconds a token.
_NUCLEUS_CANDIDATES: Final = 1000
_DECODE_ABORTED: Final = 2
_LOG_ERROR: Final = 4
#: Whole state; the only sequence of a context that answers one request at a time.
_SEQUENCE: Final = 0
_TO_END: Final = -1


class NativeModel(LanguageModel):
    """One model with one context of one sequence.

    `context_limit` bounds the context where the model was trained on more tokens.
    Raises: UpstreamError when it cannot be loaded; the reason is logged.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        context_limit: int,
        threads: int,
        gpu_layers: int,
        logger: logging.Logger,
    ) -> None:
        self._name = name
        log = route_log(logger)
        log.take_errors()  # of a thread that ended and had this one's number
        self._model = load_weights(path, gpu_layers)
        self._context: Any = None
        if self._model:
            self._vocab = llama.llama_model_get_vocab(self._model)
            self.context_tokens = min(trained_context(self._model, context_limit), context_limit)
            self.batch_tokens = min(_BATCH_TOKENS, self.context_tokens)
            self._context = self._make_context(threads)
        self._memory = llama.llama_get_memory(self._context) if self._context else None
        if not self._memory:  # a model that only embeds has a context, but no memory to go on from
            logger.error("Local model '%s' cannot be loaded: %s", name, log.take_errors())
            self._free()
            raise UpstreamError(
                f"The local model '{name}' cannot be loaded: its file is damaged, it is of a kind "
                "that this version of llama.cpp does not run, or memory is short."
            )
        self._interruption = ctypes.create_string_buffer(2)
        self._install_interruption()
        self._pieces: dict[int, bytes] = {}
        self._tokens: list[int] = []
        # The vocabulary is read by other threads than the owner, which may free it meanwhile.
        self._vocabulary_lock = threading.Lock()
        self.vocabulary = self._read_vocabulary()

    @override
    def tokenise(self, segments: Sequence[str]) -> list[int]:
        with self._vocabulary_lock:
            if not self._model:
                raise UpstreamError(f"The local model '{self._name}' was unloaded.")
            tokens = [token for segment in segments for token in self._tokens_of(segment)]
            bos = llama.llama_vocab_bos(self._vocab)
            if llama.llama_vocab_get_add_bos(self._vocab) and tokens[:1] != [bos]:
                tokens.insert(0, bos)
            return tokens

    @override
    def piece(self, token: int) -> bytes:
        known = self._pieces.get(token)
        if known is None:
            text = llama.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace")
            known = self._pieces[token] = self._piece(token, shows_control=text in MARKERS)
        return known

    @override
    def ends_turn(self, token: int) -> bool:
        return bool(llama.llama_vocab_is_eog(self._vocab, token))

    @override
    def rewind(self, tokens: Sequence[int]) -> int:
        return self._keep(_common_prefix(self._tokens, list(tokens[:-1])))

    @override
    def evaluate(self, tokens: Sequence[int]) -> None:
        if self._interruption.raw[0]:  # on a GPU nothing looks at it during the evaluation
            raise Interrupted
        array = (llama.llama_token * len(tokens))(*tokens)
        code = llama.llama_decode(self._context, llama.llama_batch_get_one(array, len(tokens)))
        if code == 0:
            self._tokens.extend(tokens)
            return
        self._keep(len(self._tokens))
        if code == _DECODE_ABORTED:
            raise Interrupted
        raise UpstreamError(f"The local model '{self._name}' failed (llama_decode gave {code}).")

    @override
    def sampler(self, sampling: Sampling) -> Sampler:
        return NativeSampler(self._context, self.vocabulary.size, self.context_tokens, sampling)

    @override
    def interrupt(self) -> None:
        self._interruption.value = b"!"

    @override
    def allow(self) -> None:
        self._interruption.value = b""

    @override
    def close(self) -> None:
        with self._vocabulary_lock:
            self._free()

    def _free(self) -> None:
        if self._context:
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._context = self._memory = self._model = None

    def _make_context(self, threads: int) -> Any:
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = self.context_tokens
        parameters.n_batch = parameters.n_ubatch = self.batch_tokens
        parameters.n_seq_max = 1
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        return llama.llama_init_from_model(self._model, parameters)

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

    def _read_vocabulary(self) -> Vocabulary:
        size = int(llama.llama_vocab_n_tokens(self._vocab))
        # The tokeniser reads the texts of both kinds only where control tokens are allowed.
        special = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN
        template = llama.llama_model_chat_template(self._model, None)
        return Vocabulary(
            size=size,
            bos=self._text(llama.llama_vocab_bos(self._vocab)),
            eos=self._text(llama.llama_vocab_eos(self._vocab)),
            control_texts=[
                self._text(token)
                for token in range(size)
                if llama.llama_vocab_get_attr(self._vocab, token) & special
            ],
            chat_template=template.decode("utf-8", "replace") if template else None,
        )

    def _text(self, token: int) -> str:
        """The text that stands for `token`; empty for the token that a vocabulary lacks (-1)."""
        if token < 0:
            return ""
        text: bytes = llama.llama_vocab_get_text(self._vocab, token)
        return text.decode("utf-8", "replace")

    def _tokens_of(self, text: str) -> Sequence[int]:
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        while True:
            array = (llama.llama_token * size)()
            count = llama.llama_tokenize(self._vocab, data, len(data), array, size, False, True)
            if count >= 0:
                found: Sequence[int] = array[:count]
                return found
            size = -count

    def _piece(self, token: int, *, shows_control: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama.llama_token_to_piece(self._vocab, token, buffer, size, 0, shows_control)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def _keep(self, count: int) -> int:
        """Forget all but the first `count` tokens; how many are kept."""
        # Recurrent models cannot forget a part.
        if not llama.llama_memory_seq_rm(self._memory, _SEQUENCE, count, _TO_END):
            llama.llama_memory_clear(self._memory, False)
            count = 0
        del self._tokens[count:]
        return count


class NativeSampler(Sampler):
    """A chain of llama.cpp samplers for one answer."""

    def __init__(
        self, context: Any, vocabulary_size: int, memory_tokens: int, sampling: Sampling
    ) -> None:
        self._context = context
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        for link in _links(sampling, vocabulary_size, memory_tokens):
            llama.llama_sampler_chain_add(self._chain, link)

    @override
    def sample(self) -> int:
        return int(llama.llama_sampler_sample(self._chain, self._context, -1))

    @override
    def close(self) -> None:
        llama.llama_sampler_free(self._chain)


def _links(sampling: Sampling, vocabulary_size: int, memory_tokens: int) -> list[Any]:
    links = []
    if sampling.logit_bias:
        pairs = [llama.llama_logit_bias(*pair) for pair in sampling.logit_bias.items()]
        array = (llama.llama_logit_bias * len(pairs))(*pairs)
        links.append(llama.llama_sampler_init_logit_bias(vocabulary_size, len(pairs), array))
    if sampling.frequency_penalty or sampling.presence_penalty:
        links.append(
            llama.llama_sampler_init_penalties(
                vocabulary_size,
                memory_tokens,
                1.0,
                sampling.frequency_penalty,
                sampling.presence_penalty,
            )
        )
    if sampling.temperature == 0:
        return [*links, llama.llama_sampler_init_greedy()]
    top_k = sampling.top_k or (_NUCLEUS_CANDIDATES if sampling.top_p < 1 else 0)
    if top_k:
        links.append(llama.llama_sampler_init_top_k(top_k))
    if sampling.top_p < 1:
        links.append(llama.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        links.append(llama.llama_sampler_init_min_p(sampling.min_p, 1))
    links.append(llama.llama_sampler_init_temp(sampling.temperature))
    links.append(llama.llama_sampler_init_dist(sampling.seed))
    return links


def load_weights(path: Path, gpu_layers: int) -> Any:
    """The weights in `path`, to be freed by the caller; null when they cannot be loaded."""
    llama.llama_backend_init()
    parameters = llama.llama_model_default_params()
    parameters.n_gpu_layers = gpu_layers
    return llama.llama_model_load_from_file(str(path).encode(), parameters)


def trained_context(model: Any, otherwise: int) -> int:
    """How many tokens `model` was trained on; `otherwise` where it does not say."""
    return int(llama.llama_model_n_ctx_train(model)) or otherwise


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many items both begin with."""
    low, high = 0, min(len(left), len(right))
    # Slices compare at C speed, so halving beats a loop over items.
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class _Log:
    """Takes llama.cpp's log, which a process has one of, into a Python logger at debug level."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._errors: defaultdict[int, deque[str]] = defaultdict(partial(deque, maxlen=8))
        #: llama.cpp keeps the bare pointer: this reference must live as long as the library.
        self.callback: Callable[..., None] = llama.llama_log_callback(self._take)

    def _take(self, level: int, text: bytes, _: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        if not line.strip("."):
            return  # the dots of a progress bar
        if level == _LOG_ERROR:
            self._errors[threading.get_ident()].append(line)
        self._logger.debug("llama.cpp: %s", line)

    def take_errors(self) -> str:
        """The last errors that calls on this thread logged, each told once."""
        return "; ".join(self._errors.pop(threading.get_ident(), ()))


@cache
def _log_into(logger: logging.Logger) -> _Log:
    # Cached for the life of the process, which is how long llama.cpp may call it.
    return _Log(logger)


def route_log(logger: logging.Logger) -> _Log:
    """Have llama.cpp log into `logger` from now on."""
    log = _log_into(logger)
    llama.llama_log_set(log.callback, ctypes.c_void_p(0))
    return log
