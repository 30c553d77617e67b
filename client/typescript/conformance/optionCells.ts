/** The cells that give an option a value: left out, 0, negative, NaN. */
import {
  type LivenessLimits,
  type Model,
  Worker,
  type WorkerChange,
  type WorkerOptions,
} from "../src/index.js";
import {
  type Answer,
  type Cell,
  ended,
  outcomeOf,
  received,
  streamOf,
  withWorker,
} from "./cells.js";

/** The figure of a memory limit that the worker was not asked for. */
const UNTOLD = 10_000;
const ENVELOPE = new Set([
  "id",
  "cmd",
  "prompt",
  "prompts",
  "messages",
  "texts",
  "query",
  "documents",
  "path",
  "paths",
  "encoding_format",
  "window",
  "data",
  "out",
]);
/** Times in seconds in Python, whose names here end in `Ms`. */
const DURATIONS: Readonly<Record<string, string>> = {
  start_timeout: "startTimeoutMs",
  request_timeout: "requestTimeoutMs",
  idle_timeout: "idleTimeoutMs",
  drain_timeout: "drainTimeoutMs",
  timeout: "timeoutMs",
  quit: "quitMs",
  close_stdin: "stdinMs",
  terminate: "termMs",
  kill: "killMs",
  silence: "silenceMs",
  step: "stepMs",
  backoff_min: "backoffMinMs",
  backoff_max: "backoffMaxMs",
};
const LITERALS = { nan: Number.NaN, inf: Number.POSITIVE_INFINITY };
const LACKING: Readonly<Record<string, string>> = {
  "worker.unload_after": "a worker is never ended while unused",
};

type Given = Record<string, unknown>;
type Seen = Record<string, unknown>;

const shared = new Map<string, { worker: Worker; model: Model }>();

/** Give one of the two workers that all cells of options share. */
async function sharedNamed(name: Cell["worker"]): Promise<{ worker: Worker; model: Model }> {
  let found = shared.get(name);
  if (found === undefined) {
    const command = name === "mock" ? { command: process.env.MLXWIRE_FRESH_WORKER } : {};
    const worker = await Worker.start(command);
    found = { worker, model: await worker.load("mock") };
    shared.set(name, found);
  }
  return found;
}

/** Close the workers that the cells have shared. */
export async function closeShared(): Promise<void> {
  for (const { worker } of shared.values()) await worker.close();
}

/** The name of an option here, and its unit in seconds. */
function named(of: string, option: string): { name: string; unit: number } {
  const name = of === "restart" && option === "window" ? "windowMs" : DURATIONS[option];
  if (name !== undefined) return { name, unit: 1000 };
  return { name: option.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()), unit: 1 };
}

function given(of: string, options: Readonly<Record<string, unknown>>): Given {
  const entries = Object.entries(options).map(([option, value]) => {
    const { name, unit } = named(of, option);
    const number = value === "nan" || value === "inf" ? LITERALS[value] : value;
    const scaled = typeof number === "number" ? number * unit : number;
    if (option === "logit_bias") return [name, { 1: scaled }];
    return [name, option === "phases" ? { decode: scaled } : scaled];
  });
  return Object.fromEntries(entries);
}

/** Give an option a value; tell what the worker saw, or how it was refused. */
export async function giveOption(cell: Cell): Promise<Answer> {
  const { of, option, value } = cell;
  const lacks = LACKING[`${of}.${option}`];
  if (lacks !== undefined) return { lacks };
  const beside = cell.beside as Readonly<Record<string, unknown>>;
  const options = option === null ? {} : given(of, { [option]: value, ...beside });
  const seen: Seen = {};
  const error = await ended(give(cell, options, seen));
  const sent = option === null ? null : seen[option];
  return {
    ...outcomeOf(error),
    option: option === null ? null : named(of, option).name,
    sent: (option === "logit_bias" ? (sent as Seen | undefined)?.["1"] : sent) ?? null,
    fields: Object.keys(seen)
      .filter((name) => !ENVELOPE.has(name))
      .sort(),
  };
}

