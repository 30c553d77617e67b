/**
 * The reply that has to be cheap: a plain token's line, read by hand. What is not exactly in the
 * shape that workers write is left to `JSON.parse`, so nothing is accepted here that is no JSON.
 */

/** A plain token as it stands on the wire, without the fields that only some tokens have. */
export interface PlainToken {
  /** The request's id. */
  readonly id: string;
  /** Its place among the tokens of its request. */
  readonly seq: number;
  /** Its text. */
  readonly token: string;
  /** Its id in the vocabulary. */
  readonly tokenId: number;
}

const HEAD = '{"id":"';
const AFTER_ID = '","type":"token","seq":';
const AFTER_SEQ = ',"token":"';
const AFTER_TEXT = '","token_id":';
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;
const CLOSING_BRACE = 0x7d;
const ZERO = 0x30;
/** Numbers of more digits may pass what a double holds. */
const MAX_DIGITS = 15;

/**
 * The token that a line is, or null where it is anything but a plain token. Where a part has no end,
 * -1, nothing of what has to follow stands: `startsWith` looks at the line's head then.
 */
export function readPlainToken(line: string): PlainToken | null {
  if (!line.startsWith(HEAD)) {
    return null;
  }
  const idEnd = plainTextEnd(line, HEAD.length);
  if (!line.startsWith(AFTER_ID, idEnd)) {
    return null;
  }
  const seqStart = idEnd + AFTER_ID.length;
  const seqEnd = digitsEnd(line, seqStart);
  if (!line.startsWith(AFTER_SEQ, seqEnd)) {
    return null;
  }
  const textStart = seqEnd + AFTER_SEQ.length;
  const textEnd = plainTextEnd(line, textStart);
  if (!line.startsWith(AFTER_TEXT, textEnd)) {
    return null;
  }
  const numberStart = textEnd + AFTER_TEXT.length;
  const numberEnd = digitsEnd(line, numberStart);
  if (numberEnd !== line.length - 1 || line.charCodeAt(numberEnd) !== CLOSING_BRACE) {
    return null;
  }
  return {
    id: line.slice(HEAD.length, idEnd),
    seq: numberAt(line, seqStart, seqEnd),
    token: line.slice(textStart, textEnd),
    tokenId: numberAt(line, numberStart, numberEnd),
  };
}

/** Where a string without escapes ends: its quote's place, or -1. */
function plainTextEnd(line: string, start: number): number {
  for (let at = start; at < line.length; at += 1) {
    const code = line.charCodeAt(at);
    if (code === QUOTE) {
      return at;
    }
    if (code === BACKSLASH || code < FIRST_PRINTABLE) {
      return -1;
    }
  }
  return -1;
}

/** Where a number of JSON's form ends that is a short natural one, or -1. */
function digitsEnd(line: string, start: number): number {
  let at = start;
  while (isDigit(line.charCodeAt(at))) {
    at += 1;
  }
  const count = at - start;
  const leadingZero = count > 1 && line.charCodeAt(start) === ZERO;
  return count === 0 || count > MAX_DIGITS || leadingZero ? -1 : at;
}

function numberAt(line: string, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at += 1) {
    value = value * 10 + line.charCodeAt(at) - ZERO;
  }
  return value;
}

function isDigit(code: number): boolean {
  return code >= ZERO && code <= ZERO + 9;
}
