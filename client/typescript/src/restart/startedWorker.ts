/**
 * One worker process that has answered `hello`: its connection, its events, its watchdog, and the
 * route to the model that is loaded in it. A `Worker` without `restart` stands on one of these;
 * with `restart` it stands on a `WorkerSeries`, which starts one after another.
 */

import { type Exit, InvalidParams, MlxwireError, ShuttingDown } from "../errors.js";
import type { CallOptions, LoadOptions, MemoryOptions, Path } from "../options.js";
import { findWorker } from "../process/findWorker.js";
import { withTail } from "../process/postmortem.js";
import { type Spawn, WorkerProcess } from "../process/process.js";
import { StderrRing } from "../process/stderrRing.js";
import { Watchdog } from "../process/watchdog.js";
import { ask, ResultRequest } from "../requests/ask.js";
import { callGuarded, onAbort } from "../requests/callbacks.js";
import { Connection } from "../requests/connection.js";
import { CLOSED, ModelRoute, REPLACED, type Route } from "../requests/route.js";
import type { Hello, LoadResult, MemoryFigures } from "../results.js";
import type { JsonObject } from "../wire/json.js";
import { readEvent, readLoad, readMemory } from "../wire/readReplies.js";
import * as wire from "../wire/wireFields.js";
import type { Settings, WorkerOptions } from "../workerOptions.js";
import type { Judge } from "./workerLife.js";
import type { WorkerState } from "./workerStates.js";

const HEARTBEAT = "heartbeat";

/** A model that was loaded: the route to it, and how to unload it. */
export interface LoadedModel {
  readonly route: ModelRoute;
  readonly unload: () => Promise<void>;
}

/** The processes of a `Worker`: a single one, or one after another. */
export interface Processes {
  /** The process that runs, or the last one that ran. */
  readonly current: StartedWorker;
  /** The state of the worker as a whole. */
  readonly state: WorkerState;
  /** Settled with the exit of the last process, when no other follows. */
  readonly closed: Promise<Exit>;
  /** The route for requests that need no model. */
  readonly route: Route;
  /** Load a model, in place of the one before. */
  load(path: Path, options: LoadOptions): Promise<LoadedModel>;
  /** Unload the loaded model, if there is one. */
  unload(options: CallOptions): Promise<void>;
  /** Set limits of memory, and tell the memory in use. */
  memory(options: MemoryOptions): Promise<MemoryFigures>;
  /** Replace the process by another. */
  restart(drainMs: number): Promise<void>;
  /** End the worker for good. */
  close(): Promise<void>;
  /** End the worker for good, with SIGKILL. */
  kill(): void;
}

/** One worker process, from its handshake to its end. */
export class StartedWorker implements Processes {
  readonly #options: WorkerOptions;
  readonly #watchesHeartbeat: boolean;
  readonly #connection: Connection;
  readonly #stderr: StderrRing;
  #hello!: Hello;
  #watchdog: Watchdog | null = null;
  #route: ModelRoute | null = null;

