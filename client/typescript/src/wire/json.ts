/** JSON as the wire allows it: strict Unicode, finite numbers, bounded depth (SPEC §1). */

import { isUtf8 } from "node:buffer";
import { InvalidParams } from "../errors.js";

/** A JSON object of any content. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The most levels of nested objects and arrays. */
export const MAX_DEPTH = 1024;

const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;
/** Stands in every number beyond a double's range: an exponent of three digits, or many digits. */
const LARGE_NUMBER = /\d[eE]\+?\d{3}|\d{200}/;

/** Tell if a value is a JSON object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Parse a line of bytes.
 *
 * @throws SyntaxError if it is no JSON, no UTF-8, is nested too deeply, or holds an unpaired surrogate or
 * a number beyond a double's range.
 */
export function parseLine(line: Buffer): unknown {
  return parseText(decodeUtf8(line));
}

/**
 * Decode a line. A decoded text has U+FFFD in place of wrong bytes, or because U+FFFD was sent;
 * only such a text has its bytes checked.
 *
 * @throws SyntaxError if the line is no UTF-8.
 */
export function decodeUtf8(line: Buffer): string {
  const text = line.toString();
  if (text.includes("\uFFFD") && !isUtf8(line)) {
    throw new SyntaxError("not UTF-8");
  }
  return text;
}

/** Parse a text. @throws SyntaxError as `parseLine`. */
export function parseText(text: string): unknown {
  if (mayBeDeep(text)) {
    checkDepth(text);
  }
  const suspicious = SURROGATE_ESCAPE.test(text) || LARGE_NUMBER.test(text);
  return suspicious ? JSON.parse(text, refuseUnsound) : JSON.parse(text);
}

/** Tell if a text has enough brackets to be nested too deeply; a long row of numbers has few. */
function mayBeDeep(text: string): boolean {
  if (text.length <= 2 * MAX_DEPTH) {
    return false; // each level has an opening and a closing bracket
  }
  let brackets = 0;
  for (const bracket of "[{") {
    for (let at = text.indexOf(bracket); at >= 0; at = text.indexOf(bracket, at + 1)) {
      brackets += 1;
      if (brackets > MAX_DEPTH) {
        return true;
      }
    }
  }
  return false;
}

/** Check how deeply a text is nested. @throws SyntaxError */
function checkDepth(text: string): void {
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') {
      quoted = !quoted;
    } else if (quoted) {
      at += character === "\\" ? 1 : 0;
    } else if (character === "[" || character === "{") {
      depth += 1;
      if (depth > MAX_DEPTH) {
        throw new SyntaxError(`more than ${MAX_DEPTH} levels`);
      }
    } else if (character === "]" || character === "}") {
      depth -= 1;
    }
  }
}

function refuseUnsound(key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new SyntaxError("a number beyond a double's range");
  }
  if (!key.isWellFormed() || (typeof value === "string" && !value.isWellFormed())) {
    throw new SyntaxError("an unpaired surrogate");
  }
  return value;
}

/**
 * Check that a value of a request can be sent unchanged; `JSON.stringify` would change it silently.
 *
 * @param path the path of the value on the wire: `messages[0].content`.
 * @throws InvalidParams naming the path.
 */
export function checkSendable(value: unknown, path: string, depth = 2): void {
  switch (typeof value) {
    case "boolean":
      return;
    case "string":
      if (!value.isWellFormed()) {
        throw unsendable(
          path,
          "has an unpaired surrogate; make it well-formed Unicode, as with toWellFormed()",
        );
      }
      return;
    case "number":
      if (!Number.isFinite(value)) {
        throw unsendable(
          path,
          `is ${value}; JSON has finite numbers only, so give one or leave the option out`,
        );
      }
      return;
    case "object":
      if (value !== null) {
        checkNested(value, path, depth);
      }
      return;
    default:
      throw unsendable(
        path,
        `is ${value === undefined ? value : `a ${typeof value}`}, which JSON can't carry; give a string, number, boolean, array or plain object`,
      );
  }
}

function checkNested(value: object, path: string, depth: number): void {
  if (depth > MAX_DEPTH) {
    throw unsendable(
      path.slice(0, 80),
      `is nested too deeply; at most ${MAX_DEPTH} levels are accepted`,
    );
  }
  if (Array.isArray(value)) {
    for (let place = 0; place < value.length; place += 1) {
      checkSendable(value[place], `${path}[${place}]`, depth + 1);
    }
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw unsendable(path, "is an object of a class; give a plain object or an array");
  }
  for (const [key, inner] of Object.entries(value)) {
    checkSendable(key, path);
    checkSendable(inner, `${path}.${key}`, depth + 1);
  }
}

function unsendable(path: string, why: string): InvalidParams {
  return new InvalidParams(`\`${path}\` ${why}`, { data: { field: path } });
}
