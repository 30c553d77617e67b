/** A worker in memory: a test reads the client's requests and writes the worker's replies. */

import assert from "node:assert/strict";
import type { Exit } from "../../src/errors.js";
import type { Model, Worker, WorkerOptions } from "../../src/index.js";
import type { Child, ProcessListener, Spawn } from "../../src/process/process.js";
import type { StderrRing } from "../../src/process/stderrRing.js";
import { Deferred } from "../../src/requests/callbacks.js";
import { Connection } from "../../src/requests/connection.js";
import type { JsonObject } from "../../src/wire/json.js";
import { startWorker } from "../../src/worker.js";

/** One request of the client. */
export type Request = JsonObject & { readonly id: string; readonly cmd: string };

/** A step of the ladder that a worker may ignore. */
export type Step = "quit" | "stdin" | "SIGTERM" | "SIGKILL";

/** The answer to a `load`. */
export const LOADED = {
  ...{ ok: true, load_seconds: 0.5, model_type: "mock", vocab_size: 1, layers: 1, hidden_size: 1 },
  ...{ context_len: 1, quant_bits: 0, quant_group: 0, parameters: 1, weight_bytes: 1 },
  ...{ path: "any", adapter_path: null, chat_template: true, parallel_slots: 1, capabilities: {} },
};

/** The capabilities of a worker that knows windows. */
const CAPABILITIES = { window: true, heartbeat: true };

export class ScriptedWorker implements Child {
  readonly pid = 4711;
  status: Exit | null = null;
  /** The steps that were taken to end the worker. */
  readonly steps: string[] = [];
  /** True while the worker keeps the host's event loop running. */
  held = true;
  released = false;
  /** The steps that the worker ignores. */
  deafTo: readonly Step[] = [];
  /** The fields of the answer to hello; null is no answer. */
  greeting: JsonObject | null = { capabilities: CAPABILITIES };
  /** The client's hello; null until it comes. */
  hello: Request | null = null;
  readonly #greeted = new Deferred<void>();
  #listener!: ProcessListener;
  #stderr!: StderrRing;
  readonly #requests: Request[] = [];
  readonly #readers: ((request: Request) => void)[] = [];

  /** Starts this worker in place of a process. */
  readonly spawn: Spawn = async (_, stderr, listener) => {
    this.#listener = listener;
    this.#stderr = stderr;
    return this;
  };

  /** The client's connection to this worker. */
  get connection(): Connection {
    assert.ok(this.#listener instanceof Connection);
    return this.#listener;
  }

  /** Settled when the client has said hello. */
  get greeted(): Promise<void> {
    return this.#greeted.promise;
  }

  /** Wait for the client's next request; another command than this fails the test. */
  async next(command: string): Promise<Request> {
    const request =
      this.#requests.shift() ??
      (await new Promise<Request>((resolve) => this.#readers.push(resolve)));
    assert.equal(request.cmd, command, JSON.stringify(request));
    return request;
  }

  /** The requests that the test has not read yet. */
  get unread(): readonly Request[] {
    return this.#requests;
  }

  /** Write messages to stdout, in one chunk. */
  say(...messages: (JsonObject | string)[]): void {
    const lines = messages.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
    this.#listener.stdoutReceived(Buffer.from(lines.map((line) => `${line}\n`).join("")));
  }

  /** Answer a request with a result. */
  answer({ id }: Request, fields: JsonObject = {}): void {
    this.say({ id, type: "result", final: true, ...fields });
  }

  /** Write the tokens of a request from `start` to before `end`. */
  tokens({ id }: Request, start: number, end: number, more: JsonObject = {}): void {
    const seqs = Array.from({ length: end - start }, (_, place) => start + place);
    this.say(
      ...seqs.map((seq) => {
        const text = { token: `t${seq} `, token_id: 100 + seq };
        return { id, type: "token", seq, ...text, ...more };
      }),
    );
  }

  /** End a stream. */
  done({ id }: Request, finishReason = "stop", more: JsonObject = {}): void {
    const end = { finish_reason: finishReason, tokens_generated: 3, metrics: {}, done: true };
    this.say({ id, type: "done", final: true, ...end, ...more });
  }

  /** Fail a request. */
  fail({ id }: Request, code: string, more: JsonObject = {}): void {
    const error = { code, message: `it is ${code}`, retryable: false, data: {}, ...more };
    this.say({ id, type: "error", final: true, error });
  }

  /** Write to stderr. */
  log(text: string): void {
    this.#stderr.feed(Buffer.from(text));
  }

  /** End one of the pipes while the process runs. */
  losePipe(which: "stdin" | "stdout"): void {
    this.#listener.pipeLost(which);
  }

  /** End the process; only the first call counts. */
  exit(exitCode: number | null, signal: NodeJS.Signals | null = null): void {
    if (this.status === null) {
      this.status = { exitCode, signal };
      this.#listener.processExited(this.status);
    }
  }

  write(line: Buffer): void {
    const request = JSON.parse(line.toString()) as Request;
    if (request.cmd === "hello") {
      this.hello = request;
      this.#greeted.resolve();
      queueMicrotask(() => this.#greet(request));
    } else if (request.cmd === "quit") {
      this.#step("quit", () => {
        this.answer(request, { ok: true });
        this.exit(0);
      });
    } else {
      const reader = this.#readers.shift();
      reader === undefined ? this.#requests.push(request) : reader(request);
    }
  }

  closeStdin(): void {
    this.#step("stdin", () => this.exit(0));
  }

  signalGroup(signal: NodeJS.Signals): void {
    this.#step(signal as Step, () => this.exit(null, signal));
  }

  /** Wait one turn of the event loop: the worker has ended by then, or ignores this step. */
  async wait(): Promise<boolean> {
    await new Promise((resolve) => setImmediate(resolve));
    return this.status !== null;
  }

  hold(held: boolean): void {
    this.held = held;
  }

  release(): void {
    this.released = true;
  }

  #greet(request: Request): void {
    if (this.greeting !== null && this.status === null) {
      const worker = { name: "scripted", version: "1", pid: this.pid, engine: "mock" };
      const limits = { max_line_bytes: 16_777_216, max_inflight: 64 };
      this.answer(request, {
        protocol: 1,
        worker,
        limits,
        events: ["heartbeat"],
        ...this.greeting,
      });
    }
  }

  #step(step: Step, act: () => void): void {
    this.steps.push(step);
    if (!this.deafTo.includes(step)) {
      queueMicrotask(act);
    }
  }
}

/** Start a client on a scripted worker. */
export async function startScripted(
  options: WorkerOptions = {},
  script: ScriptedWorker = new ScriptedWorker(),
): Promise<{ worker: Worker; script: ScriptedWorker }> {
  const { spawn } = script;
  return { worker: await startWorker({ command: "scripted", ...options }, { spawn }), script };
}

/** Start a client on a scripted worker, and load a model. */
export async function startModel(
  options: WorkerOptions = {},
  script?: ScriptedWorker,
): Promise<{ worker: Worker; script: ScriptedWorker; model: Model }> {
  const started = await startScripted(options, script);
  const loading = started.worker.load("any");
  started.script.answer(await started.script.next("load"), LOADED);
  return { ...started, model: await loading };
}

/** Make an old worker, which knows no windows. */
export function withoutWindows(): ScriptedWorker {
  const script = new ScriptedWorker();
  script.greeting = { capabilities: {} };
  return script;
}
