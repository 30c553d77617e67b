/** Every way to stop a request, in each phase of it, for each command that streams. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Model, Worker } from "../../src/index.js";
import type { JsonObject } from "../../src/wire/json.js";
import { loadOn, Scripts } from "../support/scriptedRestarts.js";
import {
  LOADED,
  type Request,
  type ScriptedWorker,
  startModel,
} from "../support/scriptedWorker.js";

const COMMANDS = [
  "generate",
  "chat",
  "batch",
  "classify",
  "embed",
  "score",
  "awaited classify",
] as const;
const PHASES = [
  "before the start",
  "consumer waiting",
  "consumer busy",
  "worker finished",
] as const;
type Command = (typeof COMMANDS)[number];
/** A stream that is awaited in place of an iteration. */
const AWAITED = "awaited classify";
type Phase = (typeof PHASES)[number];

/** The replies that the worker has sent at the cut. */
const SENT = 3;
/** The replies that the consumer has taken at the cut. */
const TAKEN: Record<Phase, number> = {
  "before the start": 0,
  "consumer waiting": SENT,
  "consumer busy": 1,
  "worker finished": 1,
};

/** The end of a pass: the code of its error, `own` for the signal's reason, or `ok`; and the replies taken. */
type Ending = readonly [outcome: string, taken: number];

/** The endings of a cause in the order of `PHASES`. */
const TABLE: Record<string, readonly [Ending, Ending, Ending, Ending]> = {
  "the stream's cancel": [
    ["cancelled", 0],
    ["cancelled", 3],
    ["cancelled", 1],
    ["cancelled", 1],
  ],
  "an abort signal": [
    ["own", 0],
    ["own", 3],
    ["own", 1],
    ["own", 1],
  ],
  "worker.cancel": [
    ["ok", 3],
    ["cancelled", 3],
    ["cancelled", 3],
    ["ok", 3],
  ],
  "model.close": [
    ["model_not_loaded", 0],
    ["ok", 3],
    ["ok", 3],
    ["ok", 3],
  ],
  "worker.close": [
    ["shutting_down", 0],
    ["cancelled", 3],
    ["cancelled", 3],
    ["ok", 3],
  ],
  "worker.kill": [
    ["shutting_down", 0],
    ["worker_crashed", 3],
    ["worker_crashed", 3],
    ["ok", 3],
  ],
  "a restart": [
    ["ok", 3],
    ["worker_crashed", 3],
    ["worker_crashed", 3],
    ["ok", 3],
  ],
  SIGKILL: [
    ["worker_crashed", 0],
    ["worker_crashed", 3],
    ["worker_crashed", 3],
    ["ok", 3],
  ],
};

/** Give what is due; only a complete request fills the list that an awaited stream gives. */
function due(cause: string, phase: Phase, command: Command): Ending {
  const [outcome, taken] = TABLE[cause]?.[PHASES.indexOf(phase)] ?? ["", 0];
  if (command !== AWAITED) {
    return [outcome, taken];
  }
  return phase === "worker finished" || outcome === "ok" ? ["ok", SENT] : [outcome, 0];
}

/** A consumer that takes some replies, waits for `go`, and takes the rest. */
class Consumer {
  outcome = "ok";
  taken = 0;
  readonly paused: Promise<void>;
  readonly ended: Promise<void>;
  #tellPaused!: () => void;
  #go!: () => void;
  readonly #gone: Promise<void>;

  constructor(read: (consumer: Consumer) => Promise<void>, signal: AbortSignal) {
    this.paused = new Promise((resolve) => {
      this.#tellPaused = resolve;
    });
    this.#gone = new Promise((resolve) => {
      this.#go = resolve;
    });
    this.ended = read(this).catch((error) => {
      this.outcome = error === signal.reason ? "own" : error.code;
    });
  }

  go(): void {
    this.#go();
  }

  async took(pauseAfter: number): Promise<void> {
    this.taken += 1;
    if (this.taken === pauseAfter) {
      this.#tellPaused();
      await this.#gone;
    }
  }
}

type Method = Exclude<Command, typeof AWAITED>;

/** Give the command on the wire. */
function named(command: Command): Method {
  return command === AWAITED ? "classify" : command;
}

interface AnyStream extends AsyncIterable<unknown> {
  readonly id: string;
  cancel(): Promise<void>;
}

function stream(model: Model, command: Method, signal: AbortSignal): AnyStream {
  if (command === "generate" || command === "chat") {
    return command === "chat" ? model.chat("a", { signal }) : model.generate("a", { signal });
  }
  return model[command](["a", "b", "c"], { signal });
}

const ITEMS: Readonly<Record<string, JsonObject>> = {
  batch: { text: "t", token_ids: [1], finish_reason: "stop", tokens_generated: 1, error: null },
  classify: { token: "t", token_id: 1, logprob: null },
  embed: { embedding: "AACAPw==", tokens: 1 },
  score: { token_ids: [1], pieces: ["t"], logprobs: [null], perplexity: null },
};

