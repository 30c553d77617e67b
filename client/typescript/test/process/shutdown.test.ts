import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { DEFAULT_SHUTDOWN_LIMITS, endProcess } from "../../src/process/shutdown.js";

const ALL = ["quit", "wait 3000", "close stdin", "wait 2000", "close stdin", "SIGTERM"];

/** End a process that ends at the `endsAt`th wait. Gives the steps that were taken. */
async function walk(endsAt: number, asks = true): Promise<{ steps: string[]; ended: boolean }> {
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
  const ended = await endProcess(process, DEFAULT_SHUTDOWN_LIMITS, sayQuit);
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

  test("begins at SIGTERM for a worker that can't be talked to", async () => {
    assert.deepEqual((await walk(1, false)).steps, ["close stdin", "SIGTERM", "wait 2000"]);
  });
});