  private constructor(options: WorkerOptions, settings: Settings, judge: Judge | undefined) {
    const { onStderr } = options;
    this.#options = options;
    this.#watchesHeartbeat = settings.liveness !== null;
    this.#stderr = new StderrRing(onStderr ? (line) => callGuarded(onStderr, line) : null);
    this.#connection = new Connection({
      shutdown: settings.shutdown,
      limits: settings.limits,
      stderr: this.#stderr,
      onEvent: (message) => this.#takeEvent(message),
      outlook: judge,
    });
  }

  /** Spawn a process and shake hands. Rejects as `Worker.start`. */
  static async start(
    options: WorkerOptions,
    settings: Settings,
    spawn: Spawn = WorkerProcess.spawn,
    judge?: Judge,
  ): Promise<StartedWorker> {
    const { signal, require = [], cwd, env } = options;
    signal?.throwIfAborted();
    const found = await findWorker(options.command, { ...process.env, ...env });
    const command = [...found, ...settings.args];
    const worker = new StartedWorker(options, settings, judge);
    const connection = worker.#connection;
    const forget = signal && onAbort(signal, () => void connection.abort());
    try {
      signal?.throwIfAborted();
      worker.#hello = await connection.open(
        spawn,
        { command, env: settings.env, cwd },
        { require, events: worker.#wantedEvents() },
        settings.startTimeoutMs,
      );
      signal?.throwIfAborted();
    } catch (error) {
      await connection.abort();
      signal?.throwIfAborted();
      const { stderrTail } = connection.circumstances;
      throw error instanceof MlxwireError ? withTail(error, stderrTail) : error;
    } finally {
      forget?.();
    }
    if (settings.liveness !== null && worker.#hello.events.includes(HEARTBEAT)) {
      worker.#watchdog = new Watchdog(connection, settings.liveness);
    }
    return worker;
  }

  get current(): this {
    return this;
  }

  get state(): WorkerState {
    const { failure } = this.#connection;
    if (failure === null) {
      return "ready";
    }
    return failure instanceof ShuttingDown ? "closed" : "failed";
  }

  get closed(): Promise<Exit> {
    return this.#connection.exited;
  }

  get route(): Route {
    return this.#connection;
  }

  /** The process's answer to hello. */
  get hello(): Hello {
    return this.#hello;
  }

  /** The connection to the process. */
  get connection(): Connection {
    return this.#connection;
  }

  /** The process id, also after the process has ended. */
  get pid(): number {
    return this.#connection.child?.pid ?? this.#hello.worker.pid;
  }

  /** The last 64 KiB that the process wrote to stderr. */
  get stderr(): string {
    return this.#stderr.text();
  }

  /** Lines on stdout before the handshake that are no messages. */
  get strayLines(): readonly Buffer[] {
    return this.#connection.circumstances.strayLines;
  }

  async load(path: Path, options: LoadOptions): Promise<LoadedModel> {
    const route = await this.loadRoute(path, options);
    return { route, unload: () => this.#unload(route, {}) };
  }

  /** Load a model and give the route to it. */
  async loadRoute(path: Path, options: LoadOptions): Promise<ModelRoute> {
    const fields = wire.wireFields("load", options, wire.LOAD, wire.JOB_CALL);
    const request = new ResultRequest(
      this.#connection,
      "load",
      { ...fields, path: wire.pathText(path) },
      (message) => this.#loadEnded(readLoad(message)),
      { timeoutMs: options.timeoutMs, signal: options.signal, onProgress: options.onProgress },
    );
    request.open();
    return request.result;
  }

  async unload(options: CallOptions): Promise<void> {
    if (this.#route !== null) {
      await this.#unload(this.#route, options);
    }
  }

  memory(options: MemoryOptions): Promise<MemoryFigures> {
    return ask(this.#connection, "memory", {}, readMemory, options, wire.MEMORY);
  }

  async restart(): Promise<void> {
    throw new InvalidParams(
      "this worker was started without `restart`, so no other process can take its place; start " +
        "one with Worker.start({ restart: {} })",
      { data: { field: "restart" } },
    );
  }

  /** End the process; `cut` is the error of the requests in flight, unless the host closed it. */
  close(cut?: MlxwireError): Promise<void> {
    return this.#connection.close(cut);
  }

  kill(): void {
    this.#connection.kill();
  }

  #wantedEvents(): string[] {
    const wanted = this.#watchesHeartbeat ? [HEARTBEAT] : [];
    return [...new Set([...(this.#options.events ?? []), ...wanted])];
  }

  #takeEvent(message: JsonObject): void {
    const { onEvent, events = [] } = this.#options;
    const event = readEvent(message);
    if (event.event === "heartbeat") {
      this.#watchdog?.takeBeat(event);
    }
    if (events.includes(event.event === "other" ? event.name : event.event)) {
      callGuarded(onEvent, event);
    }
  }

  /** Make the new model the loaded one, also if the caller of the load has left it meanwhile. */
  #loadEnded(loaded: LoadResult): ModelRoute {
    this.#route?.close(REPLACED);
    this.#route = new ModelRoute(this.#connection, loaded);
    return this.#route;
  }

  async #unload(route: ModelRoute, options: CallOptions): Promise<void> {
    route.close(CLOSED);
    if (this.#route === route) {
      this.#route = null;
      if (this.#connection.failure === null) {
        await ask(this.#connection, "unload", {}, () => undefined, options);
      }
    }
  }
}
