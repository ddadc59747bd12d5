"""What holds of MailEndpoints and their MailSyncs, whatever happens."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mailsync_api.conditions import EndpointConditionType
from mailsync_api.endpointstatus import MailEndpointStatus
from mailsync_api.exitcodes import ExitCode
from mailsync_operator.errors import ConflictError
from mailsync_operator.snapshot import EndpointObject
from tests.unit_operator.endpoint_objects import expired, said, told
from tests.unit_operator.endpoint_world import ENDPOINT, EndpointWorld

_VERDICTS = st.one_of(
    st.sampled_from(ExitCode).map(told),
    st.integers(-5, 5).map(lambda days: expired(ended=days * 86400)),
)


class Probes(RuleBasedStateMachine):
    """An operator that is killed, watches that lag, users that change their mind, any verdict."""

    def __init__(self) -> None:
        super().__init__()
        self.world = EndpointWorld()
        self.cluster = self.world.cluster
        self.token = 0
        self.allowed = self.runs()

    def runs(self) -> int:
        return len(self.world.run_jobs)

    def live(self) -> list[dict[str, Any]]:
        jobs = self.cluster.all_of("Job")
        return [
            job
            for job in jobs
            if "-probe-" in job["metadata"]["name"] and not job.get("status", {}).get("conditions")
        ]

    @rule()
    def look(self) -> None:
        try:
            self.world.look_at_endpoint()
        except ConflictError:
            self.cluster.catch_up()

    @rule()
    def look_at_the_mailsync(self) -> None:
        # A run starts only when the endpoint that was seen says that it may.
        seen = self.cluster.endpoint(ENDPOINT)
        before = self.runs()
        try:
            self.world.look()
        except ConflictError:
            self.cluster.catch_up()
        if self.runs() > before:
            assert seen is not None
            status = MailEndpointStatus.model_validate(seen.status)
            assert status.observed_generation == seen.generation
            assert said(status, EndpointConditionType.READY)[0] == "True"

    @precondition(lambda self: self.live())
    @rule(verdict=_VERDICTS)
    def end(self, verdict: Any) -> None:
        [job] = self.live()
        if self.cluster.all_of("Job")[-1] is job:
            self.cluster.start_pod()
            self.cluster.end_pod(int(verdict.exit_code), verdict)
            self.cluster.end_job("Failed" if verdict.exit_code else "Complete")

    @precondition(lambda self: self.live())
    @rule()
    def delete_job(self) -> None:
        meta = self.live()[0]["metadata"]
        self.cluster.remove("Job", meta["namespace"], meta["name"])

    @rule()
    def kill_operator(self) -> None:
        self.world.restart()

    @rule(lag=st.booleans())
    def hold_watches(self, lag: bool) -> None:  # noqa: FBT001  drawn by Hypothesis
        self.cluster.lag = lag
        if not lag:
            self.cluster.catch_up()

    @rule(seconds=st.sampled_from([1, 60, 3600, 86400]))
    def wait(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule(host=st.sampled_from(["a.example.org", "b.example.org"]), again=st.booleans())
    def change(self, host: str, again: bool) -> None:  # noqa: FBT001  drawn by Hypothesis
        self.token += again
        self.world.change_endpoint(host=host, probe={"manual": f"t{self.token}"})

    @invariant()
    def one_probe_at_a_time(self) -> None:
        assert len(self.live()) <= 1

    @invariant()
    def finished_probes_do_not_pile_up(self) -> None:
        assert len(self.world.probe_jobs) <= 3

    @invariant()
    def every_end_is_counted_once(self) -> None:
        numbers = [record.number for record in self.world.probes.records]
        assert numbers == sorted(set(numbers))

    @invariant()
    def what_is_written_is_read_back(self) -> None:
        raw = EndpointObject.from_body(self.cluster.objects["MailEndpoint", *ENDPOINT]).status
        assert not raw or MailEndpointStatus.model_validate(raw).to_wire() == raw


TestProbes = Probes.TestCase
