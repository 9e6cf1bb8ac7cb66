"""Every error the gateway can tell a caller, as one tree of exceptions.

    GatewayError
    ├── InvalidRequest              400  the caller's mistake; the message says how to mend it
    │   ├── UnsupportedParameter    400  the provider cannot do what was asked
    │   ├── ContextWindowExceeded   400  the prompt does not fit the model
    │   ├── RequestTimedOut         408  the body did not arrive in time
    │   ├── Conflict                409  the request collides with another one
    │   ├── RequestTooLarge         413  the body is over the byte limit
    │   ├── UnsupportedMediaType    415  the body is not JSON, or is compressed
    │   ├── UnprocessableRequest    422  the provider can read it, and refuses what it says
    │   └── IdempotencyMismatch     422  another request came under the same Idempotency-Key
    ├── AuthenticationFailed        401  missing or wrong API key
    ├── PermissionDenied            403  the API key may not do this
    ├── NotFound                    404  no such path
    │   └── ModelNotFound           404  no such model
    ├── MethodNotAllowed            405  the path exists, the method does not
    ├── RateLimitExceeded           429  the caller's own limit
    │   ├── ConcurrencyExceeded     429  too many of the caller's at once
    │   └── TokenLimitExceeded      429  the same, counted in tokens
    ├── BudgetExceeded              429  the caller's own budget is spent
    ├── StorageUnavailable          503  what must be written down cannot be
    ├── InternalError               500  a bug of ours; the details are in the log only
    ├── NoDeploymentAvailable       503  nothing can answer for this model now
    ├── Overloaded                  503  it has as much to do as it takes
    ├── ShuttingDown                503  the gateway is draining
    └── UpstreamError               502  the provider failed
        ├── UpstreamTimeout         504  it was too slow
        ├── UpstreamUnreachable     502  no connection
        │   └── UpstreamUntrusted   502  it is not who it should be
        ├── UpstreamDisconnected    502  the reply was cut before its end
        ├── UpstreamInvalidResponse 502  the reply is not what the protocol says
        ├── UpstreamServerError     500  it answered 5xx
        ├── UpstreamOverloaded      503  it said it is overloaded
        ├── UpstreamRateLimited     429  it said 429
        ├── UpstreamQuotaExhausted  503  our account there has no credit
        └── CredentialRejected      502  it refused *our* credential: never the caller's 401

    ConfigurationError                   a wrong setting; stops the start, never reaches a caller

Class attributes decide status, wire type, wire code and what may help; nobody asks for the class.
"""

from __future__ import annotations

from one_api.errors.base import (
    MAX_RETRY_AFTER_S,
    ErrorBody,
    ErrorDetail,
    GatewayError,
)
from one_api.errors.own import (
    AuthenticationFailed,
    BudgetExceeded,
    ConcurrencyExceeded,
    ConfigurationError,
    Conflict,
    ContextWindowExceeded,
    IdempotencyMismatch,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    NoDeploymentAvailable,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimitExceeded,
    RequestTimedOut,
    RequestTooLarge,
    ShuttingDown,
    StorageUnavailable,
    TokenLimitExceeded,
    UnprocessableRequest,
    UnsupportedMediaType,
    UnsupportedParameter,
)
from one_api.errors.upstream import (
    CredentialRejected,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUntrusted,
)

__all__ = [
    "MAX_RETRY_AFTER_S",
    "AuthenticationFailed",
    "BudgetExceeded",
    "ConcurrencyExceeded",
    "ConfigurationError",
    "Conflict",
    "ContextWindowExceeded",
    "CredentialRejected",
    "ErrorBody",
    "ErrorDetail",
    "GatewayError",
    "IdempotencyMismatch",
    "InternalError",
    "InvalidRequest",
    "MethodNotAllowed",
    "ModelNotFound",
    "NoDeploymentAvailable",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "RateLimitExceeded",
    "RequestTimedOut",
    "RequestTooLarge",
    "ShuttingDown",
    "StorageUnavailable",
    "TokenLimitExceeded",
    "UnprocessableRequest",
    "UnsupportedMediaType",
    "UnsupportedParameter",
    "UpstreamDisconnected",
    "UpstreamError",
    "UpstreamInvalidResponse",
    "UpstreamOverloaded",
    "UpstreamQuotaExhausted",
    "UpstreamRateLimited",
    "UpstreamServerError",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "UpstreamUntrusted",
]
