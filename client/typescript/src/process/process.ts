/**
 * The worker's process: spawned into a group of its own, its pipes always read, its end noticed.
 *
 * Theory of operation
 *
 * Callers. The connection writes, signals, holds and releases; the ladder of `shutdown.ts` waits.
 * The listener (the connection) is told of bytes, of a lost pipe and, once, of the exit.
 *
 * Invariants. Both output pipes are read as long as the process lives, so a worker never blocks on
 * a full pipe. No signal is sent once Node has reaped the process: its number may belong to another
 * then. `processExited` comes after the last byte that the process wrote.
 *
 * Order of an end. Node reports `exit` and has reaped the process: the rest of its group gets
 * SIGKILL in the same turn, while the group's number can't have been given to another; the pipes
 * are read until they end, or until they are quiet for a few turns; the pipes are released; the
 * listener is told; then those who `wait`.
 *
 * Hazards. A grandchild may hold the pipes open for ever, or write into them for ever, so their end
 * is no sign of the process's end, and reading the rest is bounded. Writing to a process that just
 * died fails with EPIPE, whose cause the exit tells. A `kill` that fails is reported as an `error`
 * event.
 */

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import type { Socket } from "node:net";
import { type Exit, SpawnFailed } from "../errors.js";
import type { Endable } from "./shutdown.js";
import type { StderrRing } from "./stderrRing.js";

/** Names the host's process id to the worker, which ends when that process does. */
const PARENT_VARIABLE = "MLXWIRE_PARENT_PID";

const HAS_GROUPS = process.platform !== "win32";
/**
 * Turns of the event loop without a byte after which the pipes of a dead process count as empty.
 */
const QUIET_TURNS = 2;
/** The most turns to read on: a grandchild may never stop writing. */
const MAX_TURNS = 64;

/** Receives the output and the end of a process. */
export interface ProcessListener {
  /** Take bytes of the process's stdout. */
  stdoutReceived(chunk: Buffer): void;
  /** Record that a pipe ended although the process runs. */
  pipeLost(which: "stdin" | "stdout"): void;
  /** Record that the process ended; everything that it wrote has been read. */
  processExited(status: Exit): void;
}

/** The command, environment and folder of a process. */
export interface SpawnOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Environment variables, in addition to the host's own. */
  readonly env: Readonly<Record<string, string>>;
  /** The working folder; undefined is the host's own. */
  readonly cwd: string | undefined;
}

/** A process, as a connection uses it. */
export interface Child extends Endable {
  /** The process id. */
  readonly pid: number | undefined;
  /** The exit of the process; null while it runs. */
  readonly status: Exit | null;
  /** Queue bytes for stdin. */
  write(line: Buffer): void;
  /** Keep the host's event loop running for the process (true), or let it end (false). */
  hold(held: boolean): void;
  /** Close every pipe. */
  release(): void;
}

/** Starts a process. Rejects with `SpawnFailed`. */
export type Spawn = (
  options: SpawnOptions,
  stderr: StderrRing,
  listener: ProcessListener,
) => Promise<Child>;

/** One child process. */
export class WorkerProcess implements Child {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #stderr: StderrRing;
  readonly #listener: ProcessListener;
  readonly #exitWaiters = new Set<() => void>();
  #reaped = false;
  #status: Exit | null = null;
  #chunksRead = 0;

