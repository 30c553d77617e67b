/**
 * Keeps the tail of a worker's stderr in bounded memory, and hands its lines to a listener. The
 * ring holds bytes, not lines, so output without a newline can't make it grow.
 */

/** Bytes that are kept. */
export const DEFAULT_RING_BYTES = 64 * 1024;
/** Bytes of a line; a longer line is handed to the listener in pieces of this size. */
export const MAX_LINE_BYTES = 16 * 1024;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** Keeps the last bytes and calls `onLine` with each line, without its line end. */
export class StderrRing {
  readonly #ring: Buffer;
  readonly #onLine: ((line: string) => void) | null;
  #written = 0;
  #partial = Buffer.alloc(0);

  constructor(onLine: ((line: string) => void) | null = null, limit = DEFAULT_RING_BYTES) {
    this.#ring = Buffer.alloc(limit);
    this.#onLine = onLine;
  }

  /** Take bytes as they arrive. */
  feed(chunk: Buffer): void {
    this.#keep(chunk);
    this.#split(Buffer.concat([this.#partial, chunk]));
  }

  /** End the input; an unfinished line is handed on as a line. */
  end(): void {
    if (this.#partial.length > 0) {
      this.#emit(this.#partial);
      this.#partial = Buffer.alloc(0);
    }
  }

  /** Decode the tail; bytes that are no UTF-8, such as a cut character, are replaced. */
  text(maxBytes = this.#ring.length): string {
    const limit = this.#ring.length;
    const count = Math.min(maxBytes, this.#written, limit);
    const end = this.#written % limit;
    const kept =
      count <= end
        ? this.#ring.subarray(end - count, end)
        : Buffer.concat([this.#ring.subarray(limit - (count - end)), this.#ring.subarray(0, end)]);
    return kept.toString("utf8");
  }

  #keep(chunk: Buffer): void {
    const limit = this.#ring.length;
    const last = chunk.subarray(Math.max(0, chunk.length - limit));
    const place = (this.#written + chunk.length - last.length) % limit;
    const copied = last.copy(this.#ring, place);
    last.copy(this.#ring, 0, copied);
    this.#written += chunk.length;
  }

  #split(bytes: Buffer): void {
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED, start)) {
      this.#emit(bytes.subarray(start, end));
      start = end + 1;
    }
    while (bytes.length - start > MAX_LINE_BYTES) {
      this.#emit(bytes.subarray(start, start + MAX_LINE_BYTES));
      start += MAX_LINE_BYTES;
    }
    this.#partial = Buffer.from(bytes.subarray(start));
  }

  #emit(line: Buffer): void {
    for (let start = 0; start === 0 || start < line.length; start += MAX_LINE_BYTES) {
      const piece = line.subarray(start, start + MAX_LINE_BYTES);
      const stripped = piece[piece.length - 1] === CARRIAGE_RETURN ? piece.subarray(0, -1) : piece;
      this.#onLine?.(stripped.toString("utf8"));
    }
  }
}
