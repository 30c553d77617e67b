/** What a worker is started with. */

import { DEFAULT_LIVENESS_LIMITS, type LivenessLimits } from "./process/liveness.js";
import { DEFAULT_SHUTDOWN_LIMITS, type ShutdownLimits } from "./process/shutdown.js";
import { DEFAULT_BUFFER_BYTES, DEFAULT_WINDOW, type RequestLimits } from "./requests/route.js";
import { DEFAULT_RESTART_POLICY, type RestartPolicy } from "./restart/policy.js";
import type { WorkerChange } from "./restart/workerStates.js";
import type { WorkerEvent } from "./results.js";
import {
  checkCount,
  checkDurations,
  invalid,
  refuseUnknown,
  withDefaults,
} from "./wire/optionChecks.js";

/** The options of `Worker.start`. */
export interface WorkerOptions {
  /** Start another process when one dies, by this policy: `{}` takes its defaults. Left out, none is started. */
  readonly restart?: Partial<RestartPolicy> | null | undefined;
  /** Hears what becomes of the processes. Needs `restart`. */
  readonly onChange?: ((change: WorkerChange) => void) | undefined;
  /** The worker's program and arguments; by default as `findWorker` says. */
  readonly command?: string | readonly string[] | undefined;
  /** Which engine it runs, given to it as `--engine`. */
  readonly engine?: "mlx" | "mock" | undefined;
  /** Arguments after the command's own. */
  readonly args?: readonly string[] | undefined;
  /** Variables beside the host's own. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Its folder, where relative paths begin. */
  readonly cwd?: string | undefined;
  /** Milliseconds until it must have answered hello: 30,000. */
  readonly startTimeoutMs?: number | undefined;
  /** For each request that names no `timeoutMs` of its own; `load` takes only its own. */
  readonly requestTimeoutMs?: number | undefined;
  /** For each stream that names no `idleTimeoutMs` of its own. */
  readonly idleTimeoutMs?: number | undefined;
  /** How long it has to end a cancelled request: 5000. */
  readonly drainTimeoutMs?: number | undefined;
  /** How many messages of a stream may be on their way: 256. */
  readonly window?: number | undefined;
  /** What a stream may hold for a slow consumer where the worker knows no windows: 64 MiB. */
  readonly bufferBytes?: number | undefined;
  /** Of the steps that end it. */
  readonly limits?: Partial<ShutdownLimits> | undefined;
  /**
   * How long the process may hang before it is ended; needs its heartbeats. Left out, it may hang for
   * ever, and with `restart` the default limits hold; null turns the limits off.
   */
  readonly liveness?: Partial<LivenessLimits> | null | undefined;
  /** Capabilities without which it is of no use. */
  readonly require?: readonly string[] | undefined;
  /** Events that `onEvent` hears, such as `heartbeat`. */
  readonly events?: readonly string[] | undefined;
  /** Hears each of these events. */
  readonly onEvent?: ((event: WorkerEvent) => void) | undefined;
  /** Hears each line that it logs. */
  readonly onStderr?: ((line: string) => void) | undefined;
  /** Ends it while it starts, and fails the start with the signal's own reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The options that a worker works by, each with its value. */
export interface Settings {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly startTimeoutMs: number;
  readonly limits: RequestLimits;
  readonly shutdown: ShutdownLimits;
  readonly liveness: LivenessLimits | null;
  readonly restart: RestartPolicy | null;
}

const KNOWN: Readonly<Record<keyof WorkerOptions, true>> = {
  restart: true,
  onChange: true,
  command: true,
  engine: true,
  args: true,
  env: true,
  cwd: true,
  startTimeoutMs: true,
  requestTimeoutMs: true,
  idleTimeoutMs: true,
  drainTimeoutMs: true,
  window: true,
  bufferBytes: true,
  limits: true,
  liveness: true,
  require: true,
  events: true,
  onEvent: true,
  onStderr: true,
  signal: true,
};

/** Check options, and fill in what is left out. @throws InvalidParams */
export function settle(options: WorkerOptions): Settings {
  refuseUnknown("Worker.start", options, KNOWN);
  const { limits = {}, restart = null, onChange } = options;
  const liveness = options.liveness === undefined && restart !== null ? {} : options.liveness;
  if (onChange !== undefined && restart === null) {
    throw invalid(
      "onChange",
      "tells of restarts and needs `restart`; give it too, {} for its defaults",
    );
  }
  refuseUnknown("restart", restart ?? {}, DEFAULT_RESTART_POLICY);
  refuseUnknown("limits", limits, DEFAULT_SHUTDOWN_LIMITS);
  refuseUnknown("liveness", liveness ?? {}, DEFAULT_LIVENESS_LIMITS);
  for (const durations of [options, limits, liveness ?? {}, restart ?? {}]) {
    checkDurations(durations);
  }
  checkCount("window", options.window);
  checkCount("bufferBytes", options.bufferBytes);
  const engine = options.engine === undefined ? [] : ["--engine", options.engine];
  return {
    args: [...engine, ...(options.args ?? [])],
    env: options.env ?? {},
    startTimeoutMs: options.startTimeoutMs ?? 30_000,
    limits: {
      requestTimeoutMs: options.requestTimeoutMs,
      idleTimeoutMs: options.idleTimeoutMs,
      drainTimeoutMs: options.drainTimeoutMs ?? 5000,
      window: options.window ?? DEFAULT_WINDOW,
      bufferBytes: options.bufferBytes ?? DEFAULT_BUFFER_BYTES,
    },
    shutdown: withDefaults(DEFAULT_SHUTDOWN_LIMITS, limits),
    liveness: liveness ? withDefaults(DEFAULT_LIVENESS_LIMITS, liveness) : null,
    restart: restart ? withDefaults(DEFAULT_RESTART_POLICY, restart) : null,
  };
}
