/** A supervisor whose workers are in memory, one after another. */

import {
  type LoadOptions,
  type Model,
  Supervisor,
  type SupervisorOptions,
  Worker,
  type WorkerChange,
} from "../../src/index.js";
import { LOADED, ScriptedWorker } from "./scriptedWorker.js";

/** No pause before a restart. */
export const AT_ONCE = { backoffMinMs: 0, backoffMaxMs: 0 };

/** The workers that a supervisor starts, one after another. */
export class Scripts {
  readonly changes: WorkerChange[] = [];
  readonly #started: ScriptedWorker[] = [];
  readonly #waiting: ((script: ScriptedWorker) => void)[] = [];
  /** How the next workers are; each is good where this is empty. */
  readonly planned: ScriptedWorker[] = [];

  readonly start = (options: object): Promise<Worker> => {
    const script = this.planned.shift() ?? new ScriptedWorker();
    const waiting = this.#waiting.shift();
    waiting === undefined ? this.#started.push(script) : waiting(script);
    return Worker.start({ command: "scripted", ...options }, script.spawn);
  };

  /** The next worker that is started. */
  next(): Promise<ScriptedWorker> {
    const script = this.#started.shift();
    return script === undefined
      ? new Promise((resolve) => this.#waiting.push(resolve))
      : Promise.resolve(script);
  }

  get kinds(): string[] {
    return this.changes.map((change) => change.kind);
  }

  supervise(options: SupervisorOptions = {}): Promise<Supervisor> {
    const onChange = (change: WorkerChange) => void this.changes.push(change);
    return Supervisor.start({ restart: AT_ONCE, onChange, ...options }, this.start);
  }
}

/** The model of a load that succeeds on this worker. */
export async function loadOn(
  supervisor: Supervisor,
  script: ScriptedWorker,
  options: LoadOptions = { contextLen: 9 },
): Promise<Model> {
  const loading = supervisor.load("any", options);
  script.answer(await script.next("load"), LOADED);
  return loading;
}
