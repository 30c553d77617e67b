/**
 * The client's end of the wire, without any I/O: requests become lines, bytes become replies.
 * Follows every request's life and names a worker's offence (SPEC §2, §3).
 *
 * Theory of operation
 *
 * Callers. `Connection` calls `hello`, `request`, `receive`, `receiveEnd` and `forget`; the
 * listener is called from within `receive`, one call for each message, in the order of the bytes,
 * and one more when a request has ended.
 *
 * Invariants. A request is pending from its line until its final was taken, and each reply belongs to
 * a pending request or is an event. If a listener throws at a final, the request stays pending. After
 * an `Offence`, or `forget`, nothing is read any more. The owner of a request is opaque here.
 *
 * Order of events. Before the answer to hello (`greeting`) up to 64 lines that are no messages are
 * kept as stray lines, such as a banner; after it (`ready`) such a line is an offence. The answer
 * sets the line limits of both directions.
 *
 * Hazards. A listener may end the connection while `receive` still has lines (the state is looked
 * at for each). Most lines are plain tokens: `readPlainToken` reads them without `JSON.parse`, and
 * each line that it does not know takes the long way. At the end of the bytes, half a message is no
 * offence: the process's exit tells why it was cut.
 */

import { MessageTooLarge } from "../errors.js";
import type { Token } from "../results.js";
import { DEFAULT_MAX_LINE_BYTES, type Line, LineSplitter, Overlong } from "./framing.js";
import { checkSendable, decodeUtf8, isObject, type JsonObject, parseText } from "./json.js";
import { readToken, readToolCallPart } from "./readReplies.js";
import { Offence, RequestState, repliesTo } from "./requestState.js";
import { camelCase } from "./shape.js";
import { readPlainToken } from "./tokenLine.js";

/** This package's version; a test holds it against package.json. */
export const VERSION = "0.1.0";
/** The major versions of the protocol that this client speaks. */
export const PROTOCOLS: readonly number[] = [1];
/** The most lines before the handshake that are no messages. */
export const MAX_STRAY_LINES = 64;
/** The most bytes that are kept of such a line. */
export const STRAY_LINE_BYTES = 4096;

/** Receives what came; each reply with the owner of its request. */
export interface WireListener<Owner> {
  /** Take a token. */
  tokenReceived(owner: Owner, token: Token): void;
  /** Take any other reply; `ended` is true for the final. */
  replyReceived(owner: Owner, message: JsonObject, ended: boolean): void;
  /** Record that a request is pending no more, since its final was taken. */
  requestEnded(): void;
  /** Take a message that the worker sent without a request. */
  eventReceived(message: JsonObject): void;
}

/** The fields of `hello` that a host chooses. */
export interface HelloFields {
  /** Capabilities that the worker must have. */
  readonly require: readonly string[];
  /** Names of the events that the worker shall send. */
  readonly events: readonly string[];
}

type State = "new" | "greeting" | "ready" | "failed";

/** The client's end of one connection. */
export class ClientConnection<Owner> {
  readonly #listener: WireListener<Owner>;
  readonly #splitter = new LineSplitter();
  readonly #pending = new Map<string, RequestState<Owner>>();
  readonly #strayLines: Buffer[] = [];
  #state: State = "new";
  #maxLineBytes = DEFAULT_MAX_LINE_BYTES;
  #helloId = "";

  constructor(listener: WireListener<Owner>) {
    this.#listener = listener;
  }

  /** The state of the connection. */
  get state(): State {
    return this.#state;
  }

  /** Lines before the handshake that are no messages, such as a banner. */
  get strayLines(): readonly Buffer[] {
    return this.#strayLines;
  }

  /** List the owners of the pending requests, oldest first. */
  owners(): Owner[] {
    return Array.from(this.#pending.values(), (request) => request.owner);
  }

  /** The number of pending requests. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** Drop all pending requests and read nothing any more. */
  forget(): void {
    this.#pending.clear();
    this.#state = "failed";
  }

  /** Make the line of the handshake. */
  hello(id: string, fields: HelloFields, owner: Owner): Buffer {
    const { require, events } = fields;
    const client = { name: "mlxwire-typescript", version: VERSION };
    this.#state = "greeting";
    this.#helloId = id;
    return this.request(id, "hello", { protocols: PROTOCOLS, client, require, events }, owner);
  }

  /**
   * Make the line of a request, which is pending from then on. The id must be new.
   *
   * @throws InvalidParams if a value can't be sent, MessageTooLarge if the line passes the worker's
   * limit; the request is not pending then.
   */
  request(id: string, command: string, fields: JsonObject, owner: Owner): Buffer {
    for (const [name, value] of Object.entries(fields)) {
      checkSendable(value, camelCase(name));
    }
    const text = JSON.stringify({ id, cmd: command, ...fields });
    const bytes = Buffer.byteLength(text);
    if (bytes > this.#maxLineBytes) {
      throw new MessageTooLarge(
        `the request has ${bytes} bytes; the largest that the worker accepts has ${this.#maxLineBytes}. ` +
          "Send a shorter prompt, or fewer prompts in one request",
        { data: { max_line_bytes: this.#maxLineBytes } },
      );
    }
    this.#pending.set(id, new RequestState(id, owner, repliesTo(command, fields)));
    return Buffer.from(`${text}\n`);
  }

  /**
   * Take bytes as they arrive. @throws Offence if the worker broke the rules; read no more then.
   */
  receive(chunk: Buffer): void {
    for (const line of this.#splitter.feed(chunk)) {
      if (this.#state === "failed") {
        return; // a listener has ended it meanwhile
      }
      this.#receiveLine(line);
    }
  }

  /** End the bytes. A whole message without its line end still counts, half a message does not. */
  receiveEnd(): void {
    const line = this.#splitter.end();
    if (line instanceof Overlong || line === null || this.#state === "failed") {
      return;
    }
    try {
      parseText(decodeUtf8(line));
    } catch {
      return; // cut off by the end of the worker, which its exit tells
    }
    this.#receiveLine(line);
  }

  #receiveLine(line: Line): void {
    const text = this.#decode(line);
    const plain = text === null ? null : readPlainToken(text);
    const request = plain && this.#pending.get(plain.id);
    if (plain && request?.advancePlainToken(plain.seq)) {
      this.#listener.tokenReceived(request.owner, {
        seq: plain.seq,
        text: plain.token,
        tokenId: plain.tokenId,
        flush: false,
        index: null,
        channel: plain.channel,
        logprob: null,
        topLogprobs: null,
        toolCall: null,
      });
      return;
    }
    const message = this.#parse(line, text);
    if (message !== null) {
      this.#receiveMessage(message);
    }
  }