  private constructor(
    child: ChildProcessWithoutNullStreams,
    stderr: StderrRing,
    listener: ProcessListener,
  ) {
    this.#child = child;
    this.#stderr = stderr;
    this.#listener = listener;
    child.stdout.on("data", (chunk: Buffer) => {
      this.#chunksRead += 1;
      listener.stdoutReceived(chunk);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      this.#chunksRead += 1;
      stderr.feed(chunk);
    });
    child.stdout.on("close", () => this.#lost("stdout"));
    child.stdin.on("error", () => this.#lost("stdin")); // EPIPE: the exit tells why
    child.stdout.on("error", ignore); // `close` follows
    child.stderr.on("error", ignore);
    child.on("exit", (exitCode, signal) => this.#exited({ exitCode, signal }));
  }

  /** Start a process. @throws SpawnFailed if the system refuses. */
  static async spawn(
    options: SpawnOptions,
    stderr: StderrRing,
    listener: ProcessListener,
  ): Promise<WorkerProcess> {
    const [program = "", ...args] = options.command;
    try {
      const child = spawn(program, args, {
        stdio: "pipe",
        env: { ...process.env, ...options.env, [PARENT_VARIABLE]: String(process.pid) },
        cwd: options.cwd,
        // A session of its own: Ctrl-C reaches the host alone, and signals reach grandchildren.
        detached: HAS_GROUPS,
        windowsHide: true,
      });
      const spawned = new WorkerProcess(child, stderr, listener);
      await new Promise<void>((resolve, reject) => {
        child.once("spawn", resolve);
        child.on("error", reject); // stays: a `kill` that fails is told here too
      });
      return spawned;
    } catch (error) {
      throw new SpawnFailed(
        `the worker \`${options.command.join(" ")}\` can't be started: ${(error as Error).message}. Check ` +
          "the command and the folder, or install a worker with `pip install 'mlxwire[mlx]'`",
        { cause: error },
      );
    }
  }

  /** The process id. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The exit of the process; null while it runs. */
  get status(): Exit | null {
    return this.#status;
  }

  /** Queue bytes for stdin. Never waits; after the end the bytes are dropped. */
  write(line: Buffer): void {
    this.#child.stdin.write(line);
  }

  /** Close stdin; bytes still queued are dropped. */
  closeStdin(): void {
    this.#child.stdin.destroy();
  }

  /** Signal the process and its group; does nothing once the process is reaped. */
  signalGroup(signal: NodeJS.Signals): void {
    if (!this.#reaped) {
      this.#signal(signal);
    }
  }

  /** Wait for the process to end. Returns false if it did not end within `ms`. */
  wait(ms: number): Promise<boolean> {
    if (this.#status !== null) {
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const finish = (ended: boolean): void => {
        clearTimeout(timer);
        this.#exitWaiters.delete(onExit);
        resolve(ended);
      };
      const onExit = (): void => finish(true);
      const timer = setTimeout(finish, ms, false);
      this.#exitWaiters.add(onExit);
    });
  }

  /** Keep the host's event loop running for the process (true), or let it end (false). */
  hold(held: boolean): void {
    for (const handle of [this.#child, ...this.#pipes()]) {
      held ? handle.ref() : handle.unref();
    }
  }

  /** Close every pipe, also of a child that nothing could end. */
  release(): void {
    for (const pipe of this.#pipes()) {
      pipe.destroy();
    }
    this.#child.unref();
  }

  #pipes(): readonly Socket[] {
    const { stdin, stdout, stderr } = this.#child;
    return [stdin, stdout, stderr] as unknown as readonly Socket[];
  }

  #signal(signal: NodeJS.Signals): void {
    const pid = this.#child.pid;
    try {
      if (HAS_GROUPS && pid !== undefined) {
        process.kill(-pid, signal);
      } else {
        this.#child.kill(signal);
      }
    } catch {
      // ESRCH: the group has no process left. macOS answers EPERM for a group of zombies.
    }
  }

  /**
   * Record the exit; Node has reaped the process just now. The rest of its group is killed in this
   * turn, in which the group's number can't have been given to another, and never signalled again.
   */
  #exited(status: Exit): void {
    if (HAS_GROUPS) {
      this.#signal("SIGKILL");
    }
    this.#reaped = true;
    this.#readRest(status, this.#chunksRead, 0, 0);
  }

  /** Read on until the pipes have ended, or count as empty. */
  #readRest(status: Exit, chunksBefore: number, quiet: number, turns: number): void {
    const { stdout, stderr } = this.#child;
    const ended = stdout.destroyed && stderr.destroyed;
    if (ended || quiet >= QUIET_TURNS || turns >= MAX_TURNS) {
      this.#bury(status);
      return;
    }
    setImmediate(() => {
      const silent = this.#chunksRead === chunksBefore;
      this.#readRest(status, this.#chunksRead, silent ? quiet + 1 : 0, turns + 1);
    });
  }

  #bury(status: Exit): void {
    this.#stderr.end();
    this.#status = status;
    this.release();
    this.#listener.processExited(status);
    for (const waiter of [...this.#exitWaiters]) {
      waiter();
    }
  }

  #lost(which: "stdin" | "stdout"): void {
    if (!this.#reaped) {
      this.#listener.pipeLost(which);
    }
  }
}

function ignore(): void {}
