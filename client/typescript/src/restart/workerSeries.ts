/**
 * The processes behind a `Worker` with `restart`: one after another, each with the model of the
 * last load. `WorkerLife` starts and ends the processes; `Replay` gives each its model and limits.
 *
 * A load, an unload and a reload after a failed load change what is loaded. They run one after
 * another (`#change`), and requests that come meanwhile wait for the last of them.
 */

import { type Exit, ModelNotLoaded } from "../errors.js";
import type { CallOptions, LoadOptions, MemoryOptions, Path } from "../options.js";
import { Deferred, onAbort } from "../requests/callbacks.js";
import type { PendingRequest } from "../requests/pending.js";
import {
  CLOSED,
  REPLACED,
  type RequestLimits,
  type Route,
  type Sender,
} from "../requests/route.js";
import type { MemoryFigures } from "../results.js";
import { type LoadPlan, Replay } from "./replay.js";
import type { LoadedModel, Processes, StartedWorker } from "./startedWorker.js";
import { type LifeOptions, WorkerLife } from "./workerLife.js";
import type { WorkerState } from "./workerStates.js";

/** The options of a series: those of its life, and the limits of requests. */
export interface SeriesOptions extends Omit<LifeOptions, "prepare"> {
  readonly limits: RequestLimits;
}

/** Keeps a worker process running, with its model. */
export class WorkerSeries implements Processes, Route {
  readonly limits: RequestLimits;
  /** The route for requests that need no model: any process that can still be asked. */
  readonly route: Route;
  readonly #life: WorkerLife;
  readonly #replay = new Replay();
  readonly #closed = new Deferred<Exit>();
  /** Settled when every load and unload that was requested has ended; null if there is none. */
  #changing: Promise<void> | null = null;

  constructor({ limits, ...options }: SeriesOptions) {
    this.limits = limits;
    this.route = { limits, connect: () => this.#anyProcess() };
    this.#life = new WorkerLife({
      ...options,
      prepare: (worker) => this.#replay.prepare(worker),
    });
  }

  /** Start the first process, which `signal` ends until it is ready. Rejects as `Worker.start`. */
  async begin(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const forget = signal && onAbort(signal, () => void this.close());
    try {
      await this.#life.untilReady();
    } catch (error) {
      await this.close();
      signal?.throwIfAborted();
      throw error;
    } finally {
      forget?.();
    }
  }

  get current(): StartedWorker {
    const { worker } = this.#life;
    if (worker === null) {
      throw new Error("this worker has not started a process yet; call load() first");
    }
    return worker;
  }

  get state(): WorkerState {
    return this.#life.state;
  }

  get closed(): Promise<Exit> {
    return this.#closed.promise;
  }

  async load(path: Path, options: LoadOptions): Promise<LoadedModel> {
    const plan = await this.#change(async () => {
      await this.#life.untilReady();
      await new Promise(setImmediate); // requests that found a worker are sent within microtasks
      return this.#replay.load(this, await this.#life.untilReady(), path, options);
    });
    return { route: plan.route, unload: () => this.#unload(plan, {}) };
  }

  async unload(options: CallOptions): Promise<void> {
    const { plan } = this.#replay;
    if (plan !== null) {
      await this.#unload(plan, options);
    }
  }

  async memory(options: MemoryOptions): Promise<MemoryFigures> {
    const worker = await this.#workerWithModel();
    const figures = await worker.memory(options);
    this.#replay.keepLimits(options);
    return figures;
  }

  /**
   * Find the connection for a model's request: that of a process which is ready and has the model.
   */
  async connect(_request: PendingRequest): Promise<Sender> {
    const { plan } = this.#replay;
    const worker = await this.#workerWithModel();
    if (this.#replay.plan !== plan) {
      throw new ModelNotLoaded(this.#replay.plan === null ? CLOSED : REPLACED);
    }
    return worker.connection;
  }

  restart(drainMs: number): Promise<void> {
    return this.#life.restart(drainMs);
  }

  async close(): Promise<void> {
    await this.#life.close();
    const { worker } = this.#life;
    this.#closed.resolve(worker === null ? { exitCode: null, signal: null } : await worker.closed);
  }

  kill(): void {
    this.current.kill();
    void this.close();
  }

  /** Find a process that can be asked: the one at hand, also while it drains, or the next one. */
  #anyProcess(): Sender | Promise<Sender> {
    const { worker } = this.#life;
    if (worker !== null && worker.connection.failure === null) {
      return worker.connection;
    }
    return this.#life.untilReady().then(({ connection }) => connection);
  }

  /** Wait for a process that is ready and has the model of the last load in it. */
  async #workerWithModel(): Promise<StartedWorker> {
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
        if (this.#life.worker === worker && this.state === "ready") {
          throw error;
        } // the process died meanwhile, and the next one is prepared with the model
      }
    }
  }

  /** Change what is loaded once all earlier changes are over; requests that come meanwhile wait. */
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

  async #unload(plan: LoadPlan, options: CallOptions): Promise<void> {
    plan.route.close(CLOSED);
    if (this.state !== "ready") {
      this.#replay.drop(plan);
      return;
    }
    await this.#change(async () => {
      if (this.#replay.drop(plan) && this.state === "ready") {
        await this.#life.worker?.unload(options);
      }
    });
  }
}

function ignore(): void {}