  #receiveMessage(message: JsonObject): void {
    const { id, type } = message;
    if (type === "event") {
      if (id !== null || (message.final ?? false) !== false) {
        throw new Offence("an event has another `id` than null, or the wrong `final`");
      }
      this.#listener.eventReceived(message);
      return;
    }
    if (id === null && type !== "error") {
      throw new Offence(`a reply of the type ${JSON.stringify(type)} has the id null`);
    }
    if (id === null) {
      const detail = JSON.stringify(message.error ?? message).slice(0, 200);
      throw new Offence(`the worker could not read a request of ours: ${detail}`);
    }
    const request = typeof id === "string" ? this.#pending.get(id) : undefined;
    if (request === undefined) {
      throw new Offence(`a reply has the id ${JSON.stringify(id)}, which is not pending`);
    }
    const { error } = message;
    if (type === "error" && isObject(error) && error.code === "duplicate_id") {
      throw new Offence(`the worker says that id ${request.id} was used twice`);
    }
    request.advance(message);
    if (type === "token") {
      this.#listener.tokenReceived(request.owner, readToken(message));
      return;
    }
    if (type === "tool_call") {
      this.#listener.tokenReceived(request.owner, readToolCallPart(message));
      return;
    }
    if (request.ended && request.id === this.#helloId) {
      this.#greeted(message);
    }
    this.#listener.replyReceived(request.owner, message, request.ended);
    if (request.ended && this.#pending.delete(request.id)) {
      this.#listener.requestEnded();
    }
  }

  #greeted(message: JsonObject): void {
    if (message.type !== "result") {
      this.#state = "failed";
      return;
    }
    if (!PROTOCOLS.includes(message.protocol as number)) {
      throw new Offence(
        `the worker chose protocol ${JSON.stringify(message.protocol)}, which was not offered`,
      );
    }
    const limits = message.limits;
    const cap = isObject(limits) ? limits.max_line_bytes : undefined;
    if (typeof cap === "number" && Number.isSafeInteger(cap) && cap > 0) {
      this.#maxLineBytes = cap;
      this.#splitter.maxLineBytes = Math.max(cap, DEFAULT_MAX_LINE_BYTES);
    }
    this.#state = "ready";
  }

  #decode(line: Line): string | null {
    if (line instanceof Overlong) {
      throw new Offence(`a line has more than ${this.#splitter.maxLineBytes} bytes`);
    }
    try {
      return decodeUtf8(line);
    } catch {
      return null;
    }
  }

  /** Read a line as a message; null for a stray line before the handshake. */
  #parse(line: Line, text: string | null): JsonObject | null {
    const value = text === null ? undefined : parseOrUndefined(text);
    if (isObject(value)) {
      if (this.#state === "ready" || ("type" in value && "id" in value)) {
        return value;
      }
      if (value.id === this.#helloId && value.cmd === "hello") {
        throw new Offence("the program writes its input back, as `cat` does, and answers nothing");
      }
      if (typeof value.error === "string") {
        const answer = JSON.stringify(value.error.slice(0, 200));
        throw new Offence(`the worker answered hello in the older wire without ids: ${answer}`);
      }
    }
    const bytes = line instanceof Overlong ? line.prefix : line;
    if (this.#state !== "greeting" || this.#strayLines.length >= MAX_STRAY_LINES) {
      throw new Offence(`a line is no message: ${JSON.stringify(bytes.toString("utf8", 0, 80))}`);
    }
    this.#strayLines.push(Buffer.from(bytes.subarray(0, STRAY_LINE_BYTES)));
    return null;
  }
}

function parseOrUndefined(text: string): unknown {
  try {
    return parseText(text);
  } catch {
    return undefined;
  }
}
