/** From replies as the wire has them to results and errors as callers get them. */

import * as errors from "../errors.js";
import {
  type ErrorDetails,
  HandshakeFailed,
  MlxwireError,
  ProtocolViolation,
  WorkerError,
} from "../errors.js";
import type { BatchItem, ClassifyItem, Done, Hello, Token, WorkerEvent } from "../results.js";
import { isObject, type JsonObject } from "./json.js";
import * as replies from "./replies.js";
import { type Reader, shape } from "./shape.js";

/** Reads a reply, and says what is wrong with one that can't be. */
function reader<T>(name: string, read: Reader<T>): (message: JsonObject) => T {
  return (message) => {
    try {
      return read(message);
    } catch (error) {
      throw new ProtocolViolation(
        `the worker's \`${String(message.type)}\` reply is no ${name}: ${(error as Error).message}. ` +
          "Client and worker may be of different versions",
      );
    }
  };
}

export const readHello = reader("hello result", shape(replies.HELLO));
/** A handshake's answer. @throws HandshakeFailed where it is none: nothing else is known of the worker yet. */
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
export const readCancel = reader("cancel result", shape(replies.CANCEL));
export const readCache = reader("cache result", shape(replies.CACHE));
export const readMemory = reader("memory result", shape(replies.MEMORY));
export const readProgress = reader("progress", shape(replies.PROGRESS));
export const readDone: (message: JsonObject) => Done = reader("end", shape(replies.DONE));

const readClassifyItemFields = reader("classify item", shape(replies.CLASSIFY_ITEM));
const readBatchItemFields = reader("batch item", shape(replies.BATCH_ITEM));
const readTokenFields = reader("token", shape(replies.TOKEN));
const readEventFields = reader("event", shape(replies.EVENT));
const readHeartbeat = shape(replies.HEARTBEAT);

/** Any token, also one with log-probabilities or of a batch. @throws ProtocolViolation */
export function readToken(message: JsonObject): Token {
  const { token, topLogprobs, ...rest } = readTokenFields(message);
  const likeliest = topLogprobs?.map(({ token: text, ...top }) => ({ text, ...top }));
  return { text: token, ...rest, topLogprobs: likeliest ?? null };
}

/** One prompt of a `classify`. @throws ProtocolViolation */
export function readClassifyItem(message: JsonObject): ClassifyItem {
  const { token, ...rest } = readClassifyItemFields(message);
  return { ...rest, text: token };
}

/** One prompt of a `batch`. @throws ProtocolViolation */
export function readBatchItem(message: JsonObject): BatchItem {
  const failed = message.error ?? null;
  const error = failed === null ? null : errorFromBody(failed);
  return { type: "item", ...readBatchItemFields(message), error };
}

/** An event, as its type where that is known. @throws ProtocolViolation */
export function readEvent(message: JsonObject): WorkerEvent {
  const { event: name, data } = readEventFields(message);
  if (name === "heartbeat") {
    try {
      return { event: "heartbeat", ...readHeartbeat(data) };
    } catch {
      // A heartbeat of a later version, in a shape that this one does not know.
    }
  }
  return { event: "other", name, data };
}

type ErrorClass = new (message: string, details?: ErrorDetails) => MlxwireError;

/** The classes by their code. */
export const ERRORS_BY_CODE: ReadonlyMap<string, ErrorClass> = new Map(
  Object.values(errors)
    .filter((kind) => kind !== MlxwireError && kind !== WorkerError)
    .map((kind) => [kind.code, kind]),
);

/** The error for a code; a plain `WorkerError` where the code is not known. */
export function errorFromCode(code: string, message: string, details: ErrorDetails): MlxwireError {
  // A worker that can still say so has not crashed.
  const known = code === "worker_crashed" ? undefined : ERRORS_BY_CODE.get(code);
  return new (known ?? WorkerError)(message, { ...details, code });
}

/** The error in the `error` field of a reply or of a batch's item. */
export function errorFromBody(body: unknown): MlxwireError {
  if (!isObject(body)) {
    return new ProtocolViolation(`an error reply has no error in it: ${String(body)}`);
  }
  const { code, message, retryable, data } = body;
  return errorFromCode(String(code), String(message), {
    retryable: retryable === true,
    data: isObject(data) ? data : {},
  });
}
