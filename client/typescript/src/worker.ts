/**
 * `Worker`: a child process with one model in it, started again after a crash where its host asks
 * for that.
 */

import type { Exit } from "./errors.js";
import { Model } from "./model.js";
import type {
  CallOptions,
  DiscoverOptions,
  FitOptions,
  LoadOptions,
  MemoryOptions,
  Path,
} from "./options.js";
import type { Spawn } from "./process/process.js";
import { ask } from "./requests/ask.js";
import { ItemRequest } from "./requests/modelRequests.js";
import { type Processes, StartedWorker } from "./restart/startedWorker.js";
import type { Judge } from "./restart/workerLife.js";
import { WorkerSeries } from "./restart/workerSeries.js";
import type { WorkerState } from "./restart/workerStates.js";
import type { CancelOutcome, FitResult, Hello, MemoryFigures, WorkerMetrics } from "./results.js";
import { DiscoverStream } from "./stream.js";
import { check, KINDS } from "./wire/optionChecks.js";
import { readCancel, readFit, readFound, readMetrics } from "./wire/readReplies.js";
import { DISCOVER, FIT, pathText, QUIET_STREAM, wireFields } from "./wire/wireFields.js";
import { settle, type WorkerOptions } from "./workerOptions.js";

/**
 * A child process that serves one model at a time: `await using worker = await Worker.start()`.
 *
 * With the option `restart` a process that dies is replaced by another, which loads the same model.
 * A crash still fails the requests in flight: no request is ever sent twice, since only the caller
 * knows whether it may be repeated. Requests that come between two processes wait for the next one.
 *
 * The host's event loop may end while no request is in flight; the process then ends with its host.
 */
export class Worker implements AsyncDisposable {
  readonly #processes: Processes;

  /** @internal */
  constructor(processes: Processes) {
    this.#processes = processes;
  }

  /**
   * Start a worker process and shake hands with it. With `restart` too, a first start that fails is
   * not tried again.
   *
   * Rejects with `InvalidParams` for a wrong option, `SpawnFailed`, `HandshakeFailed` (also if the
   * process exits instead of answering), `UnsupportedProtocol`, `UnsupportedCapability`, or the
   * signal's own reason. The process is gone in each case.
   */
  static start(options: WorkerOptions = {}): Promise<Worker> {
    return startWorker(options);
  }

  /** Name, version, pid and engine, as the process told them in the handshake. */
  get identity(): Hello["worker"] {
    return this.#processes.current.hello.worker;
  }

  /** Capabilities by name; a name that is missing or false is not supported (SPEC §3). */
  get capabilities(): Hello["capabilities"] {
    return this.#processes.current.hello.capabilities;
  }

  /** The sizes that the worker enforces: bytes of a line, requests in flight. */
  get limits(): Hello["limits"] {
    return this.#processes.current.hello.limits;
  }

  /**
   * The id of the current process. After a crash it is the id of the dead process until the next
   * one has started.
   */
  get pid(): number {
    return this.#processes.current.pid;
  }

  /**
   * The worker's state. Without `restart` one of `ready`, `failed` (the process died) and `closed`;
   * with it `failed` means that the policy gave the worker up, until `restart()` is called.
   */
  get state(): WorkerState {
    return this.#processes.state;
  }

  /**
   * Settled when the process has ended, with its exit; both fields are null if nothing could end
   * it. With `restart` it is settled by `close` or `kill` alone, with the exit of the last process.
   */
  get closed(): Promise<Exit> {
    return this.#processes.closed;
  }

  /** The last 64 KiB that the process wrote to stderr. */
  get stderr(): string {
    return this.#processes.current.stderr;
  }

  /** Lines on the process's stdout before the handshake that are no messages, such as a banner. */
  get strayLines(): readonly Buffer[] {
    return this.#processes.current.strayLines;
  }

  /**
   * Load a model folder. It replaces the model loaded before, whose `Model` is void from then on;
   * if the new one fails its checks, the one before stays.
   *
   * With `restart` the model is loaded again, with these options, into each process to come. A load
   * that fails then leaves the model before usable in any case: if the process has lost it, the
   * next request has it loaded again first.
   *
   * Rejects with `ModelNotFound`, `ModelLoadFailed`, `UnsupportedModel`, `InvalidParams` or
   * `OutOfMemory`.
   */
  async load(path: Path, options: LoadOptions = {}): Promise<Model> {
    const { route, unload } = await this.#processes.load(path, options);
    return new Model(route, unload);
  }

