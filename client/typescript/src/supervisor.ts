/**
 * A worker that is started again when it dies, with its model in it. A crash fails the requests in
 * flight, and nothing is ever sent twice: only the caller knows whether its request may be repeated.
 * Requests that come after a crash wait for the restart.
 */

import { ModelNotLoaded } from "./errors.js";
import { Model } from "./model.js";
import type { LoadOptions, MemoryOptions, Path } from "./options.js";
import type { PendingRequest } from "./requests/pending.js";
import type { RequestLimits, Route, Sender } from "./requests/route.js";
import { DEFAULT_RESTART_POLICY, type RestartPolicy } from "./restart/policy.js";
import { type LoadPlan, Replay } from "./restart/replay.js";
import { WorkerLife } from "./restart/workerLife.js";
import type { WorkerChange, WorkerState } from "./restart/workerStates.js";
import type { MemoryFigures } from "./results.js";
import { checkDurations, refuseUnknown, withDefaults } from "./wire/optionChecks.js";
import { CLOSED, REPLACED, Worker } from "./worker.js";
import { settle, type WorkerOptions } from "./workerOptions.js";

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

/** Keeps a worker running: `await using supervisor = await Supervisor.start()`. */
export class Supervisor implements Route, AsyncDisposable {
  /** What each request may take. @internal */
  readonly limits: RequestLimits;
  readonly #life: WorkerLife;
  readonly #replay = new Replay();
  /** Settled when the loads and unloads that were asked for are over; null where there is none. */
  #changing: Promise<void> | null = null;

  private constructor(options: SupervisorOptions, startWorker: StartWorker) {
    const { restart = {}, onChange, random = Math.random, signal, ...rest } = options;
    const { liveness = {}, ...others } = rest;
    const workerOptions: WorkerOptions = { ...others, liveness };
    refuseUnknown("restart", restart, DEFAULT_RESTART_POLICY);
    checkDurations(restart);
    this.limits = settle(workerOptions).limits;
    this.#life = new WorkerLife({
      start: (halt) => startWorker({ ...workerOptions, signal: halt }),
      prepare: (worker) => this.#replay.prepare(worker),
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

  /**
   * Load a model now, and again with these options after each restart. Otherwise as `Worker.load`;
   * but where it fails the model of before stays usable. If the worker has lost it, the next request
   * has it loaded again.
   */
  async load(path: Path, options: LoadOptions = {}): Promise<Model> {
    const plan = await this.#change(async () => {
      await this.#life.untilReady();
      await new Promise(setImmediate); // requests that found a worker are sent within microtasks
      return this.#replay.load(this, await this.#life.untilReady(), path, options);
    });
    return new Model(plan.route, () => this.#unload(plan));
  }

  /**
   * As `Worker.memory`; the limits are set again after each restart. A `memoryLimit` and a
   * `promptCacheLimit` are the loaded model's, and go with it.
   */
  async memory(options: MemoryOptions = {}): Promise<MemoryFigures> {
    const worker = await this.#workerWithModel();
    const figures = await worker.memory(options);
    this.#replay.keepLimits(options);
    return figures;
  }

  /** The connection of a worker that is ready, waited for if need be. @internal */
  async connect(_request: PendingRequest): Promise<Sender> {
    const { plan } = this.#replay;
    const worker = await this.#workerWithModel();
    if (this.#replay.plan !== plan) {
      throw new ModelNotLoaded(this.#replay.plan === null ? CLOSED : REPLACED);
    }
    return worker.connection;
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

  /** A worker that is ready, with the model in it that was loaded last. */
  async #workerWithModel(): Promise<Worker> {
    for (;;) {
      while (this.#changing !== null) {
        await this.#changing;
      }
      const worker = await this.#life.untilReady();
      if (!this.#replay.doubts(worker)) {
        return worker;
      }
      try {
        await this.#change(() => this.#replay.restore(worker));
      } catch (error) {
        if (this.worker === worker && this.state === "ready") {
          throw error;
        } // it died meanwhile, and the one to come is prepared
      }
    }
  }

  /** Change what is loaded, once the changes before are over; requests that come meanwhile wait. */
  async #change<T>(act: () => Promise<T>): Promise<T> {
    const before = this.#changing;
    const changed = (async () => {
      await before;
      return act();
    })();
    const over = changed.then(ignore, ignore);
    this.#changing = over;
    try {
      return await changed;
    } finally {
      if (this.#changing === over) {
        this.#changing = null;
      }
    }
  }

  async #unload(plan: LoadPlan): Promise<void> {
    plan.route.close(CLOSED);
    if (this.state !== "ready") {
      this.#replay.drop(plan);
      return;
    }
    await this.#change(async () => {
      if (this.#replay.drop(plan) && this.state === "ready") {
        await this.worker?.unload();
      }
    });
  }
}

function ignore(): void {}
