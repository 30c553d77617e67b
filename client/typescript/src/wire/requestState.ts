/** The order of one request's replies as a table; a reply out of order is an offence. */

import type { JsonObject } from "./json.js";

type State = "open" | "streaming" | "ended";

const TRANSITIONS: Readonly<Record<State, ReadonlyMap<string, State>>> = {
  open: new Map<string, State>([
    ["progress", "open"],
    ["token", "streaming"],
    ["tool_call", "streaming"],
    ["item", "streaming"],
    ["done", "ended"],
    ["result", "ended"],
    ["error", "ended"],
  ]),
  streaming: new Map<string, State>([
    ["progress", "streaming"],
    ["token", "streaming"],
    ["tool_call", "streaming"],
    ["item", "streaming"],
    ["done", "ended"],
    ["error", "ended"],
  ]),
  ended: new Map(),
};

/** An offence of the worker: it sent what the rules of the wire forbid. */
export class Offence extends Error {}

/** The replies that a request may have beside its progress and its final. */
export interface Replies {
  /** True for a request that streams tokens. */
  readonly tokens: boolean;
  /** True for a request whose answer may have tool calls. */
  readonly toolCalls: boolean;
  /**
   * The number of prompts or texts of a request: each has one item, and its tokens name it. Infinite
   * for a `discover`, of whose items the worker alone knows the number. Null for other requests, which
   * have no items, and whose tokens have no index but 0.
   */
  readonly prompts: number | null;
}

/** Return the replies that a request may have. */
export function repliesTo(command: string, fields: JsonObject): Replies {
  const { prompts, messages, texts, stream, tools } = fields;
  const given = prompts ?? texts ?? messages;
  const count = Array.isArray(given) ? given.length : 0;
  switch (command) {
    case "generate":
      return { tokens: true, toolCalls: false, prompts: null };
    case "chat": {
      const toolCalls = Array.isArray(tools) && tools.length > 0;
      return { tokens: true, toolCalls, prompts: null };
    }
    case "batch":
      return { tokens: stream === true, toolCalls: false, prompts: count };
    case "classify":
    case "embed":
    case "score":
      return { tokens: false, toolCalls: false, prompts: count };
    case "discover":
      return { tokens: false, toolCalls: false, prompts: Number.POSITIVE_INFINITY };
    default:
      return { tokens: false, toolCalls: false, prompts: null };
  }
}

/** Follows the replies of one request, which are for `owner`. */
export class RequestState<Owner> {
  #state: State = "open";
  #nextSeq = 0;
  readonly #replies: Replies;
  /** True if the tokens are those of one text. */
  readonly #oneText: boolean;
  /** The next `seq` of each prompt of a batch. */
  readonly #nextSeqOf = new Map<unknown, number>();
  /** How many tool calls have begun. */
  #calls = 0;
  /** The prompts whose items have come. */
  readonly #items = new Set<unknown>();

  constructor(
    readonly id: string,
    readonly owner: Owner,
    replies: Replies,
  ) {
    this.#replies = replies;
    this.#oneText = replies.tokens && replies.prompts === null;
  }

  /** True once the final has come. */
  get ended(): boolean {
    return this.#state === "ended";
  }

  /** Take one reply. @throws Offence if it is out of order. */
  advance(message: JsonObject): void {
    const { type, final, index } = message;
    if (typeof type !== "string") {
      throw new Offence(`request ${this.id}: a reply has the type ${quoted(type)}, not a string`);
    }
    const following = this.#following(type, final === true);
    if ((following === "ended") !== (final === true)) {
      throw new Offence(`request ${this.id}: \`${type.slice(0, 80)}\` carries the wrong \`final\``);
    }
    if (type === "token") {
      this.#takeToken(message.seq, index);
    }
    if (type === "tool_call") {
      this.#takeToolCall(message);
    }
    if (type === "item") {
      this.#takeItem(index);
    }
    this.#state = following;
  }

