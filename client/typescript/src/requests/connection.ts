/**
 * One worker, from its spawn to its end: the sans-I/O core bound to a process. Nothing here waits
 * before it writes, so lines never interleave and a cancel or the quit is written at once.
 */

import { type Exit, type MlxwireError, ProtocolViolation, WorkerCrashed } from "../errors.js";
import * as postmortem from "../process/postmortem.js";
import type { Child, ProcessListener, Spawn, SpawnOptions } from "../process/process.js";
import { endProcess, type ShutdownLimits } from "../process/shutdown.js";
import type { StderrRing } from "../process/stderrRing.js";
import type { Hello, Token } from "../results.js";
import { ClientConnection, type HelloFields, type WireListener } from "../wire/clientConnection.js";
import type { JsonObject } from "../wire/json.js";
import { readHandshake } from "../wire/readReplies.js";
import { Offence } from "../wire/requestState.js";
import { ResultRequest, UnheardRequest } from "./ask.js";
import { Deferred } from "./callbacks.js";
import type { PendingRequest } from "./pending.js";
import type { RequestLimits, Route, Sender } from "./route.js";

/** Between a pipe's end and the exit that most likely caused it. */
const LOST_PIPE_GRACE_MS = 300;
/** How much of stderr goes into an error. */
const TAIL_BYTES = 4096;
/** Commands that ask nothing of the model. */
const TOLD: readonly string[] = ["cancel", "credit", "quit"];

/** What a connection is told by its worker. */
export interface ConnectionOptions {
  /** Of the ladder that ends it. */
  readonly shutdown: ShutdownLimits;
  /** Of its requests. */
  readonly limits: RequestLimits;
  /** What it writes to stderr. */
  readonly stderr: StderrRing;
  /** Hears each event's message. */
  readonly onEvent: (message: JsonObject) => void;
}

