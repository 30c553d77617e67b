import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { skipWithoutWorker, workerCommand } from "../support/repository.js";

const CLIENT = JSON.stringify(new URL("../../src/index.js", import.meta.url).href);
const OPTIONS = JSON.stringify({ command: workerCommand("mock"), startTimeoutMs: 120_000 });
const POSIX = process.platform !== "win32";
const skip = skipWithoutWorker || (POSIX ? false : "needs signals");

/** Start a host process that runs a program with the client in it. */
function host(program: string): ChildProcess {
  const whole = `import { Worker } from ${CLIENT};\nconst options = ${OPTIONS};\n${program}`;
  return spawn(process.execPath, ["--input-type=module", "-e", whole], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

/** Run a program in a host process. Gives its exit code and its output. */
async function run(program: string): Promise<[exitCode: number | null, output: string]> {
  const child = host(program);
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const [exitCode] = await once(child, "close");
  return [exitCode, output];
}

suite("a host's event loop", { skip: skipWithoutWorker }, () => {
  test("ends when a worker with restart has no request in flight", async () => {
    const program = `
      const worker = await Worker.start({ ...options, restart: {} });
      const model = await worker.load("any");
      process.stdout.write(await model.generate("one two").text());`;
    assert.deepEqual(await run(program), [0, "one two"]);
  });

  test("goes on until a killed worker is gone", async () => {
    const program = `
      const worker = await Worker.start(options);
      worker.kill();
      process.stdout.write((await worker.closed).signal);`;
    assert.deepEqual(await run(program), [0, POSIX ? "SIGKILL" : "SIGTERM"]);
  });

  test("goes on for a request that waits for a restart", { skip }, async () => {
    const program = `
      const worker = await Worker.start({ ...options, restart: { backoffMinMs: 200 } });
      const model = await worker.load("any");
      const endless = model.generate("one two", { maxTokens: 1e6, ignoreEos: true });
      await endless.next();
      process.kill(worker.pid, "SIGKILL");
      const crash = await endless.done.catch((error) => error);
      process.stdout.write(crash.code + " " + (await model.generate("three").text()));`;
    assert.deepEqual(await run(program), [0, "worker_crashed three"]);
  });
});

suite("a request during the pause before a restart", { skip }, () => {
  test("keeps the host's event loop running", async () => {
    const program = `
      const ask = async () => process.stdout.write(await model.generate("three").text());
      const onChange = ({ kind }) => kind === "restarting" && setImmediate(ask);
      const restart = { backoffMinMs: 200 };
      const worker = await Worker.start({ ...options, restart, onChange });
      const model = await worker.load("any");
      const endless = model.generate("one two", { maxTokens: 1e6, ignoreEos: true });
      await endless.next();
      process.kill(worker.pid, "SIGKILL");
      await endless.done.catch(() => undefined);`;
    assert.deepEqual(await run(program), [0, "three"]);
  });
});

suite("a host that is killed during a stream", { skip }, () => {
  test("leaves no worker behind", { timeout: 60_000 }, async () => {
    const child = host(`
      const worker = await Worker.start(options);
      const model = await worker.load("any");
      console.log(worker.pid);
      for await (const _ of model.generate("one two", { maxTokens: 1e9, ignoreEos: true })) {}`);
    assert.ok(child.stdout);
    const [line] = await once(createInterface(child.stdout), "line");
    child.kill("SIGKILL");
    await once(child, "exit");
    while (isAlive(Number(line))) {
      await setTimeout(20);
    }
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
