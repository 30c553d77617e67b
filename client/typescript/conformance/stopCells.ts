/** The cells that cut a request, read a stream twice, or read bad replies. */
import type { Model, TokenStream, Worker } from "../src/index.js";
import {
  ADD,
  type Answer,
  type Cell,
  ended,
  type ManyStream,
  outcomeOf,
  received,
  streamOf,
  withWorker,
} from "./cells.js";

/** Reads one request, and stops after `pause_after` replies. */
class Consumer {
  taken = 0;
  readonly controller = new AbortController();
  readonly stream: TokenStream | ManyStream;
  readonly paused: Promise<void>;
  #pause!: () => void;
  goOn!: () => void;
  readonly #mayGoOn: Promise<void>;

  constructor(
    readonly model: Model,
    readonly cell: Cell,
  ) {
    const { signal } = this.controller;
    this.stream = streamOf(model, cell, { signal });
    this.paused = new Promise((resolve) => {
      this.#pause = resolve;
    });
    this.#mayGoOn = new Promise((resolve) => {
      this.goOn = resolve;
    });
  }

  /** True if one call reads the request to its end. */
  get collects(): boolean {
    return this.cell.collect === true;
  }

  async read(): Promise<void> {
    if (this.collects) {
      await ("text" in this.stream ? this.stream.text() : this.stream.items());
      return;
    }
    for await (const _ of this.stream) {
      this.taken += 1;
      if (this.taken === this.cell.pause_after) {
        this.#pause();
        if (this.cell.phase !== "waiting") await this.#mayGoOn;
      }
    }
  }
}

/** Cut a request in one way, in one phase; tell what its consumer gets. */
export function stop(cell: Cell): Promise<Answer> {
  const quick = { backoffMinMs: 1, backoffMaxMs: 1 };
  const options = cell.cause === "restart" ? { restart: quick } : {};
  return withWorker(options, async (worker, model) => {
    const consumer = new Consumer(model, cell);
    let reading: Promise<unknown>;
    if (cell.phase === "before") {
      await cut(worker, consumer);
      reading = ended(consumer.read());
    } else {
      reading = ended(consumer.read());
      if (!consumer.collects) {
        await consumer.paused;
      } else if (cell.phase === "finished") {
        await reading;
      }
      await received(worker);
      await cut(worker, consumer);
      consumer.goOn();
    }
    const error = await reading;
    return { ...outcomeOf(error, consumer.controller.signal.reason), taken: consumer.taken };
  });
}

/** Stop the consumer's request from outside of it. */
async function cut(worker: Worker, consumer: Consumer): Promise<void> {
  const { model, stream, cell } = consumer;
  switch (cell.cause) {
    case "own_cancel":
      await stream.cancel();
      break;
    case "signal":
      consumer.controller.abort(new Error("the host's own reason"));
      return;
    case "worker_cancel":
      await worker.cancel(cell.phase === "before" ? undefined : stream.id);
      break;
    case "model_close":
      await model.close();
      break;
    case "worker_close":
      await worker.close();
      break;
    case "restart":
      await worker.restart(0);
      break;
    case "sigkill":
      process.kill(worker.pid, "SIGKILL");
      break;
    default:
      throw new Error(`no cause is called ${cell.cause}`);
  }
  await received(worker);
}

/** Read a stream to its end, or leave it, and iterate over it again. */
export function secondPass(cell: Cell): Promise<Answer> {
  return withWorker({}, async (worker, model) => {
    const stream = streamOf(model, cell);
    let taken = 0;
    await ended(
      (async () => {
        for await (const _ of stream) {
          taken += 1;
          if (taken === 3 && cell.end === "error") await worker.cancel(stream.id);
          if (cell.end === "break") break;
        }
      })(),
    );
    let replies = 0;
    const error = await ended(
      (async () => {
        for await (const _ of stream) replies += 1;
      })(),
    );
    if (error !== undefined) return { second: "raises", message: String(error) };
    return { second: replies > 0 ? "replies" : "empty" };
  });
}

/** Read a request's replies, good or bad, beside another request in flight. */
export function read(cell: Cell): Promise<Answer> {
  return withWorker({ limits: { quitMs: 500, stdinMs: 500 } }, async (worker, model) => {
    const beside = model.generate(String(cell.beside));
    await beside.next();
    let taken = 0;
    const error = await ended(
      (async () => {
        const stream = cell.tools
          ? model.chat(cell.prompt, { tools: [ADD] })
          : streamOf(model, cell, cell.stream ? { stream: true } : {});
        for await (const _ of stream) taken += 1;
      })(),
    );
    const dead = await ended(worker.metrics());
    const other = dead && outcomeOf(await ended(beside.next())).outcome;
    return { ...outcomeOf(error), taken, beside: other ?? null };
  });
}

/** Read an answer with thoughts and tool calls by the client's own helpers. */
export function readAnswer(cell: Cell): Promise<Answer> {
  return withWorker({}, async (_, model) => {
    const stream = model.chat(cell.prompt, cell.tools ? { tools: [ADD] } : {});
    const text = await stream.text();
    const calls = (await stream.toolCalls()).map((call) => [
      call.callId,
      call.name,
      call.arguments,
    ]);
    const broken = await stream.toolError();
    return {
      ...outcomeOf(undefined),
      text,
      thoughts: await stream.thoughts(),
      calls,
      tool_error: broken?.message ?? null,
    };
  });
}
