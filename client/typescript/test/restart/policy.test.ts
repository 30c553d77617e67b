import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { CrashHistory, DEFAULT_RESTART_POLICY, Suspect } from "../../src/restart/policy.js";

const POLICY = { maxRestarts: 4, windowMs: 1000, backoffMinMs: 10, backoffMaxMs: 35, jitter: 0.5 };
/** The chance at which jitter leaves a pause unchanged. */
const EVEN = 0.5;

suite("a crash history", () => {
  test("doubles the pause with each crash, up to the longest, and gives up after the last", () => {
    const history = new CrashHistory(POLICY);
    const pauses = [0, 1, 2, 3, 4].map((now) => history.crashed(now, EVEN));
    assert.deepEqual(pauses, [10, 20, 35, 35, null]);
  });

  test("forgets only the crashes outside of the window", () => {
    const history = new CrashHistory(POLICY);
    for (const now of [0, 300, 600, 900]) {
      history.crashed(now, EVEN);
    }
    assert.equal(history.crashed(1000, EVEN), 35);
    assert.equal(history.length, 4);
    assert.equal(history.crashed(1299, EVEN), null);
  });

  test("begins anew after forget()", () => {
    const history = new CrashHistory(POLICY);
    history.crashed(0, EVEN);
    history.forget();
    assert.equal(history.length, 0);
    assert.equal(history.crashed(1, EVEN), 10);
  });

  test("spreads a pause by its jitter", () => {
    assert.equal(new CrashHistory(POLICY).crashed(0, 0), 5);
    assert.equal(new CrashHistory(POLICY).crashed(0, 1), 15);
  });

  test("never asks for a pause that no timer can wait", () => {
    const longest = 2 ** 31 - 1;
    const limits = { backoffMinMs: longest, backoffMaxMs: longest, jitter: 1 };
    assert.equal(new CrashHistory({ ...POLICY, ...limits }).crashed(0, 1), longest);
    const atOnce = { ...POLICY, maxRestarts: 5000, backoffMinMs: 0, windowMs: longest };
    const history = new CrashHistory(atOnce);
    for (let now = 0; now < 2000; now += 1) {
      assert.equal(history.crashed(now, EVEN), 0);
    }
  });

  test("never asks for an infinite pause", () => {
    const history = new CrashHistory({ ...DEFAULT_RESTART_POLICY, maxRestarts: 5000 });
    for (let count = 0; count < 5000; count += 1) {
      assert.ok((history.crashed(0, 1) ?? 0) <= 36_000);
    }
  });
});

suite("a suspect", () => {
  const asked = (prompt: string) => ({ command: "generate", fields: { prompt } });

  test("is the same request, alone at two crashes in a row", () => {
    const suspect = new Suspect();
    assert.deepEqual(
      [asked("a"), asked("a"), asked("b"), asked("a"), asked("a")].map((each) =>
        suspect.crashed([each]),
      ),
      [false, true, false, false, true],
    );
  });

  test("is not found among other requests, nor without requests", () => {
    const suspect = new Suspect();
    for (const inFlight of [[asked("a"), asked("b")], []]) {
      assert.deepEqual([suspect.crashed(inFlight), suspect.crashed(inFlight)], [false, false]);
    }
  });
});
