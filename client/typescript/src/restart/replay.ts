/**
 * Restores the model of the last successful load and the memory limits in each new process. A load
 * that fails after its checks, or is cancelled then, leaves the process without a model (SPEC
 * §4.1). The earlier plan then stays, and its model is loaded again.
 */

import { ModelNotLoaded } from "../errors.js";
import type { LoadOptions, MemoryOptions, Path } from "../options.js";
import { ask } from "../requests/ask.js";
import { ModelRoute, REPLACED, type Route } from "../requests/route.js";
import type { JsonObject } from "../wire/json.js";
import { readInfo, readMemory } from "../wire/readReplies.js";
import { CALL, MEMORY, wireFields } from "../wire/wireFields.js";
import type { StartedWorker } from "./startedWorker.js";

/** A `load` that each new process is given. */
export interface LoadPlan {
  /** The route of the model's requests, from one process to the next. */
  readonly route: ModelRoute;
  readonly path: Path;
  readonly options: LoadOptions;
}

/** Holds the planned load and limits, and applies them to a process. */
export class Replay {
  #plan: LoadPlan | null = null;
  /** The limits of memory that were set, as on the wire. */
  #memory: JsonObject = {};
  /** The route to the plan's model within the present process. */
  #route: ModelRoute | null = null;
  /** The process whose model is unknown, because a load in it failed; null if there is none. */
  #doubtful: StartedWorker | null = null;

  /** The plan; null if no model was loaded or the model was closed. */
  get plan(): LoadPlan | null {
    return this.#plan;
  }

  /** Load a model and plan it for later processes; the old plan stays if the load fails. */
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

  /** Drop a plan. Returns false if another load has replaced it. */
  drop(plan: LoadPlan): boolean {
    if (this.#plan !== plan) {
      return false;
    }
    this.#plan = null;
    this.#route = null;
    this.#forgetLimitsOfModel();
    return true;
  }

  /** Keep limits of memory that were set, for later processes. */
  keepLimits(options: MemoryOptions): void {
    const { clear: _, ...limits } = wireFields("memory", options, MEMORY, CALL);
    this.#memory = { ...this.#memory, ...limits };
  }

  /** Load the model into a process, then set the limits. Rejects with the error of either. */
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

  /** Return true if a load failed in this process, so that its model is unknown. */
  doubts(worker: StartedWorker): boolean {
    return this.#doubtful === worker && this.#plan !== null;
  }

  /**
   * Load the planned model again if a failed load has removed it from the process. Rejects as
   * `prepare`.
   */
  async restore(worker: StartedWorker): Promise<void> {
    if (!this.doubts(worker)) {
      return;
    }
    if (await this.#isGone()) {
      await this.prepare(worker);
    }
    this.#doubtful = null;
  }

  /** Ask if the model is gone; a load that was cancelled too late may also have replaced it. */
  async #isGone(): Promise<boolean> {
    const route = this.#route;
    try {
      // The worker answers when that load is over.
      await (route && ask(route, "info", {}, readInfo));
    } catch (error) {
      if (error instanceof ModelNotLoaded) {
        return true;
      }
      throw error;
    }
    return !route?.open;
  }

  /** Forget the limits that each `load` sets anew. */
  #forgetLimitsOfModel(): void {
    const { memory_limit: _, prompt_cache_limit: _cache, ...ofProcess } = this.#memory;
    this.#memory = ofProcess;
  }
}
