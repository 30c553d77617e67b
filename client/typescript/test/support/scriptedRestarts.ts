/** A worker with `restart` whose processes are in memory, one after another. */

import type { LoadOptions, Model, Worker, WorkerChange, WorkerOptions } from "../../src/index.js";
import type { Spawn } from "../../src/process/process.js";
import { startWorker } from "../../src/worker.js";
import { LOADED, ScriptedWorker } from "./scriptedWorker.js";

/** A policy without a pause before a restart. */
export const AT_ONCE = { backoffMinMs: 0, backoffMaxMs: 0 };

/** The processes of one worker, one after another. */
export class Scripts {
  readonly changes: WorkerChange[] = [];
  readonly #started: ScriptedWorker[] = [];
  readonly #waiting: ((script: ScriptedWorker) => void)[] = [];
  /** The next processes; once this is empty, each further one behaves well. */
  readonly planned: ScriptedWorker[] = [];

  /** Starts the next process. */
  readonly spawn: Spawn = (...args) => {
    const script = this.planned.shift() ?? new ScriptedWorker();
    const waiting = this.#waiting.shift();
    waiting === undefined ? this.#started.push(script) : waiting(script);
    return script.spawn(...args);
  };

  /** Wait for the next process that is started. */
  next(): Promise<ScriptedWorker> {
    const script = this.#started.shift();
    return script === undefined
      ? new Promise((resolve) => this.#waiting.push(resolve))
      : Promise.resolve(script);
  }

  /** The kinds of the changes so far. */
  get kinds(): string[] {
    return this.changes.map((change) => change.kind);
  }

  /** Start a worker that is restarted at once. */
  start(options: WorkerOptions = {}): Promise<Worker> {
    const onChange = (change: WorkerChange) => void this.changes.push(change);
    const all = { command: "scripted", restart: AT_ONCE, onChange, ...options };
    return startWorker(all, { spawn: this.spawn });
  }
}

/** Load a model, which succeeds on this process. */
export async function loadOn(
  worker: Worker,
  script: ScriptedWorker,
  options: LoadOptions = { contextLen: 9 },
): Promise<Model> {
  const loading = worker.load("any", options);
  script.answer(await script.next("load"), LOADED);
  return loading;
}
