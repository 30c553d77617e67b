/** A `WorkerLife` whose processes are in memory. */

import assert from "node:assert/strict";
import type { WorkerChange } from "../../src/index.js";
import { DEFAULT_RESTART_POLICY, type RestartPolicy } from "../../src/restart/policy.js";
import { StartedWorker } from "../../src/restart/startedWorker.js";
import { type Judge, WorkerLife } from "../../src/restart/workerLife.js";
import { settle } from "../../src/workerOptions.js";
import { ScriptedWorker } from "./scriptedWorker.js";

/** A policy without a pause before a restart. */
export const POLICY = { ...DEFAULT_RESTART_POLICY, backoffMinMs: 0, backoffMaxMs: 0 };

/** Make a life whose processes are scripted; `scripts` are all processes started so far. */
export function lead(
  prepare: (worker: StartedWorker) => Promise<void> = async () => undefined,
  planned: ScriptedWorker[] = [],
  limits: Partial<RestartPolicy> = {},
) {
  const scripts: ScriptedWorker[] = [];
  const changes: WorkerChange[] = [];
  const life = new WorkerLife({
    start: (signal, judge) => {
      const script = planned.shift() ?? new ScriptedWorker();
      scripts.push(script);
      return startProcess(script, signal, judge);
    },
    prepare,
    policy: { ...POLICY, ...limits },
    onChange: (change) => changes.push(change),
    random: () => 0.5,
  });
  const kinds = (): string[] => changes.map((change) => change.kind);
  return { life, scripts, changes, kinds };
}

/** Start a process in memory. */
export function startProcess(
  script: ScriptedWorker,
  signal: AbortSignal,
  judge: Judge,
): Promise<StartedWorker> {
  return StartedWorker.start({ command: "scripted", signal }, settle({}), script.spawn, judge);
}

/** Give the process that was started last. */
export function last(scripts: ScriptedWorker[]): ScriptedWorker {
  const script = scripts.at(-1);
  assert.ok(script);
  return script;
}
