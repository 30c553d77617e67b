/** The command and hello of a start, and the points at which a signal stops it. */

import assert from "node:assert/strict";
import { afterEach, suite, test } from "node:test";
import { Worker, type WorkerOptions } from "../src/index.js";
import { WORKER_VARIABLE } from "../src/process/findWorker.js";
import type { Spawn } from "../src/process/process.js";
import { startWorker } from "../src/worker.js";
import { ScriptedWorker, startScripted } from "./support/scriptedWorker.js";

/** A worker that notes the command that started it. */
class NotingWorker extends ScriptedWorker {
  command: readonly string[] | null = null;

  readonly note: Spawn = (what, stderr, listener) => {
    this.command = what.command;
    return this.spawn(what, stderr, listener);
  };
}

async function start(options: WorkerOptions): Promise<NotingWorker> {
  const script = new NotingWorker();
  await startWorker(options, { spawn: script.note });
  return script;
}

suite("the worker's command", () => {
  const before = process.env[WORKER_VARIABLE];
  afterEach(() => {
    delete process.env[WORKER_VARIABLE];
    Object.assign(process.env, before === undefined ? {} : { [WORKER_VARIABLE]: before });
  });

  test("comes from the option env before the host's environment", async () => {
    process.env[WORKER_VARIABLE] = "of-the-host";
    assert.deepEqual((await start({ args: ["-x"] })).command, ["of-the-host", "-x"]);
    const env = { [WORKER_VARIABLE]: "of-the-worker" };
    assert.deepEqual((await start({ env })).command, ["of-the-worker"]);
  });
});

suite("hello asks for", () => {
  const wanted: [what: string, options: WorkerOptions, events: string[]][] = [
    ["no events", {}, []],
    ["those that are to be heard", { events: ["eclipse"] }, ["eclipse"]],
    ["heartbeats where it is watched", { liveness: {} }, ["heartbeat"]],
    ["each once", { liveness: {}, events: ["heartbeat"] }, ["heartbeat"]],
  ];
  for (const [what, options, events] of wanted) {
    test(what, async () => {
      const { hello } = await start({ command: "noted", ...options });
      assert.deepEqual(hello?.events, events);
    });
  }
});

suite("a start under a signal", () => {
  const isWhy = (reason: unknown): boolean => reason === "why";

  test("that had aborted before looks for no worker", async () => {
    const starting = Worker.start({ command: "'not closed", signal: AbortSignal.abort("why") });
    await assert.rejects(starting, isWhy);
  });

  test("that aborts while the worker is looked for spawns none", async () => {
    const script = new NotingWorker();
    const controller = new AbortController();
    const options = { command: "noted", signal: controller.signal };
    const starting = startWorker(options, { spawn: script.note });
    controller.abort("why");
    await assert.rejects(starting, isWhy);
    assert.equal(script.command, null);
  });

  test("that aborts in the turn of the hello's answer fails, and ends the worker", async () => {
    const script = new ScriptedWorker();
    const controller = new AbortController();
    const { answer } = script;
    script.answer = (request, fields) => {
      answer.call(script, request, fields);
      controller.abort("why");
    };
    await assert.rejects(startScripted({ signal: controller.signal }, script), isWhy);
    assert.notEqual(script.status, null);
  });

  test("passes on the lines of the worker's stderr", async () => {
    const lines: string[] = [];
    const { script } = await startScripted({ onStderr: (line) => lines.push(line) });
    script.log("one\ntwo\nrest");
    assert.deepEqual(lines, ["one", "two"]);
  });
});
