/** The order of one request's replies as a table; a reply out of order is an offence. */

import type { JsonObject } from "./json.js";

type State = "open" | "streaming" | "ended";

const TRANSITIONS: Readonly<Record<State, ReadonlyMap<string, State>>> = {
  open: new Map<string, State>([
    ["progress", "open"],
    ["token", "streaming"],
    ["item", "streaming"],
    ["done", "ended"],
    ["result", "ended"],
    ["error", "ended"],
  ]),
  streaming: new Map<string, State>([
    ["progress", "streaming"],
    ["token", "streaming"],
    ["item", "streaming"],
    ["done", "ended"],
    ["error", "ended"],
  ]),
  ended: new Map(),
};

/** An offence of the worker: it sent what the rules of the wire forbid. */
export class Offence extends Error {}

/** Follows the replies of one request, which are for `owner`. */
export class RequestState<Owner> {
  #state: State = "open";
  #nextSeq = 0;
  /** The next `seq` of each prompt of a batch. */
  #nextSeqOf: Map<unknown, number> | null = null;

  constructor(
    readonly id: string,
    readonly owner: Owner,
  ) {}

  /** True once the final has come. */
  get ended(): boolean {
    return this.#state === "ended";
  }

  /** Take one reply. @throws Offence if it is out of order. */
  advance(message: JsonObject): void {
    const { type, final } = message;
    const following = this.#following(String(type), final === true);
    if ((following === "ended") !== (final === true)) {
      throw new Offence(`request ${this.id}: \`${type}\` carries the wrong \`final\``);
    }
    if (type === "token" && !this.#takesSeq(message.seq, message.index ?? null)) {
      throw new Offence(`request ${this.id}: a token has seq ${message.seq} out of turn`);
    }
    this.#state = following;
  }

  /** Take a plain token. Returns false, and changes nothing, if it is out of order. */
  advancePlainToken(seq: number): boolean {
    if (seq !== this.#nextSeq || this.#state === "ended") {
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

  #takesSeq(seq: unknown, index: unknown): boolean {
    if (index === null) {
      return typeof seq === "number" && this.advancePlainToken(seq);
    }
    this.#nextSeqOf ??= new Map();
    const due = this.#nextSeqOf.get(index) ?? 0;
    this.#nextSeqOf.set(index, due + 1);
    return seq === due;
  }
}
