"""Liveness is progress: a wedge, a stopped process and a long prefill are told apart."""

from __future__ import annotations

import asyncio
import signal

import pytest

import mlxwire
from mlxwire.connection.liveness import Liveness, LivenessLimits
from support.fake_process import Processes
from support.virtual_time import now, run

LIMITS = LivenessLimits(silence=10, step=60)


def beat(phase: str, steps: int, age: float) -> mlxwire.Heartbeat:
    return mlxwire.Heartbeat(event="heartbeat", phase=phase, steps=steps, last_step_seconds=age)


class Looks:
    """A worker that is looked at each second, and says something each time."""

    def __init__(self, limits: LivenessLimits = LIMITS) -> None:
        self.liveness = Liveness(limits, interval=1, now=0)
        self.now = 0
        self.heard = 0

    def look(self, *, seconds: int = 1, hears: bool = True) -> str | None:
        self.now += seconds
        self.heard += hears
        return self.liveness.symptom(self.heard, self.now)


def test_a_worker_that_says_nothing_at_all_was_stopped():
    looks = Looks()
    verdicts = [looks.look(hears=False) for _ in range(10)]
    assert verdicts[:9] == [None] * 9
    assert "said nothing for 10 s" in str(verdicts[9])


def test_anything_it_says_is_a_sign_of_life():
    looks = Looks()
    assert not any(looks.look(hears=second % 9 == 0) for second in range(200))


@pytest.mark.parametrize("phase", ["prefill", "decode", "classify", "of a later version"])
def test_a_phase_without_a_step_is_a_wedge(phase):
    looks = Looks()
    verdicts = []
    for second in range(61):
        looks.liveness.take_beat(beat(phase, steps=7, age=second))
        verdicts.append(looks.look())
    assert verdicts[:60] == [None] * 60
    assert f"in phase {phase} it took no step for 60 s" in str(verdicts[60])


def test_a_long_prefill_takes_steps():
    looks = Looks()
    for second in range(500):
        looks.liveness.take_beat(beat("prefill", steps=second // 50, age=second % 50))
        assert looks.look() is None


def test_the_first_step_after_a_long_rest_is_not_blamed_for_the_rest():
    looks = Looks()
    looks.liveness.take_beat(beat("idle", steps=7, age=5000))
    assert looks.look() is None
    for second in range(59):
        looks.liveness.take_beat(beat("prefill", steps=7, age=5001 + second))
        assert looks.look() is None


@pytest.mark.parametrize("phase", ["idle", "load"])
def test_idling_and_loading_take_no_steps(phase):
    looks = Looks()
    for second in range(1000):
        looks.liveness.take_beat(beat(phase, steps=7, age=second))
        assert looks.look() is None


def test_a_limit_may_be_set_for_a_phase():
    looks = Looks(LivenessLimits(step=60, phases={"load": 5}))
    for second in range(6):
        looks.liveness.take_beat(beat("load", steps=7, age=second))
        verdict = looks.look()
    assert "in phase load" in str(verdict)


def test_a_host_that_stood_still_blames_nobody():
    looks = Looks()
    assert looks.look(seconds=3600, hears=False) is None
    looks.liveness.take_beat(beat("decode", steps=7, age=3600))
    assert looks.look(seconds=3600) is None


def started(**options: object) -> mlxwire.Worker:
    return mlxwire.Worker(["fake"], liveness=LIMITS, **options)


def test_a_stopped_worker_fails_what_is_pending_and_is_ended(processes: Processes):
    async def main() -> None:
        async with started() as worker:
            model = await worker.load("m")
            processes.last.answers = False
            with pytest.raises(mlxwire.WorkerCrashed, match="said nothing") as caught:
                await model.generate("p").text()
            assert 10 <= now() <= 10 + 2 * 10 / 8
            assert caught.value.retryable
            await worker.close()
        assert processes.last.signals == [signal.SIGTERM]

    run(main())


def test_heartbeats_keep_it_alive_and_reach_the_host_that_asked(processes: Processes):
    async def beating(told: list[mlxwire.Event], events: list[str]) -> None:
        async with started(events=events, on_event=told.append) as worker:
            model = await worker.load("m")
            processes.last.answers = False
            asking = asyncio.create_task(model.generate("p").text())
            request = await processes.last.request("generate")
            for second in range(300):
                await asyncio.sleep(1)
                processes.last.beat("prefill", steps=second)
            processes.last.done(request)
            await asking

    asked: list[mlxwire.Event] = []
    unasked: list[mlxwire.Event] = []
    run(beating(asked, ["heartbeat"]))
    run(beating(unasked, []))
    assert (len(asked), len(unasked)) == (300, 0)


def test_a_worker_without_heartbeats_is_left_alone(processes: Processes):
    async def main() -> None:
        async with started() as worker:
            model = await worker.load("m")
            processes.last.answers = False
            with pytest.raises(mlxwire.RequestTimeout):
                await model.generate("p", timeout=5000).text()

    processes.on_spawn = lambda process: setattr(process, "heartbeats", False)
    run(main())


def test_a_restart_policy_replaces_a_process_that_hangs(processes: Processes):
    async def main() -> None:
        async with mlxwire.Worker(
            ["fake"], liveness=LIMITS, restart=mlxwire.RestartPolicy()
        ) as worker:
            model = await worker.load("m")
            first = processes.last
            while first.alive:
                first.beat("decode", steps=7, age=now())
                await asyncio.sleep(1)
            assert 60 <= now() <= 65
            assert await model.generate("p").text() == "t"
            assert len(processes.all) == 2
            assert not first.alive

    run(main())
