/** Reads replies of the wire into the results and errors that callers get. */

import * as errors from "../errors.js";
import {
  type ErrorDetails,
  HandshakeFailed,
  InvalidParams,
  MlxwireError,
  WorkerError,
} from "../errors.js";
import type {
  BatchItem,
  BrokenModel,
  ClassifyItem,
  Done,
  Embedding,
  FoundModel,
  Hello,
  ScoreItem,
  Token,
  WorkerEvent,
} from "../results.js";
import type { JsonObject } from "./json.js";
import * as replies from "./replies.js";
import { Offence } from "./requestState.js";
import { integer, nullOr, object, type Reader, shape } from "./shape.js";
import { callersName } from "./wireFields.js";

/** The id of what is no token. */
const NO_TOKEN_ID = -1;
const FLOAT_BYTES = 4;

/** Make a reader of replies that throws `Offence` for a reply in another shape. */
function reader<T>(name: string, read: Reader<T>): (message: JsonObject) => T {
  return (message) => {
    try {
      return read(message);
    } catch (error) {
      const { message: why } = error as Error;
      throw new Offence(`the worker's \`${String(message.type)}\` reply is no ${name}: ${why}`);
    }
  };
}

export const readHello = reader("hello result", shape(replies.HELLO));
/**
 * Read the answer to hello. @throws HandshakeFailed if it is in another shape: it may be no worker.
 */
export function readHandshake(message: JsonObject): Hello {
  try {
    return readHello(message);
  } catch (error) {
    throw new HandshakeFailed((error as Error).message);
  }
}

export const readInfo = reader("model info", shape(replies.MODEL_INFO));
export const readLoad = reader("load result", shape(replies.LOAD));
export const readMetrics = reader("worker metrics", shape(replies.WORKER_METRICS));
export const readTokenize = reader("tokenize result", shape(replies.TOKENIZE));
export const readDetokenize = reader("detokenize result", shape(replies.DETOKENIZE));
export const readInspect = reader("inspect result", shape(replies.INSPECT));
export const readCancel = reader("cancel result", shape(replies.CANCEL));
export const readCache = reader("cache result", shape(replies.CACHE));
export const readAdapters = reader("adapter result", shape(replies.ADAPTERS));
export const readTrainProgress = reader("progress", shape(replies.TRAIN_PROGRESS));
export const readTrainResult = reader("train result", shape(replies.TRAIN));
export const readEvaluate = reader("evaluate result", shape(replies.EVALUATE));
export const readMemory = reader("memory result", shape(replies.MEMORY));
export const readRender = reader("render result", shape(replies.RENDER));
export const readRerank = reader("rerank result", shape(replies.RERANK));
export const readFit = reader("fit result", shape(replies.FIT));
export const readProgress = reader("progress", shape(replies.PROGRESS));
export const readDone: (message: JsonObject) => Done = reader("end", shape(replies.DONE));

const readClassifyItemFields = reader("classify item", shape(replies.CLASSIFY_ITEM));
const readBatchItemFields = reader("batch item", shape(replies.BATCH_ITEM));
const readEmbeddingFields = reader("embedding", shape(replies.EMBEDDING));
const readScoreFields = reader("score", shape(replies.SCORE_ITEM));
const readFoundFields = reader("model", shape(replies.FOUND_MODEL));
const readBrokenFields = reader("broken model", shape(replies.BROKEN_MODEL));
const readIndex = reader("item", shape({ index: integer }));
const readItemFailure = reader("batch item", shape({ error: nullOr(object) }));
const readTokenFields = reader("token", shape(replies.TOKEN));
const readToolCallFields = reader("part of a tool call", shape(replies.TOOL_CALL_PART));
const readErrorFields = reader("error", shape(replies.ERROR));
const readEventFields = reader("event", shape(replies.EVENT));
const readHeartbeat = reader("heartbeat", shape({ data: shape(replies.HEARTBEAT) }));

/** Read a token, also one with log-probabilities or of a batch. @throws Offence */
export function readToken(message: JsonObject): Token {
  const { token, topLogprobs, ...rest } = readTokenFields(message);
  const likeliest = topLogprobs?.map(({ token: text, ...top }) => ({ text, ...top }));
  return { text: token, ...rest, topLogprobs: likeliest ?? null, toolCall: null };
}

/** Read a part of a tool call, as a token without text that does not count. @throws Offence */
export function readToolCallPart(message: JsonObject): Token {
  const { seq, arguments: part, ...rest } = readToolCallFields(message);
  return {
    seq,
    text: "",
    tokenId: NO_TOKEN_ID,
    flush: true,
    index: null,
    channel: null,
    logprob: null,
    topLogprobs: null,
    toolCall: { ...rest, arguments: part ?? "" },
  };
}

