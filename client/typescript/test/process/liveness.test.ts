import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { DEFAULT_LIVENESS_LIMITS, Liveness } from "../../src/process/liveness.js";
import type { Heartbeat } from "../../src/results.js";

const LIMITS = { ...DEFAULT_LIVENESS_LIMITS, silenceMs: 1000, stepMs: 4000 };
const INTERVAL = 250;

function beat(phase: string, steps: number, lastStepSeconds: number): Heartbeat {
  return { event: "heartbeat", phase, steps, lastStepSeconds, inFlight: 1, queued: 0 };
}

/** Looks at a worker at each interval; `each` gives the heartbeat that came before a look. */
class Watched {
  readonly liveness = new Liveness(LIMITS, INTERVAL, 0);
  heard = 0;
  now = 0;

  say(message: Heartbeat): void {
    this.heard += 1;
    this.liveness.takeBeat(message);
  }

  /** Find the first verdict within `ms` milliseconds, and its time. */
  watch(ms: number, each: () => void = () => undefined): [at: number, verdict: string] | null {
    for (const end = this.now + ms; this.now < end; ) {
      this.now += INTERVAL;
      each();
      const verdict = this.liveness.verdict(this.heard, this.now);
      if (verdict !== null) return [this.now, verdict];
    }
    return null;
  }
}

suite("a worker", () => {
  test("that says nothing is dead after silenceMs", () => {
    const [at, verdict] = new Watched().watch(10_000) ?? [];
    assert.equal(at, 1000);
    assert.match(verdict ?? "", /said nothing for 1000 ms/);
  });

  test("that falls silent is dead silenceMs after its last message", () => {
    const watched = new Watched();
    watched.watch(INTERVAL, () => watched.say(beat("idle", 1, 0)));
    const [at] = watched.watch(10_000) ?? [];
    assert.equal(at, INTERVAL + 1000);
  });

  test("whose heartbeats tell of no step is dead after stepMs", () => {
    const watched = new Watched();
    let age = 0;
    const [at, verdict] =
      watched.watch(10_000, () => {
        watched.say(beat("decode", 7, age));
        age += INTERVAL / 1000;
      }) ?? [];
    assert.equal(at, 4250);
    assert.match(verdict ?? "", /in phase decode it took no step for 4000 ms/);
  });

  test("that takes steps is alive, however long it computes", () => {
    const watched = new Watched();
    let steps = 0;
    const verdict = watched.watch(60_000, () => {
      steps += watched.now % 3000 === 0 ? 1 : 0;
      watched.say(beat("prefill", steps, 30));
    });
    assert.equal(verdict, null);
  });

  test("that just began a step is not judged by the age of the step before", () => {
    const watched = new Watched();
    watched.say(beat("decode", 1, 3600));
    assert.equal(
      watched.watch(3000, () => watched.say(beat("decode", 1, 3600))),
      null,
    );
  });

  for (const phase of ["idle", "load"]) {
    test(`has no limit in phase ${phase}`, () => {
      const watched = new Watched();
      assert.equal(
        watched.watch(60_000, () => watched.say(beat(phase, 1, watched.now / 1000))),
        null,
      );
    });
  }

  test("is not blamed if the host itself stood still", () => {
    const { liveness } = new Watched();
    assert.equal(liveness.verdict(0, 3_600_000), null);
  });
});
