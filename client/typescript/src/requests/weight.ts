/**
 * Estimates the bytes that a buffered message takes in Node's heap. The estimate is rather too high
 * than too low, since a host bounds its memory by it; a test compares it with the heap.
 */

import type { Token } from "../results.js";

/** Bytes of a message's object, its place in the queue, and its numbers. */
const MESSAGE_BYTES = 160;
/** Bytes of the object of one of the likeliest tokens. */
const LIKELY_BYTES = 160;
/** Bytes of a character; those of Latin-1 take half. */
const CHARACTER_BYTES = 2;
/** Characters from which on V8 makes a slice of a line, which keeps the whole line, and no copy. */
const SHORTEST_SLICE = 13;
/** Bytes of a plain token's line besides its text. */
const LINE_BYTES = 192;
/** Bytes of a number in an array of mixed values. */
const ELEMENT_BYTES = 24;
/** Bytes of a name and its value. */
const ENTRY_BYTES = 96;

/** Estimate the bytes of a token. */
export function tokenBytes(token: Token): number {
  const line = token.text.length < SHORTEST_SLICE ? 0 : LINE_BYTES;
  let bytes = MESSAGE_BYTES + CHARACTER_BYTES * token.text.length + line;
  if (token.toolCall !== null) {
    bytes += MESSAGE_BYTES + CHARACTER_BYTES * token.toolCall.arguments.length;
  }
  for (const { text } of token.topLogprobs ?? []) {
    bytes += LIKELY_BYTES + CHARACTER_BYTES * text.length;
  }
  return bytes;
}

/** Estimate the bytes of an item by the values of its fields. */
export function itemBytes(item: object): number {
  let bytes = MESSAGE_BYTES;
  for (const part of Object.values(item)) {
    if (typeof part === "string") {
      bytes += CHARACTER_BYTES * part.length;
    } else if (ArrayBuffer.isView(part)) {
      bytes += part.byteLength;
    } else if (Array.isArray(part)) {
      bytes += ELEMENT_BYTES * part.length;
    } else if (typeof part === "object" && part !== null) {
      bytes += ENTRY_BYTES * Object.keys(part).length;
    }
  }
  return bytes;
}