  /**
   * Find the models below folders, or below one folder, and in the hub's local cache; none is loaded.
   * Without a folder only the cache is read. The stream gives each model as its folder is read, and for
   * each broken one an `error`; awaited, it gives all of them.
   *
   * @throws InvalidParams for an unknown option; the stream rejects with all other errors.
   */
  discover(paths: Path | readonly Path[] = [], options: DiscoverOptions = {}): DiscoverStream {
    const fields = wireFields("discover", options, DISCOVER, QUIET_STREAM);
    const folders = isPaths(paths) ? paths : [paths];
    const sent = { ...fields, paths: folders.map((path) => pathText(path, "paths")) };
    const { route } = this.#processes;
    return new DiscoverStream(new ItemRequest(route, "discover", sent, options, readFound));
  }

  /**
   * Predict the memory that the model in a folder needs, in bytes, without loading it. Without a path
   * it is the loaded model.
   *
   * Rejects with `ModelNotFound`, `ModelLoadFailed`, `UnsupportedModel`, or `ModelNotLoaded` if there is
   * neither.
   */
  async fit(path?: Path | null, options?: FitOptions): Promise<FitResult> {
    const fields = (path ?? null) === null ? {} : { path: pathText(path as Path) };
    return ask(this.#processes.route, "fit", fields, readFit, options, FIT);
  }

  /** Unload the loaded model. Does nothing if no model is loaded. */
  unload(options: CallOptions = {}): Promise<void> {
    return this.#processes.unload(options);
  }

  /** Ask for the sums over the process's life, and its present state. */
  metrics(options: CallOptions = {}): Promise<WorkerMetrics> {
    return ask(this.#processes.route, "metrics", {}, readMetrics, options);
  }

  /**
   * Ask for the memory in use, in bytes, after setting the limits given. With `restart` the limits
   * are set again in each process to come; `memoryLimit` and `promptCacheLimit` belong to the
   * loaded model and end with it.
   */
  memory(options: MemoryOptions = {}): Promise<MemoryFigures> {
    return this.#processes.memory(options);
  }

  /**
   * Cancel one request by its stream's `id`, or all requests in flight; each still ends by itself.
   */
  async cancel(requestId?: string, options: CallOptions = {}): Promise<CancelOutcome> {
    check("requestId", requestId, KINDS.string);
    const fields = requestId === undefined ? {} : { target: requestId };
    return ask(this.#processes.route, "cancel", fields, readCancel, options);
  }

  /**
   * Replace the process by another, also after the policy gave the worker up. Requests in flight
   * have `drainMs` to end and fail with `WorkerCrashed` then; requests that come meanwhile wait for
   * the next process.
   *
   * Rejects with `InvalidParams` if the worker was started without `restart`, with `ShuttingDown`
   * if it was closed, and as `start` and `load` do if the next process fails.
   */
  async restart(drainMs = 30_000): Promise<void> {
    check("drainMs", drainMs, KINDS.ms);
    return this.#processes.restart(drainMs);
  }

  /**
   * End the worker for good: send `quit`, close its stdin, SIGTERM, SIGKILL, each step with its
   * limit. May be called at any time, any number of times and by several callers at once.
   */
  close(): Promise<void> {
    return this.#processes.close();
  }

  /**
   * End the worker for good with a SIGKILL to its process group. `closed` tells when it is gone.
   */
  kill(): void {
    this.#processes.kill();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function isPaths(paths: Path | readonly Path[]): paths is readonly Path[] {
  return Array.isArray(paths);
}

/** The parts that tests replace: the start of a process, and chance. */
export interface Seams {
  /** Starts a process in place of `WorkerProcess.spawn`. */
  readonly spawn?: Spawn;
  /** Gives a number from 0 to 1 for the jitter of pauses, in place of `Math.random`. */
  readonly random?: () => number;
}

/** Start a worker as `Worker.start` does, with the seams of tests. */
export async function startWorker(options: WorkerOptions, seams: Seams = {}): Promise<Worker> {
  const settings = settle(options);
  const { restart } = settings;
  if (restart === null) {
    return new Worker(await StartedWorker.start(options, settings, seams.spawn));
  }
  const start = (signal: AbortSignal, judge: Judge): Promise<StartedWorker> =>
    StartedWorker.start({ ...options, signal }, settings, seams.spawn, judge);
  const { onChange } = options;
  const { random = Math.random } = seams;
  const { limits } = settings;
  const series = new WorkerSeries({ start, policy: restart, onChange, random, limits });
  await series.begin(options.signal);
  return new Worker(series);
}
