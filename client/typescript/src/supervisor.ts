/**
 * A worker that is started again when it dies, with its model in it. A crash fails the requests in
 * flight, and nothing is ever sent twice: only the caller knows whether its request may be repeated.
 * Requests that come after a crash wait for the restart.
 */

import { ask } from "./ask.js";
import type { JsonObject } from "./json.js";
import { Model } from "./model.js";
import { checkDurations, refuseUnknown, withDefaults } from "./optionChecks.js";
import type { LoadOptions, MemoryOptions, Path } from "./options.js";
import type { PendingRequest } from "./pending.js";
import type { RequestLimits } from "./requestLimits.js";
import { DEFAULT_RESTART_POLICY, type RestartPolicy } from "./restart.js";
import { type MemoryFigures, readMemory } from "./results.js";
import { ModelRoute, type Route, type Sender } from "./route.js";
import { CALL, MEMORY, wireFields } from "./wireFields.js";
import { CLOSED, REPLACED, Worker } from "./worker.js";
import { WorkerLife } from "./workerLife.js";
import { settle, type WorkerOptions } from "./workerOptions.js";
import type { WorkerChange, WorkerState } from "./workerStates.js";

/** The options of `Supervisor.start`: those of `Worker.start`, with liveness on unless it is null. */
export interface SupervisorOptions extends WorkerOptions {
  /** When to start it again, and when to give up. */
  readonly restart?: Partial<RestartPolicy> | undefined;
  /** Hears what became of the worker. */
  readonly onChange?: ((change: WorkerChange) => void) | undefined;
  /** Where the jitter of pauses comes from: `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** Starts one worker; tests give another than `Worker.start`. */
export type StartWorker = (options: WorkerOptions) => Promise<Worker>;

/** A `load` that each worker to come is given. */
interface LoadPlan {
  readonly route: ModelRoute;
  readonly path: Path;
  readonly options: LoadOptions;
}

/** Keeps a worker running: `await using supervisor = await Supervisor.start()`. */
export class Supervisor implements Route, AsyncDisposable {
  /** What each request may take. @internal */
  readonly limits: RequestLimits;
  readonly #life: WorkerLife;
  #plan: LoadPlan | null = null;
  /** The limits that were set, as on the wire. */
  #memory: JsonObject = {};

  private constructor(options: SupervisorOptions, startWorker: StartWorker) {
    const { restart = {}, onChange, random = Math.random, signal, ...rest } = options;
    const { liveness = {}, ...others } = rest;
    const workerOptions: WorkerOptions = { ...others, liveness };
    refuseUnknown("restart", restart, DEFAULT_RESTART_POLICY);
    checkDurations(restart);
    this.limits = settle(workerOptions).limits;
    this.#life = new WorkerLife({
      start: (halt) => startWorker({ ...workerOptions, signal: halt }),
      prepare: (worker) => this.#prepare(worker),
      policy: withDefaults(DEFAULT_RESTART_POLICY, restart),
      onChange,
      random,
    });
  }

  /** Start the first worker. Rejects as `Worker.start`; nothing is tried again by itself yet. */
  static async start(
    options: SupervisorOptions = {},
    startWorker: StartWorker = Worker.start,
  ): Promise<Supervisor> {
    const { signal } = options;
    const supervisor = new Supervisor(options, startWorker);
    signal?.throwIfAborted();
    const abort = (): void => void supervisor.close();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await supervisor.#life.untilReady();
    } catch (error) {
      await supervisor.close();
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    return supervisor;
  }

  /** What is with the worker now; `failed` is a crash loop's verdict, which stands until `restart`. */
  get state(): WorkerState {
    return this.#life.state;
  }

  /** The worker of the moment, or the last: its pid, stderr and metrics. What is set on it is its own. */
  get worker(): Worker | null {
    return this.#life.worker;
  }

  /** Load a model now, and again with these options after each restart. Otherwise as `Worker.load`. */
  async load(path: Path, options: LoadOptions = {}): Promise<Model> {
    const worker = await this.#life.untilReady();
    const { loaded } = await worker.loadRoute(path, options);
    this.#plan?.route.close(REPLACED);
    this.#forgetLimitsOfModel();
    const { signal: _, ...lasting } = options;
    const plan = { route: new ModelRoute(this, loaded), path, options: lasting };
    this.#plan = plan;
    return new Model(plan.route, () => this.#unload(plan));
  }

  /**
   * As `Worker.memory`; the limits are set again after each restart. A `memoryLimit` and a
   * `promptCacheLimit` are the loaded model's, and go with it.
   */
  async memory(options: MemoryOptions = {}): Promise<MemoryFigures> {
    const worker = await this.#life.untilReady();
    const figures = await worker.memory(options);
    const { clear: _, ...limits } = wireFields("memory", options, MEMORY, CALL);
    this.#memory = { ...this.#memory, ...limits };
    return figures;
  }

  /** The connection of a worker that is ready, waited for if need be. @internal */
  async connect(_request: PendingRequest): Promise<Sender> {
    return (await this.#life.untilReady()).connection;
  }

  /**
   * Start another worker in its place, or after a crash loop's verdict. What is in flight has
   * `drainMs` to end, and is cancelled then; what comes meanwhile waits.
   */
  restart(drainMs = 30_000): Promise<void> {
    return this.#life.restart(drainMs);
  }

  /** End the worker for good. Safe to call again. */
  close(): Promise<void> {
    return this.#life.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Give a new worker what the one before had: its model, and then the limits. */
  async #prepare(worker: Worker): Promise<void> {
    if (this.#plan !== null) {
      const { path, options, route } = this.#plan;
      route.loaded = (await worker.loadRoute(path, options)).loaded;
    }
    if (Object.keys(this.#memory).length > 0) {
      await ask(worker.connection, "memory", this.#memory, readMemory);
    }
  }

  /** Each `load` sets these anew. */
  #forgetLimitsOfModel(): void {
    const { memory_limit: _, prompt_cache_limit: _cache, ...ofProcess } = this.#memory;
    this.#memory = ofProcess;
  }

  async #unload(plan: LoadPlan): Promise<void> {
    plan.route.close(CLOSED);
    if (this.#plan === plan) {
      this.#plan = null;
      this.#forgetLimitsOfModel();
      if (this.state === "ready") {
        await this.worker?.unload();
      }
    }
  }
}
