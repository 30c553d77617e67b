import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { DEFAULT_SHUTDOWN_LIMITS, endProcess } from "../../src/process/shutdown.js";

const ALL = ["quit", "wait 3000", "close stdin", "wait 2000", "close stdin", "SIGTERM"];

/** End a process that ends at the `endsAt`th wait. Gives the steps that were taken. */
async function walk(
  endsAt: number,
  asks = true,
  left = [3],
): Promise<{ steps: string[]; ended: boolean }> {
  const steps: string[] = [];
  let waits = 0;
  const process = {
    closeStdin: () => void steps.push("close stdin"),
    signalGroup: (signal: string) => void steps.push(signal),
    wait: (ms: number) => {
      steps.push(`wait ${ms}`);
      waits += 1;
      return Promise.resolve(waits === endsAt);
    },
  };
  const sayQuit = asks ? () => void steps.push("quit") : null;
  const inFlight = () => (left.length > 1 ? left.shift() : left[0]) as number;
  const ended = await endProcess(process, DEFAULT_SHUTDOWN_LIMITS, sayQuit, inFlight);
  return { steps, ended };
}

suite("the ladder", () => {
  test("stops at the step at which the process ends", async () => {
    const steps = [...ALL, "wait 2000", "SIGKILL", "wait 2000"];
    for (const [endsAt, length] of [2, 4, 7, 9].entries()) {
      const walked = await walk(endsAt + 1);
      assert.deepEqual(walked, { steps: steps.slice(0, length), ended: true });
    }
  });

  test("gives false if nothing could end the process", async () => {
    assert.equal((await walk(0)).ended, false);
  });

  test("waits for a worker that still sends finals", async () => {
    const { steps } = await walk(0, true, [4, 3, 3, 2, 2, 2]);
    const waits = ["wait 3000", "wait 3000", "wait 3000"];
    assert.deepEqual(steps.slice(0, 5), ["quit", ...waits, "close stdin"]);
  });

  test("does not wait for one that owes nothing more", async () => {
    const { steps } = await walk(0, true, [4, 0]);
    assert.deepEqual(steps.slice(0, 3), ["quit", "wait 3000", "close stdin"]);
  });

  test("ends one that sends finals for ever", async () => {
    const counts = Array.from({ length: 100 }, (_, n) => 200 - n);
    const { steps } = await walk(0, true, counts);
    assert.equal(steps.filter((step) => step === "wait 3000").length, 10);
  });

  test("begins at SIGTERM for a worker that can't be talked to", async () => {
    assert.deepEqual((await walk(1, false)).steps, ["close stdin", "SIGTERM", "wait 2000"]);
  });
});
