/** The options of `Worker.start`: their types, their checks and their defaults. */

import { DEFAULT_LIVENESS_LIMITS, type LivenessLimits } from "./process/liveness.js";
import { DEFAULT_SHUTDOWN_LIMITS, type ShutdownLimits } from "./process/shutdown.js";
import { DEFAULT_BUFFER_BYTES, DEFAULT_WINDOW, type RequestLimits } from "./requests/route.js";
import { DEFAULT_RESTART_POLICY, type RestartPolicy } from "./restart/policy.js";
import type { WorkerChange } from "./restart/workerStates.js";
import type { WorkerEvent } from "./results.js";
import {
  check,
  checkOptions,
  invalid,
  KINDS,
  type Kind,
  orNull,
  withDefaults,
} from "./wire/optionChecks.js";

/** The options of `Worker.start`. */
export interface WorkerOptions {
  /**
   * Start another process when one dies, by this policy; `{}` is the default policy, left out is
   * never.
   */
  readonly restart?: Partial<RestartPolicy> | null | undefined;
  /** Called with each change of the process. Needs `restart`. */
  readonly onChange?: ((change: WorkerChange) => void) | undefined;
  /** The worker's program and arguments; left out, what `findWorker` finds. */
  readonly command?: string | readonly string[] | undefined;
  /** The engine, passed to the worker as `--engine`. */
  readonly engine?: "mlx" | "mock" | undefined;
  /** Further arguments, after those of `command`. */
  readonly args?: readonly string[] | undefined;
  /** Environment variables, in addition to the host's own. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** The working folder of the process; left out, the host's own. */
  readonly cwd?: string | undefined;
  /** Milliseconds until the worker must have answered hello: 30,000. */
  readonly startTimeoutMs?: number | undefined;
  /** The `timeoutMs` of each request that has none of its own; `load` uses only its own. */
  readonly requestTimeoutMs?: number | undefined;
  /** The `idleTimeoutMs` of each stream that has none of its own; 0 means no limit. */
  readonly idleTimeoutMs?: number | undefined;
  /** Milliseconds that the worker has to end a cancelled request: 5000. */
  readonly drainTimeoutMs?: number | undefined;
  /** The most messages of one stream on their way to its consumer: 256. */
  readonly window?: number | undefined;
  /** Bytes that a stream may buffer if the worker knows no windows: 64 MiB. */
  readonly bufferBytes?: number | undefined;
  /** Limits of the steps that end the process. */
  readonly limits?: Partial<ShutdownLimits> | undefined;
  /**
   * Limits after which a hanging process is ended; needs its heartbeats. Left out, it may hang
   * for ever, and with `restart` the default limits hold; null turns the limits off. A limit that is
   * left out of the object has its default.
   */
  readonly liveness?: Partial<LivenessLimits> | null | undefined;
  /** Capabilities that the worker must have; without one the start fails. */
  readonly require?: readonly string[] | undefined;
  /** Names of the events for `onEvent`, such as `heartbeat`. */
  readonly events?: readonly string[] | undefined;
  /** Called with each of these events. */
  readonly onEvent?: ((event: WorkerEvent) => void) | undefined;
  /** Called with each line that the process writes to stderr. */
  readonly onStderr?: ((line: string) => void) | undefined;
  /** Ends the process while it starts; the start rejects with the signal's own reason. */
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

const CHECKS: Readonly<Record<keyof WorkerOptions, Kind>> = {
  restart: orNull(KINDS.object),
  onChange: KINDS.callback,
  command: KINDS.command,
  engine: KINDS.string,
  args: KINDS.strings,
  env: KINDS.environment,
  cwd: KINDS.string,
  startTimeoutMs: KINDS.someMs,
  requestTimeoutMs: KINDS.ms,
  idleTimeoutMs: KINDS.ms,
  drainTimeoutMs: KINDS.ms,
  window: KINDS.someCount,
  bufferBytes: KINDS.someCount,
  limits: KINDS.object,
  liveness: orNull(KINDS.object),
  require: KINDS.strings,
  events: KINDS.strings,
  onEvent: KINDS.callback,
  onStderr: KINDS.callback,
  signal: KINDS.signal,
};

const POLICY_CHECKS: Readonly<Record<keyof RestartPolicy, Kind>> = {
  maxRestarts: KINDS.count,
  windowMs: KINDS.someMs,
  backoffMinMs: KINDS.ms,
  backoffMaxMs: KINDS.ms,
  jitter: KINDS.part,
};

const SHUTDOWN_CHECKS: Readonly<Record<keyof ShutdownLimits, Kind>> = {
  quitMs: KINDS.ms,
  stdinMs: KINDS.ms,
  termMs: KINDS.ms,
  killMs: KINDS.ms,
};

const LIVENESS_CHECKS: Readonly<Record<keyof LivenessLimits, Kind>> = {
  silenceMs: KINDS.someMs,
  stepMs: KINDS.someMs,
  phases: KINDS.object,
};

/** Check the options and fill in the defaults. @throws InvalidParams */
export function settle(options: WorkerOptions): Settings {
  checkOptions("Worker.start", options, CHECKS);
  const { limits = {}, restart = null, onChange } = options;
  const liveness = options.liveness === undefined && restart !== null ? {} : options.liveness;
  if (onChange !== undefined && restart === null) {
    throw invalid(
      "onChange",
      "tells of restarts and needs `restart`; give it too, {} for its defaults",
    );
  }
  checkOptions("restart", restart ?? {}, POLICY_CHECKS);
  checkOptions("limits", limits, SHUTDOWN_CHECKS);
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
    liveness: liveness ? settleLiveness(liveness) : null,
    restart: restart ? withDefaults(DEFAULT_RESTART_POLICY, restart) : null,
  };
}

function settleLiveness(given: Partial<LivenessLimits>): LivenessLimits {
  checkOptions("liveness", given, LIVENESS_CHECKS);
  const { phases = {} } = given;
  for (const [phase, limit] of Object.entries(phases)) {
    check(`phases.${phase}`, limit, orNull(KINDS.someMs));
  }
  return {
    ...withDefaults(DEFAULT_LIVENESS_LIMITS, given),
    phases: withDefaults(DEFAULT_LIVENESS_LIMITS.phases, phases),
  };
}
