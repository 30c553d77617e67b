/** Reads replies of the wire into the results and errors that callers get. */

import * as errors from "../errors.js";
import {
  type ErrorDetails,
  HandshakeFailed,
  InvalidParams,
  MlxwireError,
  WorkerError,
} from "../errors.js";
import type { BatchItem, ClassifyItem, Done, Hello, Token, WorkerEvent } from "../results.js";
import type { JsonObject } from "./json.js";
import * as replies from "./replies.js";
import { Offence } from "./requestState.js";
import { nullOr, object, type Reader, shape } from "./shape.js";
import { callersName } from "./wireFields.js";

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
export const readMemory = reader("memory result", shape(replies.MEMORY));
export const readProgress = reader("progress", shape(replies.PROGRESS));
export const readDone: (message: JsonObject) => Done = reader("end", shape(replies.DONE));

const readClassifyItemFields = reader("classify item", shape(replies.CLASSIFY_ITEM));
const readBatchItemFields = reader("batch item", shape(replies.BATCH_ITEM));
const readItemFailure = reader("batch item", shape({ error: nullOr(object) }));
const readTokenFields = reader("token", shape(replies.TOKEN));
const readErrorFields = reader("error", shape(replies.ERROR));
const readEventFields = reader("event", shape(replies.EVENT));
const readHeartbeat = reader("heartbeat", shape({ data: shape(replies.HEARTBEAT) }));

/** Read a token, also one with log-probabilities or of a batch. @throws Offence */
export function readToken(message: JsonObject): Token {
  const { token, topLogprobs, ...rest } = readTokenFields(message);
  const likeliest = topLogprobs?.map(({ token: text, ...top }) => ({ text, ...top }));
  return { text: token, ...rest, topLogprobs: likeliest ?? null };
}

/** Read the item of one prompt of a `classify`. @throws Offence */
export function readClassifyItem(message: JsonObject): ClassifyItem {
  const { token, ...rest } = readClassifyItemFields(message);
  return { ...rest, text: token };
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

/** Read the field `error` of a final, or of a batch's item. @throws Offence */
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
