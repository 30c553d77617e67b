/**
 * One worker process from its spawn to its end: the sans-I/O core (`ClientConnection`) bound to a
 * `Child`. It sends requests, hands each reply to its request, and decides how the process ended.
 *
 * Theory of operation
 *
 * Callers. `StartedWorker` opens, closes and kills. Requests call `send`, `sendCancel` and
 * `sendCredit`. The child calls `stdoutReceived`, `pipeLost` and `processExited`; the core calls
 * `tokenReceived`, `replyReceived` and `eventReceived` from within `#wire.receive`. The watchdog
 * calls `condemn`.
 *
 * Invariants. `failure` is set once and never changes: nothing is sent from then on, and every
 * pending request has failed or is about to, with a copy of it. `send` writes in the turn in which
 * it is called, so lines never interleave and a cancel or the quit passes no request. All callers
 * of `close` and `abort` share one ending (`#ending`).
 *
 * An end by the host (`close`, `kill`) sets `#cut` first: requests in flight fail with it, and all
 * later ones with `failure`.
 *
 * Order of an end. The cause is composed into an error (`#die`), which asks `outlook` for what
 * follows; `failure` is set; `onFailure` is called, so that a caller who asks again finds the next
 * process coming; the pending requests fail; `onIdle` is called.
 *
 * Hazards. A pipe that ends is most often an exit whose notice comes later: it has
 * `LOST_PIPE_GRACE_MS` to come. The process may exit before its spawn is awaited, and a close may
 * overtake the spawn. A process held (`Child.hold`) keeps the host's event loop: it is held exactly
 * while a final is due or an end is under way.
 */

import { type Exit, type MlxwireError, WorkerCrashed } from "../errors.js";
import * as postmortem from "../process/postmortem.js";
import type { Child, ProcessListener, Spawn, SpawnOptions } from "../process/process.js";
import { endProcess, type ShutdownLimits } from "../process/shutdown.js";
import type { StderrRing } from "../process/stderrRing.js";
import type { Hello, Token } from "../results.js";
import { ClientConnection, type HelloFields, type WireListener } from "../wire/clientConnection.js";
import { CONTROLS, type CommandName } from "../wire/commands.js";
import type { JsonObject } from "../wire/json.js";
import { readHandshake } from "../wire/readReplies.js";
import { Offence } from "../wire/requestState.js";
import { ResultRequest, UnheardRequest } from "./ask.js";
import { Deferred } from "./callbacks.js";
import type { PendingRequest } from "./pending.js";
import type { RequestLimits, Route, Sender } from "./route.js";

/** Milliseconds between a pipe's end and the exit that most likely caused it. */
const LOST_PIPE_GRACE_MS = 300;
/** Bytes of stderr that go into an error. */
const TAIL_BYTES = 4096;

/** The parts that a connection works with. */
export interface ConnectionOptions {
  /** Limits of the steps that end the process (`shutdown.ts`). */
  readonly shutdown: ShutdownLimits;
  /** Limits of each request. */
  readonly limits: RequestLimits;
  /** Keeps the process's stderr. */
  readonly stderr: StderrRing;
  /** Called with the message of each event. */
  readonly onEvent: (message: JsonObject) => void;
  /** Returns what follows an end, given the requests that may have caused it. */
  readonly outlook?: ((asked: readonly PendingRequest[]) => postmortem.Outlook) | undefined;
}

