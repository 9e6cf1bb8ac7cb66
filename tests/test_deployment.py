"""Deployments: what they are called."""

from __future__ import annotations

from dataclasses import replace

from one_api.deployment import Deployment


def test_name_goes_with_what_it_is_made_of() -> None:
    one = Deployment(model="m", adapter="a", upstream_model="x")
    assert "a/x" == one.name
    assert "b/x" == replace(one, adapter="b").name


def test_name_is_no_fact_of_its_own() -> None:
    one = Deployment(model="m", adapter="a", upstream_model="b/c")
    other = Deployment(model="m", adapter="a/b", upstream_model="c")
    assert one.name == other.name
    assert one != other
    assert one.name not in repr(one)
