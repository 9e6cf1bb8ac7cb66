"""The contract between the gateway and a provider's adapter."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from one_api.adapter.clock import Clock, SystemClock
from one_api.adapter.notices import Notice, ignore_notice
from one_api.adapter.parameters import ParameterPolicy
from one_api.adapter.settings import AdapterSettings, UpstreamSettings
from one_api.deployment import Timeouts
from one_api.errors import ModelNotFound

if TYPE_CHECKING:
    from one_api.adapter.http import HTTPTransport
    from one_api.events import Event
    from one_api.schemas.chat import ChatCompletionRequest
    from one_api.schemas.models import ModelInfo

#: Version of this contract; a plugin whose class says another one is not loaded.
API_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterContext:
    """What the gateway lends an adapter for as long as it lives.

    `http` is the one pooled client of the process. `default_max_tokens` is what to ask for where
    a provider insists on a limit and the client gave none.
    """

    http: HTTPTransport
    logger: logging.Logger
    default_max_tokens: int = 16_384
    #: How long listing models, or any other small request of the adapter's own, may take.
    list_timeout_s: float = 10.0
    clock: Clock = field(default_factory=SystemClock)
    #: Tells the operator. Never blocks and never raises; may be called from any thread.
    notify: Callable[[Notice], None] = ignore_notice


# Not frozen: to fill it would take twice as long (1.9 and 0.8 us), and each attempt has one.
@dataclass(slots=True, kw_only=True)
class Call:
    """What belongs to one attempt to have one request answered.

    `model` is the upstream's name for the model (`request.model` is the client's). `dropped`
    collects parameters that had no effect; the client is told in `x-one-api-dropped-params`.
    `strict_params` says that nothing may be dropped. `caller` is an opaque name, the same for all
    calls of one API key (of one address where no key is needed) while the process lives, and empty
    where nobody knows: for being fair to all of them, not for being sent to the provider.
    """

    model: str
    request_id: str = ""
    timeouts: Timeouts = field(default_factory=Timeouts)
    strict_params: bool = False
    dropped: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    #: Told the headers of the provider's reply, whatever its status: they say how much is left.
    on_head: Callable[[Mapping[str, str]], None] | None = None
    caller: str = ""

    def drop(self, parameter: str) -> None:
        """Note that `parameter` had no effect."""
        if parameter not in self.dropped:
            self.dropped.append(parameter)


class BaseModelAdapter(ABC):
    """One provider, as the gateway sees it.

    An author writes `generate_completion` and `list_models`; streaming, complete replies, usage,
    errors, limits and logging come from the gateway. Neither importing the module nor making an
    instance may touch the network. Instances live on one event loop, between `start` and `close`.
    """

    #: Version of the contract this adapter was written for.
    api_version: ClassVar[int] = API_VERSION
    #: The environment variables this adapter reads.
    Settings: ClassVar[type[AdapterSettings]] = AdapterSettings
    #: Answers for upstreams that name no adapter: one installed adapter says so.
    is_default_upstream: ClassVar[bool] = False

    def __init__(self, settings: AdapterSettings, context: AdapterContext) -> None:
        self.settings = settings
        self.context = context

    @classmethod
    def build(
        cls, name: str, environment: Mapping[str, str], context: AdapterContext
    ) -> Mapping[str, BaseModelAdapter]:
        """The instances this entry point contributes, by provider name.

        Empty when the settings say that nothing is configured. `name` is the entry point's.
        Raises: ConfigurationError for a variable with a wrong value.
        """
        settings = cls.Settings.from_environment(environment)
        return {name: cls(settings, context)} if settings.is_configured() else {}

    @classmethod
    def build_upstream(
        cls, name: str, upstream: UpstreamSettings, context: AdapterContext
    ) -> BaseModelAdapter:
        """The instance for one entry of the operator's file of upstreams, called `name` there.

        Raises: ConfigurationError whose `variable` is the entry's field that is wrong.
        """
        return cls(cls.Settings.from_upstream(upstream), context)

    @classmethod
    def providers(cls) -> Sequence[str]:
        """Names besides the entry point's by which upstreams ask for this adapter."""
        return ()

    @classmethod
    def how_to_configure(cls) -> str:
        """One line that tells an operator how to switch this adapter on."""
        return cls.Settings.hint

    async def start(self) -> None:
        """Called once, on the loop that will be used, before anything else; may not block."""
        # Most adapters have nothing to start; await keeps overriders honest about being async.
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Called once when the gateway stops; gives back whatever `start` took."""
        await asyncio.sleep(0)

    @abstractmethod
    async def list_models(self) -> Sequence[ModelInfo]:
        """The models this provider offers now.

        May ask the provider; the gateway bounds the wait and caches the answer.
        Raises: UpstreamError when the provider does not answer.
        """

    async def get_model_info(self, model_id: str) -> ModelInfo:
        """One model by the provider's own name for it.

        Raises: ModelNotFound.
        """
        for model in await self.list_models():
            if model.id == model_id:
                return model
        raise ModelNotFound(f"The model '{model_id}' does not exist.", param="model")

    def continues(self, model_id: str) -> bool:
        """Whether `model_id` goes on with a last assistant message instead of beginning anew."""
        return False

    def parameters(self, model_id: str) -> ParameterPolicy:
        """Which request parameters `model_id` honours; starts closed.

        The gateway settles the others before `generate_completion` is called: what only tunes the
        answer is dropped and told, what would change its meaning or shape is refused.
        """
        return ParameterPolicy()

    @abstractmethod
    def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        """Answer `request` as events; the one method that must be written.

        An async generator. The gateway closes it when the client leaves: release what is held in
        `finally`. Raises GatewayErrors, at any point.
        """
