/**
 * Cuts a byte stream into lines at byte 0x0A alone (SPEC §1). Bytes go in as they arrive, whole
 * lines come out; a line that grows past its cap is dropped up to its end and reported once.
 */

/** The longest accepted line in bytes, until `hello` sets another limit. */
export const DEFAULT_MAX_LINE_BYTES = 16 * 1024 * 1024;
/** The number of bytes that are kept of a dropped line. */
export const PREFIX_BYTES = 512;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const TAB = 0x09;
const SPACE = 0x20;
const EMPTY = Buffer.alloc(0);

/** A line longer than the cap. */
export class Overlong {
  /** @param prefix the first bytes of the line, `PREFIX_BYTES` at most. */
  constructor(readonly prefix: Buffer) {}
}

/** A line without its line end, or the prefix of a line that was too long. */
export type Line = Buffer | Overlong;

/**
 * Splits chunks into lines. Strips a trailing 0x0D and drops blank lines; the cap counts the bytes
 * of a line without 0x0A and that 0x0D. Lines may share memory with their chunk.
 */
export class LineSplitter {
  #tail: Buffer = EMPTY;
  #held = 0;
  #discarding = false;

  /** @param maxLineBytes the cap, which may be changed between chunks. */
  constructor(public maxLineBytes: number = DEFAULT_MAX_LINE_BYTES) {}

  /** Take the next bytes and return the lines that they complete, in order. */
  feed(chunk: Buffer): Line[] {
    const lines: Line[] = [];
    let start = 0;
    let end = chunk.indexOf(LINE_FEED);
    if (end >= 0 && this.#held > 0) {
      this.#hold(chunk.subarray(0, end));
      this.#finish(lines);
      start = end + 1;
      end = chunk.indexOf(LINE_FEED, start);
    }
    while (end >= 0) {
      this.#judge(chunk.subarray(start, end), lines);
      start = end + 1;
      end = chunk.indexOf(LINE_FEED, start);
    }
    if (start < chunk.length) {
      this.#hold(chunk.subarray(start));
    }
    return lines;
  }

  /** End the stream. Returns the last line if it has no line end, else null. */
  end(): Line | null {
    const lines: Line[] = [];
    this.#finish(lines);
    return lines[0] ?? null;
  }

  /**
   * Keep a piece of an unfinished line; past the cap only its prefix. One byte more than each limit
   * is kept, since a trailing 0x0D does not count.
   */
  #hold(piece: Buffer): void {
    const kept = this.#discarding ? piece.subarray(0, PREFIX_BYTES + 1 - this.#held) : piece;
    this.#append(kept);
    if (this.#held > this.maxLineBytes + 1) {
      this.#discarding = true;
      this.#held = Math.min(this.#held, PREFIX_BYTES + 1);
      this.#tail = Buffer.from(this.#tail.subarray(0, this.#held));
    }
  }

  /**
   * Copy a piece to the tail. References would cost an object for each byte of a line that trickles
   * in.
   */
  #append(piece: Buffer): void {
    const needed = this.#held + piece.length;
    if (needed > this.#tail.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#tail.length * 2));
      this.#tail.copy(grown, 0, 0, this.#held);
      this.#tail = grown;
    }
    piece.copy(this.#tail, this.#held);
    this.#held = needed;
  }

  #finish(lines: Line[]): void {
    const line = this.#tail.subarray(0, this.#held);
    const overlong = this.#discarding;
    this.#tail = EMPTY;
    this.#held = 0;
    this.#discarding = false;
    this.#judge(line, lines, overlong);
  }

  /** Add a whole line, or the prefix of one that is too long. */
  #judge(whole: Buffer, lines: Line[], overlong = false): void {
    const stripped = whole[whole.length - 1] === CARRIAGE_RETURN;
    const line = stripped ? whole.subarray(0, -1) : whole;
    if (overlong || line.length > this.maxLineBytes) {
      lines.push(new Overlong(Buffer.from(line.subarray(0, PREFIX_BYTES))));
    } else if (!isBlank(line)) {
      lines.push(line);
    }
  }
}

function isBlank(line: Buffer): boolean {
  for (const byte of line) {
    if (byte !== SPACE && byte !== TAB && byte !== CARRIAGE_RETURN) {
      return false;
    }
  }
  return true;
}
