/**
 * One worker process after another: started on demand, started again after a crash, given up at
 * last.
 *
 * Theory of operation
 *
 * Callers. Everything runs on the host's event loop. `WorkerSeries` calls `untilReady`, `restart`
 * and `close`; the connection of the running process calls `#judge` and then its `onFailure` at a
 * crash.
 *
 * The loop. `#keep` is the only place that starts processes. Each round (`#liveOnce`) lasts from a
 * start to the end of that process; then `#afterCrash` decides on a pause, on giving up, or, if no
 * process of this loop was ever ready, on telling the callers and stopping. `#halt` ends the loop;
 * a new loop first waits for the one before, so two processes of one life never overlap.
 *
 * Invariants. `#state` moves by `TRANSITIONS` alone. `untilReady` resolves only in the state
 * `ready`. `#verdict` is set exactly in the states `failed` and `closed`, and each caller gets a
 * copy of it.
 *
 * Order of a crash. `#judge` tells the connection what follows, so that the error can say so; the
 * state moves to `restarting`; then the pending requests fail, and a caller that asks again waits
 * for the next process; then `crashed` and `restarting` are told.
 *
 * Hazards. A process may fail in the same turn as its hello, before `onFailure` is set; while it is
 * prepared; or while it drains for a restart. A close may come during each of these, and during the
 * pause, whose timer keeps the host only if somebody waits.
 */

import * as errors from "../errors.js";
import { InternalError, MlxwireError } from "../errors.js";
import {
  closedByHost,
  crashLoop,
  cutByClose,
  cutByRestart,
  NO_RESTART,
  type Outlook,
} from "../process/postmortem.js";
import { callGuarded, Deferred, onAbort } from "../requests/callbacks.js";
import { type Asked, CrashHistory, type RestartPolicy, Suspect } from "./policy.js";
import type { StartedWorker } from "./startedWorker.js";
import { type Step, TRANSITIONS, type WorkerChange, type WorkerState } from "./workerStates.js";

/** Errors of a start or a load that every further start would repeat. */
const HOPELESS = [
  errors.UnsupportedProtocol,
  errors.UnsupportedCapability,
  errors.UnsupportedModel,
  errors.ModelNotFound,
  errors.ModelLoadFailed,
  errors.InvalidParams,
];

/** Returns what follows a process's end, given the requests that may have caused it. */
export type Judge = (asked: readonly Asked[]) => Outlook;

/** The parts that a life works with. */
export interface LifeOptions {
  /** Start a process; reject when the signal aborts. */
  readonly start: (signal: AbortSignal, judge: Judge) => Promise<StartedWorker>;
  /** Give a new process its model before it is ready. */
  readonly prepare: (worker: StartedWorker) => Promise<void>;
  /** When a process is started again. */
  readonly policy: RestartPolicy;
  /** Called with each change of the processes. */
  readonly onChange: ((change: WorkerChange) => void) | undefined;
  /** Gives a number from 0 to 1 for the jitter of pauses. */
  readonly random: () => number;
}

/** The end of one round: its error, and how it came about without the error's advice. */
interface Crash {
  readonly error: MlxwireError;
  readonly how: string;
}

/** Keeps a worker process running. */
export class WorkerLife {
  readonly #options: LifeOptions;
  readonly #history: CrashHistory;
  #suspect = new Suspect();
  #state: WorkerState = "stopped";
  #worker: StartedWorker | null = null;
  /** The pid of this round's process; null before it is started. */
  #pid: number | null = null;
  /** True if this round's process died with requests in flight. */
  #served = false;
  /** True once a process of this loop was ready. */
  #servedOnce = false;
  #verdict: MlxwireError | null = null;
  #waiters: ((failure: MlxwireError | null) => void)[] = [];
  #pause: NodeJS.Timeout | null = null;
  #halt = new AbortController();
  #keeper: Promise<void> = Promise.resolve();

  constructor(options: LifeOptions) {
    this.#options = options;
    this.#history = new CrashHistory(options.policy);
  }

  /** The state of the worker. */
  get state(): WorkerState {
    return this.#state;
  }

  /** The process that runs, or the last one that ran; null before the first. */
  get worker(): StartedWorker | null {
    return this.#worker;
  }

  /**
   * Wait for a process that is ready; start one if none runs. Rejects if the worker was given up or
   * closed, or if the first start fails.
   */
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

