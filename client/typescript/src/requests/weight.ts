/**
 * What a message that waits to be taken costs in Node's heap, in bytes. Rather too much than too
 * little: a host bounds memory by it. A test compares it with the heap.
 */

import type { Token } from "../results.js";

/** A message's own object, its place in the queue, and its numbers. */
const MESSAGE_BYTES = 160;
/** One of the likeliest tokens, likewise. */
const LIKELY_BYTES = 160;
/** Any character; those of Latin-1 take half. */
const CHARACTER_BYTES = 2;
/** From this length on V8 cuts no copy out of a line, but keeps the line. */
const SHORTEST_SLICE = 13;
/** What a plain token's line has besides its text. */
const LINE_BYTES = 192;
/** A number of an array that has others than numbers in it too. */
const ELEMENT_BYTES = 24;
/** A name and its value. */
const ENTRY_BYTES = 96;

/** A token. */
export function tokenBytes(token: Token): number {
  const line = token.text.length < SHORTEST_SLICE ? 0 : LINE_BYTES;
  let bytes = MESSAGE_BYTES + CHARACTER_BYTES * token.text.length + line;
  for (const { text } of token.topLogprobs ?? []) {
    bytes += LIKELY_BYTES + CHARACTER_BYTES * text.length;
  }
  return bytes;
}

/** An item, by what its fields hold. */
export function itemBytes(item: object): number {
  let bytes = MESSAGE_BYTES;
  for (const part of Object.values(item)) {
    if (typeof part === "string") {
      bytes += CHARACTER_BYTES * part.length;
    } else if (Array.isArray(part)) {
      bytes += ELEMENT_BYTES * part.length;
    } else if (typeof part === "object" && part !== null) {
      bytes += ENTRY_BYTES * Object.keys(part).length;
    }
  }
  return bytes;
}