/** Call what takes the option. `seen` gets the request as the worker saw it. */
async function give(cell: Cell, options: Given, seen: Seen): Promise<void> {
  const ofWorker: Record<string, WorkerOptions> = {
    worker: options,
    shutdown: { limits: options },
    liveness: { liveness: options as Partial<LivenessLimits> },
    restart: { restart: options },
  };
  const start = ofWorker[cell.of];
  if (start !== undefined) {
    await (await Worker.start(start)).close();
    return;
  }
  const { worker, model } = await sharedNamed(cell.worker);
  const text = await ask(cell, options, worker, model);
  if (cell.worker === "obedient") Object.assign(seen, JSON.parse(text));
}

/** Send a request with an option; give the worker's own words about the request. */
async function ask(cell: Cell, options: Given, worker: Worker, model: Model): Promise<string> {
  switch (cell.of) {
    case "load": {
      const loaded = await worker.load("mock", options);
      shared.set(cell.worker, { worker, model: loaded });
      return loaded.info.path;
    }
    case "memory": {
      const { memoryLimit, promptCacheLimit, bufferLimit, wiredLimit } =
        await worker.memory(options);
      const limits = {
        memory_limit: memoryLimit,
        prompt_cache_limit: promptCacheLimit,
        buffer_limit: bufferLimit,
        wired_limit: wiredLimit,
      };
      const told = Object.entries(limits).filter(([, figure]) => figure !== UNTOLD);
      return JSON.stringify(Object.fromEntries(told));
    }
    case "metrics":
      await worker.metrics(options);
      return "{}";
    case "train":
      return (await model.train("d", { out: "o", ...options }).result()).adapter;
    case "classify":
      return (await model.classify(cell.prompts, options))[0]?.text ?? "";
    case "embed":
      return spelled((await model.embed(cell.prompts, options))[0]?.vector ?? []);
    case "score":
      return (await model.score(cell.prompts, options))[0]?.pieces[0] ?? "";
    case "rerank":
      return spelled(
        (await model.rerank("q", ["d"], options)).map(({ relevanceScore }) => relevanceScore),
      );
    case "render":
      return (await model.render("p", options)).prompt;
    case "discover":
      return (await worker.discover("d", options))[0]?.path ?? "";
    case "fit":
      return (await worker.fit("d", options)).path;
    case "batch":
      return (await model.batch(cell.prompts, options).items())[0]?.text ?? "";
  }
  const { command, prompt } = cell;
  return (
    command === "chat" ? model.chat(prompt, options) : model.generate(prompt, options)
  ).text();
}

/** Give the text whose characters are given as numbers. */
function spelled(numbers: ArrayLike<number>): string {
  return String.fromCharCode(...Array.from(numbers));
}

/** Wait with a time-out of 0 for a request that only a cancel ends. */
export function never(cell: Cell): Promise<Answer> {
  const options = { idleTimeoutMs: 0 };
  const ofWorker = cell.of === "worker";
  return withWorker(ofWorker ? options : {}, async (worker, model) => {
    const reading = ended(streamOf(model, cell, ofWorker ? {} : options).next());
    for (let turn = 0; turn < 20; turn += 1) await received(worker);
    await ended(worker.cancel());
    return outcomeOf(await reading);
  });
}

/** Crash a worker some times; tell what its policy made of each crash. */
export function policy(cell: Cell): Promise<Answer> {
  const verdicts: WorkerChange[] = [];
  let tell = (): void => {};
  const onChange = (change: WorkerChange): void => {
    if (change.kind === "restarting" || change.kind === "gaveUp") {
      verdicts.push(change);
      tell();
    }
  };
  const restart = given("restart", cell.policy);
  return withWorker({ restart, onChange }, async (_, model) => {
    for (let crash = 0; crash < cell.crashes; crash += 1) {
      // Another request each time: the same one alone at two crashes is a suspect.
      const prompt = JSON.stringify({ ...JSON.parse(cell.prompt), crash });
      await ended(model.generate(prompt).text());
      while (verdicts.length <= crash) {
        await new Promise<void>((resolve) => {
          tell = resolve;
        });
      }
    }
    const [first] = verdicts;
    return {
      changes: verdicts.map(({ kind }) => (kind === "gaveUp" ? "gave_up" : kind)),
      first_pause: first?.kind === "restarting" ? first.delayMs / 1000 : null,
    };
  });
}