  /** End the process once it is idle, after `drainMs` at the latest, and start another. */
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
    await this.#end(cutByRestart());
    this.#settle(null);
    await this.untilReady();
  }

  /** End the process for good. Safe to call again. */
  async close(): Promise<void> {
    if (this.#state !== "closed") {
      this.#verdict = closedByHost();
      this.#move("close");
      this.#settle(this.#verdict);
    }
    await this.#end(cutByClose());
  }

  #begin(): void {
    this.#move("start");
    this.#halt = new AbortController();
    this.#keeper = this.#keep(this.#halt.signal, this.#keeper);
  }

  /** Start one process after another until the loop is halted or gives up. */
  async #keep(halt: AbortSignal, before: Promise<void>): Promise<void> {
    await before;
    this.#servedOnce = false;
    while (!halt.aborted) {
      const crash = await this.#liveOnce(halt);
      if (crash === null || halt.aborted) {
        return;
      }
      const pause = this.#afterCrash(crash);
      if (pause === null) {
        return;
      }
      await this.#sleep(pause, halt);
      if (!halt.aborted) {
        this.#move("start");
      }
    }
  }

  /** Lead one process from its start to its end. Returns null if its host ended it. */
  async #liveOnce(halt: AbortSignal): Promise<Crash | null> {
    let worker: StartedWorker | null = null;
    let forget = (): void => undefined;
    this.#pid = null;
    this.#served = false;
    try {
      worker = await this.#options.start(halt, (asked) => this.#judge(asked, halt));
      this.#worker = worker;
      this.#pid = worker.pid;
      this.#tell({ kind: "started", pid: worker.pid });
      const ended = new Deferred<MlxwireError | null>();
      forget = onAbort(halt, () => ended.resolve(null));
      this.#watch(worker, halt, ended.resolve);
      await Promise.race([this.#options.prepare(worker), ended.promise]);
      if (worker.connection.failure === null && !halt.aborted) {
        this.#move("ready");
        this.#servedOnce = true;
        this.#tell({ kind: "ready", pid: worker.pid });
        this.#settle(null);
      }
      const failure = await ended.promise;
      return failure === null ? null : crashOf(failure, worker);
    } catch (error) {
      if (halt.aborted) {
        return null;
      }
      if (this.#state === "starting") {
        this.#move("crash"); // its load failed, say; a process that died has moved it already
      }
      const failure = error instanceof MlxwireError ? error : new InternalError(String(error));
      return crashOf(failure, worker);
    } finally {
      forget();
      await worker?.close(halt.aborted ? (halt.reason as MlxwireError) : undefined);
    }
  }

  /** Tell when the process fails. */
  #watch(worker: StartedWorker, halt: AbortSignal, tell: (failure: MlxwireError) => void): void {
    const failed = (failure: MlxwireError): void => {
      if (!halt.aborted) {
        this.#move("crash");
      }
      tell(failure);
    };
    worker.connection.onFailure = failed;
    if (worker.connection.failure !== null) {
      failed(worker.connection.failure); // in the same turn as its hello
    }
  }

  /**
   * Return what follows a crash. No request of the host can cause a crash at the start.
   */
  #judge(asked: readonly Asked[], halt: AbortSignal): Outlook {
    if (halt.aborted) {
      return NO_RESTART;
    }
    if (this.#state !== "ready" && this.#state !== "draining") {
      return { restarts: this.#servedOnce, poisonous: false };
    }
    this.#served = asked.length > 0;
    return { restarts: true, poisonous: this.#suspect.crashed(asked) };
  }

  /** Count a crash. Returns the milliseconds until the next start; null if none follows. */
  #afterCrash(crash: Crash): number | null {
    const { error } = crash;
    this.#tell({ kind: "crashed", pid: this.#pid, error });
    const pause = this.#history.crashed(performance.now(), this.#options.random(), this.#served);
    if (pause !== null && !this.#servedOnce) {
      this.#move("stop"); // the first start: its caller is told, and may ask again
      this.#settle(error);
      return null;
    }
    const hopeless = HOPELESS.some((kind) => error instanceof kind);
    if (pause === null || hopeless) {
      this.#giveUp(hopeless ? error : this.#crashLoop(crash));
      return null;
    }
    this.#tell({ kind: "restarting", delayMs: pause });
    return pause;
  }

  #crashLoop({ how, error }: Crash): MlxwireError {
    return crashLoop(how, error, this.#history, this.#options.policy.windowMs);
  }

  #giveUp(verdict: MlxwireError): void {
    this.#verdict = verdict;
    this.#move("giveUp");
    this.#tell({ kind: "gaveUp", error: verdict });
    this.#settle(verdict);
  }

  /** Wait out a pause. The host may end meanwhile, unless a request waits for the next process. */
  #sleep(ms: number, halt: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        forget();
        this.#pause = null;
        resolve();
      };
      const timer = setTimeout(wake, ms);
      const forget = onAbort(halt, wake);
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

  /** End the process of the loop; `cut` is the error of its requests in flight. */
  async #end(cut: MlxwireError): Promise<void> {
    this.#halt.abort(cut);
    await this.#keeper;
  }

  #outcome(): Promise<MlxwireError | null> {
    this.#pause?.ref();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** End all waits in `untilReady`: null makes the callers check the state again. */
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

/**
 * Describe a round's end; if the process died, by its death, else by what its start or load failed
 * with.
 */
function crashOf(error: MlxwireError, worker: StartedWorker | null): Crash {
  return { error, how: worker?.connection.death?.how ?? error.message };
}
