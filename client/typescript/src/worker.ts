/** A worker: a child process with one model in it. */

import { type Exit, MlxwireError } from "./errors.js";
import { Model } from "./model.js";
import type { CallOptions, LoadOptions, MemoryOptions, Path } from "./options.js";
import { findWorker } from "./process/findWorker.js";
import { withTail } from "./process/postmortem.js";
import { type Spawn, WorkerProcess } from "./process/process.js";
import { StderrRing } from "./process/stderrRing.js";
import { Watchdog } from "./process/watchdog.js";
import { ask, ResultRequest } from "./requests/ask.js";
import { callGuarded, onAbort } from "./requests/callbacks.js";
import { Connection } from "./requests/connection.js";
import { ModelRoute } from "./requests/route.js";
import type * as results from "./results.js";
import type { JsonObject } from "./wire/json.js";
import * as read from "./wire/readReplies.js";
import * as wire from "./wire/wireFields.js";
import { settle, type WorkerOptions } from "./workerOptions.js";

const HEARTBEAT = "heartbeat";
/** What a model says that a later load replaced. */
export const REPLACED = "this model was replaced by a later load; use that one";
/** What a model says that was closed. */
export const CLOSED = "this model was closed; load it again";

/**
 * A child process that serves one model at a time: `await using worker = await Worker.start()`.
 *
 * The host's event loop may end while nothing is asked of it; the worker then ends with its host.
 */
export class Worker implements AsyncDisposable {
  readonly #options: WorkerOptions;
  readonly #connection: Connection;
  readonly #stderr: StderrRing;
  #hello!: results.Hello;
  #watchdog: Watchdog | null = null;
  #route: ModelRoute | null = null;