/** One worker process, from its spawn to its end. */
export class Connection implements ProcessListener, WireListener<PendingRequest>, Sender, Route {
  readonly limits: RequestLimits;
  /** The reason why nothing can be sent any more; null while requests can be sent. */
  failure: MlxwireError | null = null;
  /** The end of the process, unless its host closed it; null until then. */
  death: postmortem.Death | null = null;
  /** Called once with `failure`, before any pending request fails. */
  onFailure: ((failure: MlxwireError) => void) | null = null;
  /** Called when no request waits for its final reply any more. */
  onIdle: (() => void) | null = null;
  /** The number of chunks read, which changes whenever anything comes. */
  chunksRead = 0;
  readonly #exited = new Deferred<Exit>();
  readonly #options: ConnectionOptions;
  readonly #wire = new ClientConnection<PendingRequest>(this);
  #child: Child | null = null;
  #spawning: Promise<void> | null = null;
  #ending: Promise<void> | null = null;
  /** The error of requests in flight when the host ends the process; null until it does. */
  #cut: MlxwireError | null = null;
  #hasWindows = false;
  /** A child that was just spawned is held. */
  #held = true;
  #grace: NodeJS.Timeout | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.limits = options.limits;
  }

  get cut(): MlxwireError | null {
    return this.#cut;
  }

  get window(): number | null {
    return this.#hasWindows ? this.limits.window : null;
  }

  /** The process; null before it is spawned. */
  get child(): Child | null {
    return this.#child;
  }

  /** Settled with the process's exit; both fields are null if nothing could end it. */
  get exited(): Promise<Exit> {
    return this.#exited.promise;
  }

  /** The number of requests whose final is due. */
  get inFlight(): number {
    return this.#wire.inFlight;
  }

  /** List the pending requests that the process may have died of. */
  asked(): PendingRequest[] {
    return this.#wire.owners().filter(({ command }) => !CONTROLS.has(command));
  }

  /** The facts that an error about the process's end quotes. */
  get circumstances(): postmortem.Circumstances {
    return {
      greeting: this.#wire.state === "new" || this.#wire.state === "greeting",
      strayLines: this.#wire.strayLines,
      stderrTail: this.#options.stderr.text(TAIL_BYTES),
    };
  }

  /** Start the process and shake hands. If that rejects, the caller has to call `abort`. */
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
    try {
      this.#child?.write(this.#wire.hello(handshake.id, hello, handshake));
      const result = await handshake.result;
      this.#hasWindows = (result.capabilities.window ?? false) !== false;
      return result;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Return this connection, for any request; `send` throws if nothing can be sent any more. */
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

  /**
   * Ask the worker to quit and wait for its end. Any number of callers share one ending; the first
   * one's `cut` is the error of the requests in flight.
   */
  close(cut: MlxwireError = postmortem.cutByClose()): Promise<void> {
    this.#endedByHost(cut);
    return this.#end(true);
  }

  /** Send SIGKILL to the process and its group. */
  kill(): void {
    this.#endedByHost(postmortem.cutByKill());
    this.#hold(true); // its host waits for `exited`
    this.#child?.signalGroup("SIGKILL");
  }

  /** End a process that can't be talked to, beginning at SIGTERM. */
  abort(): Promise<void> {
    return this.#end(false);
  }

  /** Fail all pending requests and end a process that still runs but is of no use. */
  condemn(death: postmortem.Death): void {
    this.#die(death);
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
    request.takeReply(message, ended);
  }

  requestEnded(): void {
    this.#holdAsNeeded();
    if (this.inFlight === 0) {
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
    this.#exited.resolve(status);
    if (this.#cut !== null) {
      this.#fail(postmortem.closedByHost());
    } else {
      this.#die(postmortem.exited(status, this.circumstances));
    }
  }

  /** Run the core; an error that a listener throws is no offence of the worker's. */
  #guardWire(receive: () => void): void {
    try {
      receive();
    } catch (error) {
      if (!(error instanceof Offence)) {
        throw error;
      }
      this.condemn(postmortem.offended(error, this.circumstances));
    }
  }

  #endedByHost(cut: MlxwireError): void {
    if (this.#cut === null) {
      this.#cut = cut;
      if (cut instanceof WorkerCrashed) {
        cut.inFlight = this.asked().length;
      }
    }
  }

  #checkOpen(): void {
    if (this.failure !== null) {
      throw this.failure.copy();
    }
  }

  /** Send a request whose answer nobody waits for. */
  #tell(command: CommandName, fields: JsonObject): void {
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
    await this.#spawning?.catch(() => undefined); // `open` rejects with it
    const child = this.#child;
    if (child !== null && child.status === null) {
      this.#hold(true);
      const quit = sayQuit ? this.#sayQuit : null;
      await endProcess(child, this.#options.shutdown, quit, () => this.inFlight);
      child.release();
      this.#exited.resolve(child.status ?? { exitCode: null, signal: null });
    }
    this.#fail(postmortem.closedByHost());
  }

  readonly #sayQuit = (): void => {
    this.#tell("quit", {});
    this.failure = postmortem.closedByHost();
  };

  /**
   * Keep the host's event loop while a final is due; otherwise the host may end, and the process
   * with it.
   */
  #holdAsNeeded(): void {
    if (this.#ending === null && this.#cut === null) {
      this.#hold(this.inFlight > 0);
    }
  }

  #hold(held: boolean): void {
    if (held !== this.#held) {
      this.#held = held;
      this.#child?.hold(held);
    }
  }

  /** End for a cause that is not the host's; a later cause changes nothing. */
  #die(death: postmortem.Death): void {
    if (this.failure === null) {
      const asked = this.asked();
      const failure = death.error(this.#options.outlook?.(asked) ?? postmortem.NO_RESTART);
      if (failure instanceof WorkerCrashed) {
        failure.inFlight = asked.length;
      }
      this.death = death;
      this.#fail(failure);
    }
  }

  /** Fail all that is pending; the first cause stays the connection's. */
  #fail(failure: MlxwireError): void {
    if (this.failure === null) {
      this.failure = failure;
      this.onFailure?.(failure);
    }
    const pending = this.#wire.owners();
    this.#wire.forget();
    for (const request of pending) {
      request.fail((this.#cut ?? failure).copy());
    }
    this.onIdle?.();
  }
}
