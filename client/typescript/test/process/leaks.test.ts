import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { suite, test } from "node:test";
import { Worker } from "../../src/index.js";
import { skipWithoutWorker, workerCommand } from "../support/repository.js";

const ROUNDS = 5;
const AT_ONCE = 4;
const PATIENCE_MS = 20_000;
const skip = process.platform === "linux" ? skipWithoutWorker : "needs /proc";

/** Start some workers, use them, and end them: by close, by a signal, and during a stream. */
async function useAndEnd(): Promise<void> {
  const options = { command: workerCommand("mock"), startTimeoutMs: 120_000, liveness: {} };
  const workers = await Promise.all(Array.from({ length: AT_ONCE }, () => Worker.start(options)));
  for (const [place, worker] of workers.entries()) {
    const model = await worker.load("any");
    const endless = model.generate("one two", { maxTokens: 100_000, ignoreEos: true });
    await endless.next();
    if (place % 2 === 0) {
      worker.kill();
      await assert.rejects(endless.done);
    }
  }
  await Promise.all(workers.map((worker) => worker.close()));
}

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** List the resources that keep the event loop, except files that the test runner is closing. */
function active(): string {
  const resources = process.getActiveResourcesInfo().filter((name) => name !== "CloseReq");
  return resources.sort().join();
}

/** Node closes a child's handles some turns of its loop after the child's end. */
async function settled(atFirst: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (handles(active()) !== handles(atFirst) && performance.now() < deadline) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function handles(resources: string): number {
  return resources.split(",").filter((name) => /^(Pipe|Process)Wrap$/.test(name)).length;
}

suite("workers that were ended", { skip }, () => {
  test("leave no descriptor, timer or handle behind", async () => {
    const atFirst = active();
    await useAndEnd(); // opens what Node opens once, such as its watch of children
    await settled(atFirst);
    const open = openDescriptors();
    for (let round = 0; round < ROUNDS; round += 1) {
      await useAndEnd();
    }
    await settled(atFirst);
    assert.deepEqual([openDescriptors(), active()], [open, atFirst]);
  });
});