  private constructor(options: WorkerOptions, settings: ReturnType<typeof settle>) {
    const { onStderr } = options;
    this.#options = options;
    this.#stderr = new StderrRing(onStderr ? (line) => callGuarded(onStderr, line) : null);
    this.#connection = new Connection({
      shutdown: settings.shutdown,
      limits: settings.limits,
      stderr: this.#stderr,
      onEvent: (message) => this.#takeEvent(message),
    });
  }

  /**
   * Spawn a worker and shake hands.
   *
   * Rejects with `SpawnFailed`, `HandshakeFailed` (also where it exits instead), `UnsupportedProtocol`,
   * `UnsupportedCapability`, or the signal's own reason; the child is gone in each case.
   *
   * @param spawn starts the process; tests give one that does not.
   */
  static async start(options: WorkerOptions = {}, spawn?: Spawn): Promise<Worker> {
    const settings = settle(options);
    const { signal, require = [], cwd, env } = options;
    signal?.throwIfAborted();
    const found = await findWorker(options.command, { ...process.env, ...env });
    const command = [...found, ...settings.args];
    const worker = new Worker(options, settings);
    const connection = worker.#connection;
    const forget = signal && onAbort(signal, () => void connection.abort());
    try {
      signal?.throwIfAborted();
      worker.#hello = await connection.open(
        spawn ?? WorkerProcess.spawn,
        { command, env: settings.env, cwd },
        { require, events: worker.#wantedEvents() },
        settings.startTimeoutMs,
      );
      signal?.throwIfAborted();
    } catch (error) {
      await connection.abort();
      signal?.throwIfAborted();
      throw error instanceof MlxwireError ? withTail(error, worker.#tail()) : error;
    } finally {
      forget?.();
    }
    if (settings.liveness !== null && worker.#hello.events.includes(HEARTBEAT)) {
      worker.#watchdog = new Watchdog(connection, settings.liveness);
    }
    return worker;
  }

  /** Who it is: name, version, pid and engine. */
  get identity(): results.Hello["worker"] {
    return this.#hello.worker;
  }

  /** What it can do; a name that is missing or false is not supported (SPEC §3). */
  get capabilities(): results.Hello["capabilities"] {
    return this.#hello.capabilities;
  }

  /** Sizes that it enforces. */
  get limits(): results.Hello["limits"] {
    return this.#hello.limits;
  }

  /** What its requests go through. @internal */
  get connection(): Connection {
    return this.#connection;
  }

  /** Its process id, also after its end. */
  get pid(): number {
    return this.#connection.child?.pid ?? this.#hello.worker.pid;
  }

  /** How it ended, once it has; both null where nothing could end it. */
  get closed(): Promise<Exit> {
    return this.#connection.exited;
  }

  /** The last 64 KiB that it wrote to stderr. */
  get stderr(): string {
    return this.#stderr.text();
  }

  /** Lines on its stdout before the handshake that are no messages, such as a banner. */
  get strayLines(): readonly Buffer[] {
    return this.#connection.circumstances.strayLines;
  }

  /**
   * Load a model folder; it replaces the one loaded before, whose `Model` is void then. Where the
   * new one fails its checks the one before stays.
   */
  async load(path: Path, options: LoadOptions = {}): Promise<Model> {
    const route = await this.loadRoute(path, options);
    return new Model(route, () => this.#unload(route, {}));
  }

  /** The way to a model that is loaded now. @internal */
  async loadRoute(path: Path, options: LoadOptions): Promise<ModelRoute> {
    const fields = wire.wireFields("load", options, wire.LOAD, [...wire.CALL, "onProgress"]);
    const request = new ResultRequest(
      this.#connection,
      "load",
      { ...fields, path: wire.pathText(path) },
      (message) => this.#loadEnded(read.readLoad(message)),
      { timeoutMs: options.timeoutMs, signal: options.signal, onProgress: options.onProgress },
    );
    request.open();
    return request.result;
  }

  /** Unload the model that is loaded; nothing where there is none. */
  async unload(options: CallOptions = {}): Promise<void> {
    if (this.#route !== null) {
      await this.#unload(this.#route, options);
    }
  }

  /** Sums over the worker's life, and its state now. */
  metrics(options: CallOptions = {}): Promise<results.WorkerMetrics> {
    return ask(this.#connection, "metrics", {}, read.readMetrics, options);
  }

  /** The memory in use, in bytes; first sets the limits given. */
  memory(options: MemoryOptions = {}): Promise<results.MemoryFigures> {
    return ask(this.#connection, "memory", {}, read.readMemory, options, wire.MEMORY);
  }

  /** Cancel one request by its stream's `id`, or all in flight; each still ends by itself. */
  cancel(requestId?: string, options: CallOptions = {}): Promise<results.CancelOutcome> {
    const fields = requestId === undefined ? {} : { target: requestId };
    return ask(this.#connection, "cancel", fields, read.readCancel, options);
  }

  /**
   * End the worker: ask, close its stdin, SIGTERM, SIGKILL, each with its limit. May be called at any
   * time, any number of times and by several callers at once.
   */
  close(): Promise<void> {
    return this.#connection.close();
  }

  /** SIGKILL to it and its group, without a word. `closed` tells when it is gone. */
  kill(): void {
    this.#connection.kill();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #tail(): string {
    return this.#connection.circumstances.stderrTail;
  }

  #wantedEvents(): string[] {
    const wanted = this.#options.liveness ? [HEARTBEAT] : [];
    return [...new Set([...(this.#options.events ?? []), ...wanted])];
  }

  #takeEvent(message: JsonObject): void {
    const { onEvent, events = [] } = this.#options;
    let event: results.WorkerEvent;
    try {
      event = read.readEvent(message);
    } catch {
      return; // an event of a later version, in a shape that this one does not know
    }
    if (event.event === "heartbeat") {
      this.#watchdog?.takeBeat(event);
    }
    if (events.includes(event.event === "other" ? event.name : event.event)) {
      callGuarded(onEvent, event);
    }
  }

  /** The model of before is replaced, also where whoever asked has gone. */
  #loadEnded(loaded: results.LoadResult): ModelRoute {
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
