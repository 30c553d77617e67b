/**
 * Reads the line of a plain token by hand, which is much cheaper than `JSON.parse`. A line that is
 * not exactly in the form that workers write is left to `JSON.parse`, so nothing is accepted that
 * is no JSON.
 */

/** A token without the fields that only some tokens have. */
export interface PlainToken {
  /** The id of the request. */
  readonly id: string;
  /** The place among the tokens of the request. */
  readonly seq: number;
  /** The text of the token. */
  readonly token: string;
  /** The id of the token in the vocabulary. */
  readonly tokenId: number;
  /** `thinking` for a token of a thought; null for one of the answer. */
  readonly channel: "thinking" | null;
}

const HEAD = '{"id":"';
const AFTER_ID = '","type":"token","seq":';
const AFTER_SEQ = ',"token":"';
const AFTER_TEXT = '","token_id":';
const THOUGHT_END = ',"channel":"thinking"}';
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;
const CLOSING_BRACE = 0x7d;
const ZERO = 0x30;
/** The most digits of a number that a double surely holds. */
const MAX_DIGITS = 15;

/**
 * Read a line as a plain token; null if it is anything else. A part without an end has the end -1,
 * and `startsWith` at -1 looks at the head of the line, where the text that has to follow never
 * stands.
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
  const plain = numberEnd === line.length - 1 && line.charCodeAt(numberEnd) === CLOSING_BRACE;
  if (!(plain || endsAsThought(line, numberEnd))) {
    return null;
  }
  return {
    id: line.slice(HEAD.length, idEnd),
    seq: numberAt(line, seqStart, seqEnd),
    token: line.slice(textStart, textEnd),
    tokenId: numberAt(line, numberStart, numberEnd),
    channel: plain ? null : "thinking",
  };
}

function endsAsThought(line: string, numberEnd: number): boolean {
  return line.startsWith(THOUGHT_END, numberEnd) && numberEnd === line.length - THOUGHT_END.length;
}

/** Find the closing quote of a string without escapes; -1 if there is none. */
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

/** Find the end of a short natural number in JSON's form; -1 if there is none. */
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