/** One worker, from its spawn to its end. */
export class Connection implements ProcessListener, WireListener<PendingRequest>, Sender, Route {
  readonly limits: RequestLimits;
  /** Why nothing can be asked any more; null while it can. */
  failure: MlxwireError | null = null;
  /** Called with `failure` before anything that is pending fails; not for a `close`. */
  onFailure: ((failure: MlxwireError) => void) | null = null;
  /** Called when no request's final is due any more. */
  onIdle: (() => void) | null = null;
  /** Changes whenever anything comes. */
  chunksRead = 0;
  readonly #exited = new Deferred<Exit>();
  readonly #options: ConnectionOptions;
  readonly #wire = new ClientConnection<PendingRequest>(this);
  #child: Child | null = null;
  #spawning: Promise<void> | null = null;
  #ending: Promise<void> | null = null;
  #closedByHost = false;
  #hasWindows = false;
  /** A child that was just spawned is held. */
  #held = true;
  #grace: NodeJS.Timeout | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.limits = options.limits;
  }

  get window(): number | null {
    return this.#hasWindows ? this.limits.window : null;
  }

  /** Its process; null before it is spawned. */
  get child(): Child | null {
    return this.#child;
  }

  /** How its process ended, once it has; both null where nothing could end it. */
  get exited(): Promise<Exit> {
    return this.#exited.promise;
  }

  /** How many requests' finals are due. */
  get inFlight(): number {
    return this.#wire.inFlight;
  }

  /** The requests that a worker may have died of. */
  asked(): PendingRequest[] {
    return this.#wire.owners().filter(({ command }) => !TOLD.includes(command));
  }

  /** Where it stands, for whoever tells of its end. */
  get circumstances(): postmortem.Circumstances {
    return {
      greeting: this.#wire.state === "new" || this.#wire.state === "greeting",
      strayLines: this.#wire.strayLines,
      stderrTail: this.#options.stderr.text(TAIL_BYTES),
    };
  }

  /** Start the process and shake hands. Rejects with why that failed; `abort` is the caller's then. */
  async open(
    spawn: Spawn,
    options: SpawnOptions,
    hello: HelloFields,
    startTimeoutMs: number,
  ): Promise<Hello> {
    const spawned = spawn(options, this.#options.stderr, this);
    this.#spawning = spawned.then((child) => {
      this.#child = child;
    });
    await this.#spawning;
    this.#checkOpen(); // closed meanwhile
    const handshake = new ResultRequest(this, "hello", {}, readHandshake);
    const timer = setTimeout(() => {
      handshake.fail(postmortem.silentAtStart(startTimeoutMs, this.circumstances));
    }, startTimeoutMs);
    handshake.result.finally(() => clearTimeout(timer)).catch(() => undefined);
    this.#child?.write(this.#wire.hello(handshake.id, hello, handshake));
    const result = await handshake.result;
    this.#hasWindows = (result.capabilities.window ?? false) !== false;
    return result;
  }

  /** A worker's own requests all go here; `send` tells why nothing can be sent. */
  connect(_request: PendingRequest): Sender {
    return this;
  }

  send(request: PendingRequest): void {
    this.#checkOpen();
    const { id, command, fields } = request;
    this.#child?.write(this.#wire.request(id, command, fields, request));
    this.#holdAsNeeded();
  }

  sendCancel(requestId: string): void {
    this.#tell("cancel", { target: requestId });
  }

  sendCredit(requestId: string, count: number): void {
    this.#tell("credit", { target: requestId, n: count });
  }

  /** Ask the worker to quit and see it out. Any number of callers share one ending. */
  close(): Promise<void> {
    if (this.failure === null) {
      this.#closedByHost = true;
    }
    return this.#end(true);
  }

  /** End it at once, without a word. */
  kill(): void {
    this.#closedByHost ||= this.failure === null;
    this.#hold(true); // its host waits for `exited`
    this.#child?.signalGroup("SIGKILL");
  }

  /** End a worker that can't be talked to. */
  abort(): Promise<void> {
    return this.#end(false);
  }

  /** It lives and is of no use: fail all that is pending, and end it. */
  condemn(failure: MlxwireError): void {
    this.#fail(failure);
    void this.#end(false);
  }

  stdoutReceived(chunk: Buffer): void {
    this.chunksRead += 1;
    this.#guardWire(() => this.#wire.receive(chunk));
  }

  tokenReceived(request: PendingRequest, token: Token): void {
    request.takeToken(token);
  }

  replyReceived(request: PendingRequest, message: JsonObject, ended: boolean): void {
    if (ended) {
      this.#holdAsNeeded();
    }
    request.takeReply(message, ended);
    if (ended && this.inFlight === 0) {
      this.onIdle?.();
    }
  }

  eventReceived(message: JsonObject): void {
    this.#options.onEvent(message);
  }

  pipeLost(which: "stdin" | "stdout"): void {
    if (this.#ending === null && this.#grace === undefined) {
      this.#grace = setTimeout(() => {
        this.condemn(postmortem.closedItsPipe(which, this.circumstances));
      }, LOST_PIPE_GRACE_MS);
    }
  }

  processExited(status: Exit): void {
    clearTimeout(this.#grace);
    this.#guardWire(() => this.#wire.receiveEnd());
    const failure = this.#closedByHost
      ? postmortem.closedByHost()
      : postmortem.exited(status, this.circumstances);
    this.#exited.resolve(status);
    this.#fail(failure);
  }

  /** Run the core; its listener's own defects are no offence of the worker's. */
  #guardWire(receive: () => void): void {
    try {
      receive();
    } catch (error) {
      const offends = error instanceof Offence || error instanceof ProtocolViolation;
      if (!offends) {
        throw error;
      }
      this.condemn(postmortem.offended(error, this.circumstances));
    }
  }

  #checkOpen(): void {
    if (this.failure !== null) {
      throw this.failure.copy();
    }
  }

  /** A request whose answer nobody waits for. */
  #tell(command: string, fields: JsonObject): void {
    if (this.failure === null) {
      new UnheardRequest(this, command, fields).start(this);
    }
  }

  #end(sayQuit: boolean): Promise<void> {
    this.#ending ??= this.#runEnding(sayQuit);
    return this.#ending;
  }

  async #runEnding(sayQuit: boolean): Promise<void> {
    clearTimeout(this.#grace);
    await this.#spawning?.catch(() => undefined); // it is told to whoever opens
    const child = this.#child;
    if (child !== null && child.status === null) {
      const greeted = this.#wire.state === "ready" && this.failure === null;
      this.#hold(true);
      await endProcess(child, this.#options.shutdown, sayQuit && greeted ? this.#sayQuit : null);
      child.release();
      this.#exited.resolve(child.status ?? { exitCode: null, signal: null });
    }
    this.#fail(postmortem.closedByHost());
  }

  readonly #sayQuit = (): void => {
    this.#tell("quit", {});
    this.failure = postmortem.closedByHost();
  };

  /** A host's event loop may end while nothing is due; the worker then ends with it. */
  #holdAsNeeded(): void {
    if (this.#ending === null && !this.#closedByHost) {
      this.#hold(this.inFlight > 0);
    }
  }

  #hold(held: boolean): void {
    if (held !== this.#held) {
      this.#held = held;
      this.#child?.hold(held);
    }
  }

  /** End all that is pending; the first cause stays the connection's. */
  #fail(failure: MlxwireError): void {
    if (this.failure === null) {
      this.failure = failure;
      if (failure instanceof WorkerCrashed) {
        failure.inFlight = this.asked().length;
      }
      if (!this.#closedByHost) {
        this.onFailure?.(failure);
      }
    }
    const pending = this.#wire.owners();
    this.#wire.forget();
    for (const request of pending) {
      request.fail(failure.copy());
    }
    this.onIdle?.();
  }
}
