/**
 * One worker after another: started on demand, started again after a crash, given up at last. A
 * single loop goes round from start to end; whoever needs a worker waits for that round's outcome.
 */

import * as errors from "../errors.js";
import { InternalError, MlxwireError, WorkerCrashed } from "../errors.js";
import { anotherComes, closedByHost, crashLoop, killedAgain } from "../process/postmortem.js";
import { callGuarded } from "../requests/callbacks.js";
import { CrashHistory, type RestartPolicy, Suspect } from "./policy.js";
import type { StartedWorker } from "./startedWorker.js";
import { type Step, TRANSITIONS, type WorkerChange, type WorkerState } from "./workerStates.js";

/** What a start or a load fails with every time: another would change nothing. */
const HOPELESS = [
  errors.UnsupportedProtocol,
  errors.UnsupportedCapability,
  errors.UnsupportedModel,
  errors.ModelNotFound,
  errors.ModelLoadFailed,
  errors.InvalidParams,
];

/** How a worker's life is led. */
export interface LifeOptions {
  /** Starts a worker, or rejects when the signal aborts. */
  readonly start: (signal: AbortSignal) => Promise<StartedWorker>;
  /** Gives a new worker its model before it is ready. */
  readonly prepare: (worker: StartedWorker) => Promise<void>;
  /** When it is started again. */
  readonly policy: RestartPolicy;
  /** Hears what became of it. */
  readonly onChange: ((change: WorkerChange) => void) | undefined;
  /** Chance, 0 to 1. */
  readonly random: () => number;
}

/** Keeps a worker running. */
export class WorkerLife {
  readonly #options: LifeOptions;
  readonly #history: CrashHistory;
  #suspect = new Suspect();
  #state: WorkerState = "stopped";
  #worker: StartedWorker | null = null;
  /** Of the worker of this round; null before it is started. */
  #pid: number | null = null;
  /** Whether it died with requests in flight. */
  #served = false;
  #verdict: MlxwireError | null = null;
  #waiters: ((failure: MlxwireError | null) => void)[] = [];
  #pause: NodeJS.Timeout | null = null;
  #halt = new AbortController();
  #keeper: Promise<void> = Promise.resolve();

  constructor(options: LifeOptions) {
    this.#options = options;
    this.#history = new CrashHistory(options.policy);
  }

  /** What is with the worker now. */
  get state(): WorkerState {
    return this.#state;
  }

  /** The worker of the moment, or the last one; null before the first. */
  get worker(): StartedWorker | null {
    return this.#worker;
  }

  /** A worker that can be used, started if there is none. Rejects with why there is none. */
  async untilReady(): Promise<StartedWorker> {
    while (this.#state !== "ready" || this.#worker === null) {
      if (this.#verdict !== null) {
        throw this.#verdict.copy();
      }
      if (this.#state === "stopped") {
        this.#begin();
      }
      const failure = await this.#outcome();
      if (failure !== null) {
        throw failure.copy();
      }
    }
    return this.#worker;
  }

  /** End the worker once it is idle, after `drainMs` at the latest, and start another. */
  async restart(drainMs: number): Promise<void> {
    if (this.#state === "ready") {
      await this.#drain(drainMs);
    }
    if (this.#state === "closed") {
      throw closedByHost();
    }
    this.#move("stop");
    this.#verdict = null;
    this.#history.forget();
    this.#suspect = new Suspect();
    await this.#end();
    this.#settle(null);
    await this.untilReady();
  }

  /** End the worker for good. Safe to call again. */
  async close(): Promise<void> {
    if (this.#state !== "closed") {
      this.#verdict = closedByHost();
      this.#move("close");
      this.#settle(this.#verdict);
    }
    await this.#end();
  }

