/** The life of one request's replies as a table: what may follow what, and all else is an offence. */

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

/** A reply came that the wire's rules forbid. */
export class Offence extends Error {}

/** Follows one request's replies. `owner` is whoever they are for. */
export class RequestState<Owner> {
  #state: State = "open";
  #nextSeq = 0;
  /** In a batch `seq` counts for each prompt by itself. */
  #nextSeqOf: Map<unknown, number> | null = null;

  constructor(
    readonly id: string,
    readonly owner: Owner,
  ) {}

  /** Whether its final has been seen. */
  get ended(): boolean {
    return this.#state === "ended";
  }

  /** Take one reply. @throws Offence if it may not come here. */
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

  /** `advance` for a plain token. False, and nothing changed, if it may not come here. */
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
