/** `bufferBytes` compared with the heap that a full buffer really takes. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Model } from "../../src/index.js";
import { startModel, withoutWindows } from "../support/scriptedWorker.js";

const BUFFER_BYTES = 4 * 1024 * 1024;
/** Bytes by which the heap changes by itself. */
const NOISE_BYTES = 256 * 1024;
/** The most by which the estimate may exceed the bytes held: no stream may be refused far too early. */
const MOST_CAUTIOUS = 3.5;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

function heapBytes(): number {
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Make the line of a message, by its place in the stream. */
type Say = (id: string, place: number) => string;

function token(text: string, more = ""): Say {
  return (id, seq) =>
    `{"id":"${id}","type":"token","seq":${seq},"token":${JSON.stringify(text)},"token_id":${1e6 + seq}${more}}`;
}

function item(fields: object): Say {
  return (id, index) => JSON.stringify({ id, type: "item", index, ...fields });
}

/** Buffer up to this many messages. Gives their number and the heap bytes of each. */
async function hold(kind: Kind, most: number): Promise<[count: number, bytes: number]> {
  const { command, start, say } = kind;
  const options = { bufferBytes: BUFFER_BYTES };
  const { script, model, worker } = await startModel(options, withoutWindows());
  const stream = start(model);
  const first = stream.next();
  const { id } = await script.next(command);
  script.say(say(id, 0));
  await first;
  const before = heapBytes();
  let count = 0;
  while (count < most && script.unread.length === 0) {
    count += 1;
    script.say(say(id, count)); // one too many, and it is cancelled
  }
  const bytes = heapBytes() - before;
  await worker.close();
  await assert.rejects(stream.done);
  return [count, bytes];
}

interface Kind {
  readonly command: string;
  readonly start: (model: Model) => AsyncIterator<unknown> & { readonly done: Promise<unknown> };
  readonly say: Say;
}

/** More prompts than results fit into a buffer. */
const PROMPTS = Array<string>(50_000).fill("p");
const generate = { command: "generate", start: (model: Model) => model.generate("p") };
const batch = {
  command: "batch",
  start: (model: Model) => model.batch(PROMPTS, { stream: true }),
};
const LIKELY = `,"logprob":-0.51,"top_logprobs":[{"token":"ab","token_id":5,"logprob":-0.77}]`;
const RESULT = { token_ids: [1, 2, 3], finish_reason: "stop", tokens_generated: 3 };

const KINDS: Record<string, Kind> = {
  "tiny tokens": { ...generate, say: token("a") },
  "tokens of a word": { ...generate, say: token(" encyclopaedias") },
  "tokens of 40 characters": { ...generate, say: token("a".repeat(40)) },
  "long tokens outside of Latin-1": { ...generate, say: token("€".repeat(1000)) },
  "tokens with their likeliest": { ...generate, say: token("a", LIKELY) },
  "tokens of a batch": { ...batch, say: token("a", ',"index":0') },
  "short results": { ...batch, say: item({ text: "a", error: null, ...RESULT }) },
  "long results": { ...batch, say: item({ text: "€".repeat(1000), error: null, ...RESULT }) },
};

suite("a stream that nobody takes holds at most bufferBytes", () => {
  for (const [name, kind] of Object.entries(KINDS)) {
    test(name, async () => {
      const [refused] = await hold(kind, Number.POSITIVE_INFINITY);
      const [held, bytes] = await hold(kind, refused - 1);
      assert.equal(held, refused - 1);
      const said = `${held} of them took ${bytes} bytes, ${bytes / held} each`;
      assert.ok(bytes < BUFFER_BYTES + NOISE_BYTES, said);
      assert.ok(bytes > BUFFER_BYTES / MOST_CAUTIOUS, said);
    });
  }
});