function say(script: ScriptedWorker, request: Request, command: Command): void {
  const item = ITEMS[named(command)];
  if (item === undefined) {
    script.tokens(request, 0, SENT);
    return;
  }
  for (let index = 0; index < SENT; index += 1) {
    script.say({ id: request.id, type: "item", index, ...item });
  }
}

interface Stage {
  readonly worker: Worker;
  readonly model: Model;
  readonly script: ScriptedWorker;
  /** Gives the process that a request reaches after the cut. */
  readonly next: () => Promise<ScriptedWorker>;
  readonly controller: AbortController;
}

async function setUp(restart: boolean): Promise<Stage> {
  const controller = new AbortController();
  if (!restart) {
    const started = await startModel();
    return { ...started, next: async () => started.script, controller };
  }
  const scripts = new Scripts();
  const worker = await scripts.start();
  const script = await scripts.next();
  const model = await loadOn(worker, script);
  const next = async (): Promise<ScriptedWorker> => {
    const following = await scripts.next();
    following.answer(await following.next("load"), LOADED);
    return following;
  };
  return { worker, model, script, next, controller };
}

/** Cut the request; what the worker says of that comes too. */
async function cut(
  cause: string,
  { worker, model, script, controller }: Stage,
  made: AnyStream | null,
  request: Request | null,
): Promise<() => Promise<unknown>> {
  const running = request !== null && script.connection.asked().length > 0;
  const quits = running ? { stage: "decode" } : {};
  switch (cause) {
    case "the stream's cancel": {
      const cancelled = made?.cancel();
      if (running) {
        await script.next("cancel");
        script.done(request, "cancelled", quits);
      }
      return async () => cancelled;
    }
    case "an abort signal":
      controller.abort(new Error("mine"));
      if (running) {
        await script.next("cancel");
        script.done(request, "cancelled", quits);
      }
      return async () => undefined;
    case "worker.cancel": {
      const asked = worker.cancel(request?.id ?? made?.id ?? "none");
      const cancel = await script.next("cancel");
      script.answer(cancel, { outcome: running ? "accepted" : "unknown", cancelled: 0 });
      if (running) {
        script.done(request, "cancelled", quits);
      }
      return () => asked;
    }
    case "model.close": {
      const closed = model.close();
      const unload = await script.next("unload");
      if (running) {
        script.done(request);
      }
      script.answer(unload);
      return () => closed;
    }
    case "worker.kill":
      worker.kill();
      await worker.closed;
      return async () => undefined;
    case "worker.close":
    case "a restart": {
      script.deafTo = ["quit"];
      const ended = cause === "a restart" ? worker.restart(0) : worker.close();
      while (!script.steps.includes("quit")) {
        await new Promise(setImmediate);
      }
      if (running) {
        script.done(request, "cancelled", quits);
      }
      script.exit(0);
      return () => ended;
    }
    default:
      script.exit(null, "SIGKILL");
      return async () => undefined;
  }
}

async function check(cause: string, phase: Phase, command: Command): Promise<void> {
  const stage = await setUp(cause === "a restart");
  const { model, script, controller, worker } = stage;
  const { signal } = controller;
  const made = command === AWAITED ? null : stream(model, command, signal);
  const read = async (consumer: Consumer): Promise<void> => {
    if (made === null) {
      consumer.taken = (await model.classify(["a", "b", "c"], { signal })).length;
      return;
    }
    for await (const _ of made) {
      await consumer.took(phase === "consumer waiting" ? 0 : TAKEN[phase]);
    }
  };
  let consumer: Consumer;
  if (phase === "before the start") {
    const over = await cut(cause, stage, made, null);
    consumer = new Consumer(read, signal);
    if (due(cause, phase, command)[0] === "ok") {
      const process = cause === "a restart" ? await stage.next() : script;
      const request = await process.next(named(command));
      say(process, request, command);
      process.done(request);
    }
    await over();
  } else {
    consumer = new Consumer(read, signal);
    const request = await script.next(named(command));
    say(script, request, command);
    if (phase === "worker finished") {
      script.done(request);
    }
    if (command !== AWAITED && phase !== "consumer waiting") {
      await consumer.paused;
    } else {
      await new Promise(setImmediate);
    }
    const over = await cut(cause, stage, made, request);
    consumer.go();
    if (cause === "a restart") {
      await stage.next();
    }
    await over();
  }
  await consumer.ended;
  assert.deepEqual([consumer.outcome, consumer.taken], due(cause, phase, command));
  await worker.close();
}

for (const cause of Object.keys(TABLE)) {
  suite(`a request that is stopped by ${cause}`, () => {
    for (const phase of PHASES) {
      for (const command of COMMANDS) {
        if (command !== AWAITED || cause !== "the stream's cancel") {
          test(`${phase}: ${command}`, () => check(cause, phase, command));
        }
      }
    }
  });
}