  /** Take a plain token. Returns false, and changes nothing, if it is out of order. */
  advancePlainToken(seq: number): boolean {
    if (seq !== this.#nextSeq || this.#state === "ended" || !this.#oneText) {
      return false;
    }
    this.#nextSeq = seq + 1;
    this.#state = "streaming";
    return true;
  }

  #following(type: string, final: boolean): State {
    const following = TRANSITIONS[this.#state].get(type);
    if (following !== undefined) {
      return following;
    }
    if (TRANSITIONS.open.has(type)) {
      throw new Offence(`request ${this.id}: \`${type}\` may not come after tokens or items`);
    }
    return final ? "ended" : this.#state; // a type of a later version (SPEC §2)
  }

  /** Check the place of a prompt. @throws Offence if the request has no such prompt. */
  #checkIndex(type: string, index: unknown, prompts: number): void {
    if (!(Number.isSafeInteger(index) && (index as number) >= 0 && (index as number) < prompts)) {
      throw new Offence(
        `request ${this.id}: \`${type}\` has the index ${quoted(index)}, where the request has ` +
          `${prompts} prompts`,
      );
    }
  }

  #takeItem(index: unknown): void {
    const prompts = this.#replies.prompts ?? 0;
    this.#checkIndex("item", index, prompts);
    if (this.#items.has(index)) {
      throw new Offence(`request ${this.id}: the item of prompt ${index} came twice`);
    }
    this.#items.add(index);
  }

  #takeToolCall({ seq, index, call_id, name, arguments: part }: JsonObject): void {
    if (!this.#replies.toolCalls) {
      throw new Offence(`request ${this.id}: a tool call came, but this request has no tools`);
    }
    if (!this.#takesSeq(seq, 0)) {
      throw new Offence(`request ${this.id}: a tool call has seq ${quoted(seq)} out of turn`);
    }
    const begins = (call_id ?? null) !== null;
    if (begins !== ((name ?? null) !== null)) {
      throw new Offence(`request ${this.id}: a tool call has only one of call_id and name`);
    }
    if (!begins && (part ?? null) === null) {
      throw new Offence(
        `request ${this.id}: a tool call has neither call_id and name nor arguments`,
      );
    }
    this.#checkPlaceOfCall(index, begins);
    this.#calls += begins ? 1 : 0;
  }

  #checkPlaceOfCall(index: unknown, begins: boolean): void {
    const due = this.#calls;
    if (begins && index !== due) {
      throw new Offence(
        `request ${this.id}: tool call ${quoted(index)} began where ${due} was due`,
      );
    }
    if (begins || (typeof index === "number" && index < due)) {
      return;
    }
    const what = `arguments of tool call ${quoted(index)} came before its beginning`;
    throw new Offence(`request ${this.id}: ${what}`);
  }

  #takeToken(seq: unknown, index: unknown): void {
    const { tokens, prompts } = this.#replies;
    if (!tokens) {
      throw new Offence(`request ${this.id}: a token came, but this request has none`);
    }
    if (prompts !== null) {
      this.#checkIndex("token", index, prompts);
      if (this.#items.has(index)) {
        throw new Offence(`request ${this.id}: a token of prompt ${index} came after its item`);
      }
    } else if ((index ?? 0) !== 0) {
      this.#checkIndex("token", index, 1);
    }
    if (!this.#takesSeq(seq, index)) {
      throw new Offence(`request ${this.id}: a token has seq ${quoted(seq)} out of turn`);
    }
  }

  #takesSeq(seq: unknown, index: unknown): boolean {
    if (this.#oneText) {
      return typeof seq === "number" && this.advancePlainToken(seq);
    }
    const due = this.#nextSeqOf.get(index) ?? 0;
    this.#nextSeqOf.set(index, due + 1);
    return seq === due;
  }
}

/** Show the beginning of a value of the worker's in an error. */
function quoted(value: unknown): string {
  return value === undefined ? "undefined" : JSON.stringify(value).slice(0, 80);
}
