/**
 * What a supervisor gives each of its workers again: the model of the last load that succeeded, and
 * limits of memory. A load that fails after its checks, or is cancelled there, leaves the worker
 * without a model (SPEC §4.1); the one before is the supervisor's still, and is loaded again.
 */

import { ModelNotLoaded } from "../errors.js";
import type { LoadOptions, MemoryOptions, Path } from "../options.js";
import { ask } from "../requests/ask.js";
import { ModelRoute, REPLACED, type Route } from "../requests/route.js";
import type { JsonObject } from "../wire/json.js";
import { readInfo, readMemory } from "../wire/readReplies.js";
import { CALL, MEMORY, wireFields } from "../wire/wireFields.js";
import type { StartedWorker } from "./startedWorker.js";

/** A `load` that each worker to come is given. */
export interface LoadPlan {
  /** Where the requests of its model go. */
  readonly route: ModelRoute;
  readonly path: Path;
  readonly options: LoadOptions;
}

/** Holds the plan, and sees to it that a worker has what is planned. */
export class Replay {
  #plan: LoadPlan | null = null;
  /** The limits that were set, as on the wire. */
  #memory: JsonObject = {};
  /** To the plan's model, as the worker of the moment knows it. */
  #route: ModelRoute | null = null;
  /** In which a load failed, so that the plan's model may be gone from it. */
  #doubtful: StartedWorker | null = null;

  /** Null where no model was loaded, or that was closed. */
  get plan(): LoadPlan | null {
    return this.#plan;
  }

  /** Load it now; the plan of before stays where that fails. Rejects as `Worker.load`. */
  async load(
    way: Route,
    worker: StartedWorker,
    path: Path,
    options: LoadOptions,
  ): Promise<LoadPlan> {
    this.#doubtful = worker;
    this.#route = await worker.loadRoute(path, options);
    this.#doubtful = null;
    this.#plan?.route.close(REPLACED);
    this.#forgetLimitsOfModel();
    const { signal: _, ...lasting } = options;
    this.#plan = { route: new ModelRoute(way, this.#route.loaded), path, options: lasting };
    return this.#plan;
  }

  /** Plan nothing any more; false where another load is planned. */
  drop(plan: LoadPlan): boolean {
    if (this.#plan !== plan) {
      return false;
    }
    this.#plan = null;
    this.#route = null;
    this.#forgetLimitsOfModel();
    return true;
  }

  /** They were set, and each worker to come gets them too. */
  keepLimits(options: MemoryOptions): void {
    const { clear: _, ...limits } = wireFields("memory", options, MEMORY, CALL);
    this.#memory = { ...this.#memory, ...limits };
  }

  /** Give a worker the model, and then the limits. Rejects with what either failed with. */
  async prepare(worker: StartedWorker): Promise<void> {
    if (this.#plan !== null) {
      const { path, options, route } = this.#plan;
      this.#route = await worker.loadRoute(path, options);
      route.loaded = this.#route.loaded;
    }
    if (Object.keys(this.#memory).length > 0) {
      await ask(worker.connection, "memory", this.#memory, readMemory);
    }
    this.#doubtful = null;
  }

  /** Whether a load failed in it, and what it has now is not known. */
  doubts(worker: StartedWorker): boolean {
    return this.#doubtful === worker && this.#plan !== null;
  }

  /** Load the planned model again where a load that failed has cost it. Rejects as `prepare`. */
  async restore(worker: StartedWorker): Promise<void> {
    if (!this.doubts(worker)) {
      return;
    }
    if (await this.#isGone()) {
      await this.prepare(worker);
    }
    this.#doubtful = null;
  }

  /** Had the load that failed been cancelled too late, it would have replaced the model. */
  async #isGone(): Promise<boolean> {
    const route = this.#route;
    try {
      // Answered when that load is over.
      await (route && ask(route, "info", {}, readInfo));
    } catch (error) {
      if (error instanceof ModelNotLoaded) {
        return true;
      }
      throw error;
    }
    return !route?.open;
  }

  /** Each `load` sets these anew. */
  #forgetLimitsOfModel(): void {
    const { memory_limit: _, prompt_cache_limit: _cache, ...ofProcess } = this.#memory;
    this.#memory = ofProcess;
  }
}
