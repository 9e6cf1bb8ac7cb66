"""What holds of a router whatever happens, in whatever order."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from one_api.deployment import Deployment, DeploymentLimits, Group
from one_api.errors import (
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
)
from one_api.routing import Trial
from tests.routing.worlds import World, seeded

NEAR, FAR = Group(name="near", strategy="weighted", sticky=True), Group(name="far")
DEPLOYMENTS = [
    Deployment(model="m", adapter="a", upstream_model="x", group=NEAR, weight=2),
    Deployment(model="m", adapter="a", upstream_model="y", group=NEAR),
    Deployment(
        model="m",
        adapter="b",
        upstream_model="x",
        group=NEAR,
        limits=DeploymentLimits(concurrent_requests=2, requests_per_minute=8),
    ),
    Deployment(model="m", adapter="c", upstream_model="x", group=FAR),
]
ERRORS: list[GatewayError] = [
    UpstreamServerError("broken"),
    UpstreamTimeout("slow"),
    CredentialRejected("refused"),
    UpstreamRateLimited("slow down"),
    UpstreamRateLimited("slow down", retry_after_s=20),
    UpstreamServerError("broken", retry_after_s=3),
    InvalidRequest("wrong"),
]
#: In which order the kinds of events of one deployment may follow each other.
AFTER = {
    "closed": {"opened"},
    "opened": {"half_opened", "closed"},
    "half_opened": {"opened", "closed"},
}


class RouterLaws(RuleBasedStateMachine):
    """Requests begin by plan or in spite of it, and end in every way."""

    @initialize(seed=st.integers(0, 99))
    def prepare(self, seed: int) -> None:
        self.world = World(seed=seed, max_cooldown_s=60)
        self.random = seeded(seed)
        self.running: list[Trial] = []
        self.probes: dict[str, Trial] = {}
        self.cooling_until_s: dict[str, float] = {}

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 19.0, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(affinity=st.none() | st.just("talk"), count=st.integers(1, 4))
    def plan(self, affinity: str | None, count: int) -> None:
        asked = DEPLOYMENTS[:count]
        now_s = self.world.clock.now_s
        plan = self.world.router.plan(asked, affinity=affinity)
        skipped = [one.deployment for one in plan.skipped]

        assert sorted(one.name for one in asked) == sorted(
            one.name for one in [*plan.deployments, *skipped]
        )
        assert all(self.cooling_until_s.get(one.name, 0) <= now_s for one in plan.deployments)
        available = [state.name for state in self.world.router.states(asked) if state.is_available]
        if available:
            assert not plan.is_last_resort
            assert sorted(available) == sorted(one.name for one in plan.deployments)
        else:
            assert plan.is_last_resort == bool(plan.deployments)
            assert len(plan.deployments) <= 1
        if not plan.deployments:
            assert plan.refusal().retry_after_s is not None

    @rule(index=st.integers(0, 3), is_last_resort=st.booleans())
    def begin(self, index: int, is_last_resort: bool) -> None:
        one = DEPLOYMENTS[index]
        told = len(self.world.events)
        trial = self.world.router.begin(one, is_last_resort=is_last_resort)
        if trial is None:
            assert told == len(self.world.events)
            return
        assert self.cooling_until_s.get(one.name, 0) <= self.world.clock.now_s
        self.running.append(trial)
        [state] = self.world.router.states([one])
        if state.breaker == "half_open" and not is_last_resort:
            assert self.probes.get(one.name) not in self.running[:-1]
            self.probes[one.name] = trial

    @rule(times=st.integers(1, 6), index=st.integers(0, 3), error=st.sampled_from(ERRORS))
    def keep_failing(self, times: int, index: int, error: GatewayError) -> None:
        for _ in range(times):
            trial = self.world.router.begin(DEPLOYMENTS[index])
            if trial is not None:
                self._fail(trial, error)

    @rule(index=st.integers(0, 3))
    def break_down(self, index: int) -> None:
        self.keep_failing(5, index, ERRORS[0])
        self.world.clock.advance(60.0)

    @rule(end=st.sampled_from(["succeed", "abandon", "fail"]), error=st.sampled_from(ERRORS))
    def end(self, end: str, error: GatewayError) -> None:
        if not self.running:
            return
        trial = self.running.pop(self.random.randrange(len(self.running)))
        if end == "fail":
            self._fail(trial, error)
        else:
            getattr(trial, end)()
        # Whoever reports twice is not heard twice.
        told = len(self.world.events)
        trial.fail(ERRORS[0])
        trial.succeed()
        trial.abandon()
        assert told == len(self.world.events)

    @rule()
    def show_content(self) -> None:
        if self.running:
            self.random.choice(self.running).note_first_content()

    def _fail(self, trial: Trial, error: GatewayError) -> None:
        if error.retry_after_s is not None:
            name = trial.deployment.name
            until_s = self.world.clock.now_s + error.retry_after_s
            self.cooling_until_s[name] = max(self.cooling_until_s.get(name, 0), until_s)
        trial.fail(error)

    @invariant()
    def counts_what_is_running(self) -> None:
        for state in self.world.router.states(DEPLOYMENTS):
            running = [one for one in self.running if one.deployment.name == state.name]
            assert len(running) == state.in_flight

    @invariant()
    def ends_the_probe_with_its_period(self) -> None:
        for state in self.world.router.states(DEPLOYMENTS):
            if state.breaker == "closed":
                self.probes.pop(state.name, None)

    @invariant()
    def tells_each_change_once(self) -> None:
        kinds: dict[str, str] = defaultdict(lambda: "closed")
        for event in self.world.events:
            if event.kind in AFTER:
                assert event.kind in AFTER[kinds[event.deployment]]
                kinds[event.deployment] = event.kind
        for state in self.world.router.states(DEPLOYMENTS):
            told = {"closed": "closed", "opened": "open", "half_opened": "half_open"}
            assert state.breaker == told[kinds[state.name]]


RouterLaws.TestCase.settings = settings(stateful_step_count=40, deadline=None)
test_router_keeps_its_laws = RouterLaws.TestCase
