/** The scenarios of tests/conformance/DRIVER.md for a worker that behaves well. */
import type { Model, Worker } from "../src/index.js";
import { snakeCase } from "../src/wire/shape.js";
import type { Report } from "./report.js";

const PROMPT = "one two three";
const FOREVER = { maxTokens: 100_000, ignoreEos: true };
const SLEEPER_TOKENS = 20_000;

export interface Session {
  worker: Worker;
  model: Model;
  report: Report;
  /** Cancels an operation in this language's own way. */
  controller: AbortController;
}

export type Operation = (session: Session) => Promise<void>;

const afterThree = (tokens: number): boolean => tokens === 3;

export async function generate({ model, report }: Session): Promise<void> {
  await report.read(model.generate(PROMPT, { maxTokens: 8 }));
}

async function chat({ model, report }: Session): Promise<void> {
  const messages = [{ role: "user", content: "hello there" }];
  await report.read(model.chat(messages, { maxTokens: 8 }));
}

async function cancel({ model, report }: Session): Promise<void> {
  await report.read(model.generate(PROMPT, FOREVER), afterThree);
}

async function abort({ model, report, controller }: Session): Promise<void> {
  const stream = model.generate(PROMPT, { ...FOREVER, signal: controller.signal });
  await report.read(stream, (tokens) => {
    if (afterThree(tokens)) controller.abort();
    return false;
  });
}

async function deadline({ model, report }: Session): Promise<void> {
  await report.read(model.generate(PROMPT, { ...FOREVER, deadlineSeconds: 0.3 }));
}

async function together({ model, report }: Session): Promise<void> {
  const [first, ...others] = Array.from({ length: 8 }, (_, place) =>
    model.generate(`prompt ${place}`, { maxTokens: 16 }),
  );
  if (first === undefined) throw new Error("there are 8");
  const texts = others.map((stream) => stream.text());
  await report.read(first);
  report.own.texts = [report.text, ...(await Promise.all(texts))];
}

async function sleeper({ model, report }: Session): Promise<void> {
  const stream = model.generate(PROMPT, { maxTokens: SLEEPER_TOKENS, ignoreEos: true });
  const another = model.generate("another", { maxTokens: 2000, ignoreEos: true });
  await report.read(stream, async (tokens) => {
    if (tokens === 1) {
      await Promise.allSettled([another.text()]);
    }
    return false;
  });
  await another.text(); // where both failed, the first stream's error is the one to tell
  report.own.texts_equal_length = report.tokens === SLEEPER_TOKENS;
}

async function classify({ model, report }: Session): Promise<void> {
  const items = await model.classify(["a", "b", "c"]);
  report.own.items = items.map(({ index, tokenId }) => ({ index, token_id: tokenId }));
}

async function batch({ model, report }: Session): Promise<void> {
  const items = await model.batch(["a", "b", "c"], { maxTokens: 4 }).items();
  report.own.items = items.map(({ index, text, finishReason }) => ({
    index,
    text,
    finish_reason: finishReason,
  }));
}

async function info({ model, report }: Session): Promise<void> {
  const told = Object.entries(model.info);
  report.own.info = Object.fromEntries(told.map(([name, value]) => [snakeCase(name), value]));
}

async function badOption({ model, report }: Session): Promise<void> {
  await report.read(model.generate(PROMPT, { temperature: -1 }));
}

/** Ask an unloaded model; before a load this client has no object to ask. */
async function noModel(session: Session): Promise<void> {
  await session.model.close();
  await generate(session);
}

async function overlong({ worker, model, report }: Session): Promise<void> {
  await report.read(model.generate("x".repeat(worker.limits.maxLineBytes)));
}

async function idle(): Promise<void> {
  // The scenario checks the start and the close alone.
}

export const SCENARIOS: Record<string, Operation> = {
  generate,
  chat,
  cancel,
  abort,
  deadline,
  together,
  sleeper,
  classify,
  batch,
  info,
  bad_option: badOption,
  no_model: noModel,
  overlong,
  idle,
};

export const WITH_NEXT = new Set(["cancel", "abort", "deadline", "overlong"]);
export const WITH_METRICS = new Set(["generate", "chat"]);