  #begin(): void {
    this.#move("start");
    this.#halt = new AbortController();
    this.#keeper = this.#keep(this.#halt.signal, this.#keeper);
  }

  /** Go round until it is halted or given up; first the worker before is seen out. */
  async #keep(halt: AbortSignal, before: Promise<void>): Promise<void> {
    await before;
    let servedOnce = false;
    while (!halt.aborted) {
      const crash = await this.#liveOnce(halt, () => {
        servedOnce = true;
      });
      if (crash === null || halt.aborted) {
        return;
      }
      const pause = this.#pauseAfter(crash, servedOnce);
      if (pause === null) {
        return;
      }
      await this.#sleep(pause, halt);
      if (!halt.aborted) {
        this.#move("start");
      }
    }
  }

  /** From a worker's start to its end: what ended it, or null where its host did. */
  async #liveOnce(halt: AbortSignal, onReady: () => void): Promise<MlxwireError | null> {
    let worker: StartedWorker | null = null;
    this.#pid = null;
    this.#served = false;
    try {
      worker = await this.#options.start(halt);
      this.#worker = worker;
      this.#pid = worker.pid;
      this.#tell({ kind: "started", pid: worker.pid });
      const ended = this.#endOf(worker, halt);
      await Promise.race([this.#options.prepare(worker), ended]);
      if (worker.connection.failure === null && !halt.aborted) {
        this.#move("ready");
        onReady();
        this.#tell({ kind: "ready", pid: worker.pid });
        this.#settle(null);
      }
      return await ended;
    } catch (error) {
      if (halt.aborted) {
        return null;
      }
      if (this.#state === "starting") {
        this.#move("crash"); // its load failed, say; one that died has been told of already
      }
      return error instanceof MlxwireError ? error : new InternalError(String(error));
    } finally {
      await worker?.close();
    }
  }

  /** Settled when the worker fails, or its host ends it. */
  #endOf(worker: StartedWorker, halt: AbortSignal): Promise<MlxwireError | null> {
    return new Promise((resolve) => {
      halt.addEventListener("abort", () => resolve(null), { once: true });
      // Called before its requests fail, so that whoever asks again finds another coming.
      const failed = (failure: MlxwireError): void => {
        if (!halt.aborted) {
          this.#suspectAsked(worker, failure);
          this.#move("crash");
        }
        resolve(failure);
      };
      worker.connection.onFailure = failed;
      if (worker.connection.failure !== null) {
        failed(worker.connection.failure); // in the same breath as its hello
      }
    });
  }

  /** What is said of it, and whether it died of what it was asked; what it dies of at its start is no request of the host's. */
  #suspectAsked(worker: StartedWorker, failure: MlxwireError): void {
    if (this.#state === "ready" || this.#state === "draining") {
      anotherComes(failure);
      const asked = worker.connection.asked();
      this.#served = asked.length > 0;
      if (this.#suspect.crashed(asked) && failure instanceof WorkerCrashed) {
        killedAgain(failure);
      }
    }
  }

  /** Milliseconds until the next start; null where there is none by itself. */
  #pauseAfter(crash: MlxwireError, servedOnce: boolean): number | null {
    if (servedOnce) {
      anotherComes(crash);
    }
    this.#tell({ kind: "crashed", pid: this.#pid, error: crash });
    const pause = this.#history.crashed(performance.now(), this.#options.random(), this.#served);
    const hopeless = HOPELESS.some((kind) => crash instanceof kind);
    if (pause !== null && !servedOnce) {
      this.#move("stop"); // the first start: whoever asked hears of it, and may ask again
      this.#settle(crash);
      return null;
    }
    if (pause === null || hopeless) {
      this.#giveUp(hopeless ? crash : null, crash);
      return null;
    }
    this.#tell({ kind: "restarting", delayMs: pause });
    return pause;
  }

  #giveUp(hopeless: MlxwireError | null, crash: MlxwireError): void {
    const { windowMs } = this.#options.policy;
    this.#verdict = hopeless ?? crashLoop(crash, this.#history, windowMs);
    this.#move("giveUp");
    this.#tell({ kind: "gaveUp", error: this.#verdict });
    this.#settle(this.#verdict);
  }

  /** A host may end during a pause, unless a request waits for the worker to come. */
  #sleep(ms: number, halt: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        halt.removeEventListener("abort", wake);
        this.#pause = null;
        resolve();
      };
      const timer = setTimeout(wake, ms);
      halt.addEventListener("abort", wake, { once: true });
      this.#pause = this.#waiters.length > 0 ? timer : timer.unref();
    });
  }

  async #drain(ms: number): Promise<void> {
    const connection = this.#worker?.connection;
    this.#move("drain");
    if (connection !== undefined && connection.inFlight > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        connection.onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #end(): Promise<void> {
    this.#halt.abort(closedByHost());
    await this.#keeper;
  }

  #outcome(): Promise<MlxwireError | null> {
    this.#pause?.ref();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Tell all who wait: look again, or give it up. */
  #settle(failure: MlxwireError | null): void {
    for (const tell of this.#waiters.splice(0)) {
      tell(failure);
    }
  }

  #tell(change: WorkerChange): void {
    callGuarded(this.#options.onChange, change);
  }

  #move(step: Step): void {
    const following = TRANSITIONS[this.#state][step];
    if (following === undefined) {
      throw new Error(`a worker that is ${this.#state} can't ${step}`);
    }
    this.#state = following;
  }
}
