/**
 * The worker's process: spawned into its own group, its pipes always read, its death noticed. Death
 * is the process's end, not the end of its pipes, which a grandchild may hold.
 */

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import type { Socket } from "node:net";
import { type Exit, SpawnFailed } from "../errors.js";
import type { Endable } from "./shutdown.js";
import type { StderrRing } from "./stderrRing.js";

const HAS_GROUPS = process.platform !== "win32";
/** Turns of the event loop without a byte after which a dead worker's pipes count as empty. */
const QUIET_TURNS = 2;
/** Turns at most: a grandchild may go on writing. */
const MAX_TURNS = 64;

/** Who hears what a process does. */
export interface ProcessListener {
  /** Bytes came on its stdout. */
  stdoutReceived(chunk: Buffer): void;
  /** A pipe ended although it lives. */
  pipeLost(which: "stdin" | "stdout"): void;
  /** It ended, and all that it wrote has been read. */
  processExited(status: Exit): void;
}

/** Where and with which environment a worker runs. */
export interface SpawnOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Variables beside the host's own. */
  readonly env: Readonly<Record<string, string>>;
  /** Its folder; the host's own where it is undefined. */
  readonly cwd: string | undefined;
}

/** A process as a connection needs it. */
export interface Child extends Endable {
  /** Its process id. */
  readonly pid: number | undefined;
  /** How it ended; null while it has not. */
  readonly status: Exit | null;
  /** Queue bytes for its stdin. */
  write(line: Buffer): void;
  /** Whether the host's event loop goes on for its sake. */
  hold(held: boolean): void;
  /** Give back every descriptor. */
  release(): void;
}

/** Starts a process. Rejects with `SpawnFailed`. */
export type Spawn = (
  options: SpawnOptions,
  stderr: StderrRing,
  listener: ProcessListener,
) => Promise<Child>;

/** One child. */
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

  /** Start a process. @throws SpawnFailed where the system refuses. */
  static async spawn(
    options: SpawnOptions,
    stderr: StderrRing,
    listener: ProcessListener,
  ): Promise<WorkerProcess> {
    const [program = "", ...args] = options.command;
    try {
      const child = spawn(program, args, {
        stdio: "pipe",
        env: { ...process.env, ...options.env },
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
        `can't start the worker \`${options.command.join(" ")}\`: ${(error as Error).message}. Check ` +
          "the command and the folder, or install a worker with `pip install 'mlxwire[mlx]'`",
        { cause: error },
      );
    }
  }

  /** Its process id. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** How it ended; null while it has not. */
  get status(): Exit | null {
    return this.#status;
  }

  /** Queue bytes for its stdin. Never waits; after the end they are dropped. */
  write(line: Buffer): void {
    if (this.#child.stdin.writable) {
      this.#child.stdin.write(line);
    }
  }

  /** Give it the end of its input; what was still queued is dropped. */
  closeStdin(): void {
    this.#child.stdin.destroy();
  }

  /** Signal it and all its group; nothing once it is reaped. */
  signalGroup(signal: NodeJS.Signals): void {
    if (!this.#reaped) {
      this.#signal(signal);
    }
  }

  /** Wait for its end; whether it came in time. */
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

  /** Whether the host's event loop goes on for its sake alone. */
  hold(held: boolean): void {
    for (const handle of [this.#child, ...this.#pipes()]) {
      held ? handle.ref() : handle.unref();
    }
  }

  /** Give back every descriptor, also of a child that nothing could end. */
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
      // ESRCH: nobody is left. macOS answers EPERM for a group of zombies.
    }
  }

  /**
   * Node has reaped it just now. What is left of its group is killed at once: its number can't have
   * been given to another in this moment, and is never used again.
   */
  #exited(status: Exit): void {
    if (HAS_GROUPS) {
      this.#signal("SIGKILL");
    }
    this.#reaped = true;
    this.#readRest(status, this.#chunksRead, 0, 0);
  }

  /** Read on until its pipes are at their end, or empty. */
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
