"""Values of labels, of which there are few whatever clients ask for."""

from __future__ import annotations

from collections.abc import Iterable

from one_api import errors
from one_api.deployment import Deployment

#: Stands for whatever is none of those that are known.
OTHER = "other"
#: Codes of errors that are no class's own, and tell an operator something.
_MORE_REASONS = ("content_filter",)


def _codes() -> frozenset[str]:
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    kinds = [one for one in classes if issubclass(one, errors.GatewayError)]
    return frozenset((*_MORE_REASONS, *(kind.code or kind.type for kind in kinds)))


REASONS = _codes()


def reason_of(code: str) -> str:
    """The label for an error's code, which a provider may have chosen."""
    return code if code in REASONS else OTHER


class Names:
    """The models and deployments that the gateway knows; all others are called `other`.

    `know` replaces them. An adapter's name is the operator's, and always told.
    """

    def __init__(self, models: Iterable[str] = (), deployments: Iterable[str] = ()) -> None:
        self.know(models, deployments)

    def know(self, models: Iterable[str], deployments: Iterable[str]) -> None:
        """These are known from now on; deployments by name."""
        self.models = frozenset(models)
        self.deployments = frozenset(deployments)

    def model(self, name: str) -> str:
        """The label for a model as a client calls it; "" where it named none."""
        return name if not name or name in self.models else OTHER

    def deployment(self, deployment: Deployment) -> str:
        """The label for a deployment."""
        name = deployment.name
        return name if name in self.deployments else f"{deployment.adapter}/{OTHER}"

    def deployment_named(self, name: str) -> str:
        """The label for a deployment of which only the name is at hand."""
        return name if name in self.deployments else f"{name.partition('/')[0]}/{OTHER}"
