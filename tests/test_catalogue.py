"""Which deployments an id means: one table, whatever order lists and files come in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from one_api import catalogue as catalogue_module
from one_api.adapter import ModelInfo, Timeouts, UpstreamSettings
from one_api.catalogue import MAX_ID_CHARS, Catalogue, Offer, Pattern
from one_api.deployment import DeploymentLimits, Group, Price
from one_api.upstreams import UpstreamEntry

CHEAP = Price(input_usd=Decimal("0.1"), output_usd=Decimal(1))
DEAR = Price(input_usd=Decimal(10), output_usd=Decimal(100))


def infos(*ids: str, window: int | None = None) -> tuple[ModelInfo, ...]:
    return tuple(ModelInfo(id=id_, owned_by="maker", context_window=window) for id_ in ids)


def adapter(name: str, *models: str) -> Offer:
    """An adapter of the environment."""
    return Offer(name=name, listed=infos(*models))


def upstream(name: str, listed: tuple[str, ...] | None = None, **fields: Any) -> Offer:
    """An upstream of the file; `listed` is what its provider told, None for nothing yet."""
    entry = UpstreamEntry(name=name, settings=UpstreamSettings(provider=""), **fields)
    models = None if listed is None else infos(*listed)
    return Offer(name=name, listed=models, upstream=entry, owner="owner")


def found(catalogue: Catalogue, model_id: str) -> list[str]:
    """The names of the deployments of an id; guesses with a question mark."""
    return [one.name + "?" * one.is_guess for one in catalogue.find(model_id)]


def ids(catalogue: Catalogue) -> list[str]:
    return [model.id for model in catalogue.models]


class TestUpstreams:
    @pytest.mark.parametrize(
        ("model_id", "expected"),
        [
            pytest.param("x", ["one/x", "two/x", "down/x?"], id="all that offer it, in file order"),
            pytest.param("y", ["one/y", "three/y", "down/y?"], id="by name and by list"),
            pytest.param("small", ["one/small", "two/small-2026", "down/small?"], id="mapped"),
            pytest.param("c-1", ["two/c-1", "three/c-1", "down/c-1?"], id="by pattern and name"),
            pytest.param("c-2", ["two/c-2", "down/c-2?"], id="by pattern only"),
            pytest.param("small-2026", ["down/small-2026?"], id="not by an upstream's own name"),
            pytest.param("z", ["down/z?"], id="guessed"),
            pytest.param("two/q", ["two/q"], id="of one upstream, unlisted"),
            pytest.param("two/small", ["two/small-2026"], id="of one upstream, mapped"),
            pytest.param("down/z", ["down/z"], id="of one upstream is no guess"),
            pytest.param("", [], id="none"),
            pytest.param("z" * (MAX_ID_CHARS + 1), [], id="too long to be guessed"),
        ],
    )
    def test_all_that_offer_an_id_answer_for_it(self, model_id: str, expected: list[str]) -> None:
        catalogue = Catalogue(
            [],
            [
                upstream("one", ("x", "y", "small")),
                upstream("two", models=("x", "c-*"), model_map={"small": "small-2026"}),
                upstream("down"),
                upstream("three", ("y", "c-1")),
            ],
        )
        order = {name: i for i, name in enumerate(("one", "two", "down", "three"))}

        assert sorted(expected, key=lambda name: order[name.split("/")[0]]) == found(
            catalogue, model_id
        )

    def test_deployment_is_what_the_entry_says(self) -> None:
        fields: dict[str, Any] = {
            "timeouts": Timeouts(total_s=7),
            "group": Group(name="g", strategy="weighted"),
            "weight": 3.0,
            "order": 2,
            "limits": DeploymentLimits(concurrent_requests=4),
        }
        (deployment,) = Catalogue([], [upstream("u", models=("m",), **fields)]).find("m")

        assert fields == {name: getattr(deployment, name) for name in fields}
        assert ("m", "u", "m", None, None, False) == (
            deployment.model,
            deployment.adapter,
            deployment.upstream_model,
            deployment.price,
            deployment.context_window,
            deployment.is_guess,
        )

    @pytest.mark.parametrize(
        ("model_id", "price", "window"),
        [
            ("m", CHEAP, 10),
            ("other", DEAR, 20),
            ("u/m", CHEAP, 10),
            ("u/other", DEAR, 20),
            ("u/unlisted", DEAR, 20),
        ],
    )
    def test_price_and_window_are_the_models_or_everyones(
        self, model_id: str, price: Price, window: int
    ) -> None:
        offer = upstream(
            "u",
            ("m", "other"),
            prices={"m": CHEAP, "*": DEAR},
            context_windows={"m": 10, "*": 20},
        )
        (deployment,) = Catalogue([], [offer]).find(model_id)

        assert (price, window) == (deployment.price, deployment.context_window)

    def test_window_that_the_file_does_not_tell_is_the_listed_one(self) -> None:
        entry = UpstreamEntry(
            name="u", settings=UpstreamSettings(provider=""), model_map={"small": "m"}
        )
        offer = Offer(name="u", listed=infos("m", window=99), upstream=entry)
        catalogue = Catalogue([], [offer])

        assert [99, 99] == [catalogue.find(id_)[0].context_window for id_ in ("small", "m")]

    def test_upstream_whose_list_is_empty_is_asked_for_nothing(self) -> None:
        assert [] == found(Catalogue([], [upstream("u", ())]), "m")

    def test_upstreams_own_names_stay_its_own_without_a_list(self) -> None:
        catalogue = Catalogue([], [upstream("u", model_map={"small": "m"})])

        assert (["u/m"], ["u/m?"]) == (found(catalogue, "small"), found(catalogue, "m"))


class TestAdapters:
    def test_upstreams_of_the_file_go_before_adapters_of_the_environment(self) -> None:
        catalogue = Catalogue([adapter("env", "m", "n")], [upstream("u", ("m",))])

        assert (["u/m"], ["env/n"]) == (found(catalogue, "m"), found(catalogue, "n"))
        assert ["m", "env/m", "n"] == ids(catalogue)
        assert {"env/m": ("m", "u")} == catalogue.collisions

    def test_known_adapter_goes_before_a_guess(self) -> None:
        catalogue = Catalogue([adapter("env", "m")], [upstream("down")])

        assert ["env/m"] == found(catalogue, "m")

    def test_timeouts_and_window_of_an_adapters_model(self) -> None:
        offer = Offer(name="env", listed=infos("m", window=5))
        (deployment,) = Catalogue([offer], timeouts=Timeouts(idle_s=1)).find("m")

        assert (Timeouts(idle_s=1), 5) == (deployment.timeouts, deployment.context_window)


class TestAliases:
    ADAPTERS = (adapter("env", "m", "gpt-4o", "big"),)

    @pytest.mark.parametrize(
        ("aliases", "model_id", "expected"),
        [
            pytest.param({"fast": ("m",)}, "fast", ["env/m"], id="one"),
            pytest.param({"fast": ("big", "m")}, "fast", ["env/big", "env/m"], id="in order"),
            pytest.param({"fast": ("gone", "m")}, "fast", ["env/m"], id="unknown target"),
            pytest.param({"fast": ("m", "env/m")}, "fast", ["env/m"], id="the same twice"),
            pytest.param({"fast": ("env/q",)}, "fast", ["env/q"], id="to one adapter"),
            pytest.param({"fast": ("gone",)}, "fast", [], id="to nothing"),
            pytest.param({"a": ("b",), "b": ("m",)}, "a", ["env/m"], id="through another"),
            pytest.param({"a": ("b",), "b": ("a",)}, "a", [], id="in a circle"),
            pytest.param({"m": ("m", "big")}, "m", ["env/m", "env/big"], id="among its own"),
            pytest.param({"m": ("big",)}, "m", ["env/big"], id="before a model of the name"),
            pytest.param({"m": ("gone",)}, "m", ["env/m"], id="to nothing, beside a model"),
            pytest.param({"env/m": ("big",)}, "env/m", ["env/m"], id="not before an adapter"),
            pytest.param({"gpt-*": ("m",)}, "gpt-5", ["env/m"], id="pattern"),
            pytest.param({"gpt-*": ("m",)}, "gpt-4o", ["env/gpt-4o"], id="pattern after model"),
            pytest.param({"gpt-*": ("m",)}, "not-gpt-5", [], id="pattern from the beginning"),
            pytest.param({"*-pro": ("m",)}, "gpt-5-pro", ["env/m"], id="pattern for an end"),
            pytest.param({"gpt.*": ("m",)}, "gpt-5", [], id="pattern is no regular expression"),
            pytest.param(
                {"gpt-*": ("m",), "gpt-5*": ("big",), "*": ("gpt-4o",)},
                "gpt-5-pro",
                ["env/big"],
                id="pattern with the longest beginning",
            ),
            pytest.param(
                {"gpt-5*": ("gone",), "gpt-*": ("m",)}, "gpt-5", ["env/m"], id="next pattern"
            ),
            pytest.param({"*": ("gone",)}, "q", [], id="pattern that means its own target"),
        ],
    )
    def test_alias_leads_to_models(
        self, aliases: dict[str, tuple[str, ...]], model_id: str, expected: list[str]
    ) -> None:
        assert expected == found(Catalogue(self.ADAPTERS, aliases=aliases), model_id)

    @pytest.mark.parametrize(("length", "expected"), [(8, ["env/m"]), (9, [])])
    def test_chain_of_aliases_has_an_end(self, length: int, expected: list[str]) -> None:
        chain = {f"a{i}": (f"a{i + 1}",) for i in range(length - 1)}
        aliases = {**chain, f"a{length - 1}": ("m",)}

        assert expected == found(Catalogue(self.ADAPTERS, aliases=aliases), "a0")

    def test_alias_pattern_goes_before_an_upstreams_pattern_and_a_guess(self) -> None:
        upstreams = [upstream("u", models=("x-*",)), upstream("down")]
        catalogue = Catalogue(self.ADAPTERS, upstreams, {"x-1*": ("m",)})

        assert ["env/m"] == found(catalogue, "x-12")
        assert ["u/x-2", "down/x-2?"] == found(catalogue, "x-2")

    def test_deployments_of_an_alias_go_by_their_models_names(self) -> None:
        offer = upstream("u", models=("m",), prices={"m": CHEAP, "*": DEAR})
        (deployment,) = Catalogue([], [offer], {"fast": ("m",)}).find("fast")

        assert ("m", CHEAP) == (deployment.model, deployment.price)


class TestListing:
    def test_every_name_is_listed_once(self) -> None:
        catalogue = Catalogue(
            [adapter("env", "e", "a")],
            [
                upstream("one", models=("a", "b", "c-*"), model_map={"small": "s"}),
                upstream("two", ("b", "d"), model_map={"big": "d"}),
                upstream("down"),
            ],
            {"fast": ("a",), "gpt-*": ("a",), "b": ("a",)},
        )

        assert ["a", "b", "small", "big", "d", "e", "env/a", "fast"] == ids(catalogue)
        owners = {model.id: (model.adapter, model.info.owned_by) for model in catalogue.models}
        assert ("one", "owner") == owners["a"]
        assert ("two", "maker") == owners["d"]
        assert ("one", "owner") == owners["fast"]
        assert all(model.id == model.info.id for model in catalogue.models if "/" not in model.id)
        assert ("a", "b", "small", "c-*") == catalogue.names_of("one")
        assert () == catalogue.names_of("down")

    def test_name_that_would_mean_another_member_is_listed_in_full(self) -> None:
        catalogue = Catalogue([adapter("env", "m")], [upstream("u", ("env/m",))])

        assert ["u/env/m", "m"] == ids(catalogue)
        assert (["env/m"], ["u/env/m"]) == (found(catalogue, "env/m"), found(catalogue, "u/env/m"))


class TestKnowing:
    @pytest.mark.parametrize(
        ("model_id", "expected"),
        [
            ("m", True),
            ("e", True),
            ("u/any", True),
            ("fast", True),
            ("slow", False),
            ("p-1", False),
            ("c-1", False),
            ("q", False),
            ("", False),
        ],
    )
    def test_known_is_what_no_other_list_can_change(self, model_id: str, expected: bool) -> None:
        catalogue = Catalogue(
            [adapter("env", "e")],
            [upstream("u", models=("m", "c-*"))],
            {"fast": ("m", "e"), "slow": ("m", "q"), "p-*": ("m",)},
        )

        assert expected is catalogue.is_known(model_id)


class TestMemory:
    def test_what_was_found_is_remembered_and_what_was_not_is_not(self) -> None:
        catalogue = Catalogue([adapter("env", "m")])

        assert catalogue.remember("m") is catalogue.remembered["m"]
        assert () == catalogue.remember("q")
        assert ["m"] == list(catalogue.remembered)

    def test_clients_cannot_fill_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalogue_module, "_MAX_REMEMBERED", 3)
        catalogue = Catalogue([], [upstream("down")])

        for i in range(100):
            assert [f"down/m{i}?"] == [one.name + "?" for one in catalogue.remember(f"m{i}")]
            assert len(catalogue.remembered) <= 3
        assert catalogue.remember("down/" + "m" * MAX_ID_CHARS)
        assert all(len(model_id) <= MAX_ID_CHARS for model_id in catalogue.remembered)


@pytest.mark.parametrize("stars", ["*", "**", "*" * 200])
def test_neighbouring_stars_are_one(stars: str) -> None:
    pattern = Pattern(f"a{stars}b{stars}c")

    assert pattern.matches("a-b-c")
    assert not pattern.matches("a" * MAX_ID_CHARS)