/** Read the item of one prompt of a `classify`. @throws Offence */
export function readClassifyItem(message: JsonObject): ClassifyItem {
  const failed = readFailure(message);
  if (failed !== null) {
    const none = { logprob: null, logits: null, labels: null, label: null };
    return { ...failed, text: "", tokenId: NO_TOKEN_ID, ...none };
  }
  const { token, ...rest } = readClassifyItemFields(message);
  return { ...rest, text: token, label: likeliest(rest.labels), error: null };
}

/** Find the label with the largest probability; null without any label. */
function likeliest(labels: Readonly<Record<string, number | null>> | null): string | null {
  let best: string | null = null;
  let most = -1;
  for (const [label, chance] of Object.entries(labels ?? {})) {
    if ((chance ?? 0) > most) {
      best = label;
      most = chance ?? 0;
    }
  }
  return best;
}

/** Read the vector of one text of an `embed`. @throws Offence */
export function readEmbedding(message: JsonObject): Embedding {
  const failed = readFailure(message);
  if (failed !== null) {
    return { ...failed, vector: new Float32Array(0), tokens: 0 };
  }
  const { embedding, ...rest } = readEmbeddingFields(message);
  return { ...rest, vector: unpacked(embedding), error: null };
}

/** Read the log-probabilities of one text of a `score`. @throws Offence */
export function readScoreItem(message: JsonObject): ScoreItem {
  const failed = readFailure(message);
  if (failed !== null) {
    return { ...failed, tokenIds: [], pieces: [], logprobs: [], perplexity: null };
  }
  return { ...readScoreFields(message), error: null };
}

/** Read a model that `discover` found, or a folder that is broken. @throws Offence */
export function readFound(message: JsonObject): FoundModel | BrokenModel {
  const failed = readFailure(message);
  return failed === null
    ? { ...readFoundFields(message), error: null }
    : { ...readBrokenFields(message), error: failed.error };
}

/** Read the index and the error of an item that failed by itself; null for any other. */
function readFailure(message: JsonObject): { index: number; error: MlxwireError } | null {
  if ((message.error ?? null) === null) {
    return null;
  }
  return { ...readIndex(message), error: readError(message) };
}

/** Give the numbers of a vector: float32 in base64, the least byte first. @throws Offence */
function unpacked(text: string): Float32Array {
  const packed = Buffer.from(text, "base64");
  if (packed.toString("base64") !== text || packed.length % FLOAT_BYTES !== 0) {
    throw new Offence(`the worker's \`embedding\` is no float32 in base64: ${text.slice(0, 40)}`);
  }
  const vector = new Float32Array(packed.length / FLOAT_BYTES);
  for (let place = 0; place < vector.length; place += 1) {
    vector[place] = packed.readFloatLE(place * FLOAT_BYTES);
  }
  return vector;
}

/** Read the item of one prompt of a `batch`. @throws Offence */
export function readBatchItem(message: JsonObject): BatchItem {
  const failed = readItemFailure(message).error !== null;
  const error = failed ? readError(message) : null;
  return { type: "item", ...readBatchItemFields(message), error };
}

/** Read an event; one that is unknown keeps its name and data. @throws Offence */
export function readEvent(message: JsonObject): WorkerEvent {
  const { event: name, data } = readEventFields(message);
  if (name === "heartbeat") {
    return { event: "heartbeat", ...readHeartbeat(message).data };
  }
  return { event: "other", name, data };
}

type ErrorClass = new (message: string, details?: ErrorDetails) => MlxwireError;

/** The classes of errors by their code. */
export const ERRORS_BY_CODE: ReadonlyMap<string, ErrorClass> = new Map(
  Object.values(errors)
    .filter((kind) => kind !== MlxwireError && kind !== WorkerError)
    .filter((kind) => Object.hasOwn(kind, "code")) // the others are finer kinds of one that has it
    .map((kind) => [kind.code, kind]),
);

/** Make the error of a code; a plain `WorkerError` if the code is unknown. */
export function errorFromCode(code: string, message: string, details: ErrorDetails): MlxwireError {
  if (code === InvalidParams.code) {
    return refused(message, details);
  }
  // A worker that can still say so has not crashed.
  const known = code === "worker_crashed" ? undefined : ERRORS_BY_CODE.get(code);
  return new (known ?? WorkerError)(message, { ...details, code });
}

/** Read the field `error` of a final, or of an item. @throws Offence */
export function readError(message: JsonObject): MlxwireError {
  const { code, message: what, retryable, data } = readErrorFields(message).error;
  return errorFromCode(code, what, { retryable, data });
}

/** Make the error of a refused request, with the names that its caller wrote. */
function refused(message: string, details: ErrorDetails): InvalidParams {
  const { field } = details.data ?? {};
  const text = message.replace(/`([^`]+)`/g, (_, name: string) => `\`${callersName(name)}\``);
  return new InvalidParams(text, {
    ...details,
    field: typeof field === "string" ? callersName(field) : "",
  });
}
