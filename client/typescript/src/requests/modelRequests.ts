/** The streaming requests: `generate` and `chat`, `batch`, and the others with items. */

import type { StreamOptions } from "../options.js";
import type { BatchItem, BatchToken, Done, Token } from "../results.js";
import type { CommandName } from "../wire/commands.js";
import type { JsonObject } from "../wire/json.js";
import { readBatchItem } from "../wire/readReplies.js";
import { callGuarded } from "./callbacks.js";
import type { Route } from "./route.js";
import { StreamRequest } from "./streamRequest.js";
import { itemBytes, tokenBytes } from "./weight.js";

/** Fields whose entries have an item each: the stage of the progress that this client reports. */
const ITEM_LISTS = ["prompts", "messages", "texts"] as const;

/** A `generate` or `chat`: a stream of tokens. */
export class TokenRequest extends StreamRequest<Token> {
  #tokensDelivered = 0;
  // Each text that was taken: to join them with each token would cost more than to keep them.
  readonly #texts: string[] = [];
  readonly #thoughts: string[] = [];

  override get tokensDelivered(): number {
    return this.#tokensDelivered;
  }

  /** The text of the answer that was taken so far. */
  get text(): string {
    return this.#texts.join("");
  }

  /** The thoughts that were taken so far. */
  get thoughts(): string {
    return this.#thoughts.join("");
  }

  override takeToken(token: Token): void {
    this.push(token);
  }

  /** Count a token, and keep its text; held-back text is no token of its own (SPEC §5). */
  protected override onTaken(token: Token): void {
    this.#tokensDelivered += token.flush ? 0 : 1;
    if (token.channel === null) {
      this.#texts.push(token.text);
    } else if (token.channel === "thinking") {
      this.#thoughts.push(token.text);
    }
  }

  protected override cost(token: Token): number {
    return tokenBytes(token);
  }
}

/** A request whose replies are items, one for each prompt, text or model; `read` makes an item. */
export class ItemRequest<T extends object, M extends object = T> extends StreamRequest<T | M> {
  #items = 0;
  readonly #read: (message: JsonObject) => T;

  constructor(
    route: Route,
    command: CommandName,
    fields: JsonObject,
    options: StreamOptions,
    read: (message: JsonObject) => T,
    onDone?: (done: Done) => void,
  ) {
    super(route, command, fields, options, onDone);
    this.#read = read;
  }

  override takeItem(message: JsonObject): void {
    const item = this.#read(message);
    this.push(item);
    this.#items += 1;
    const stage = ITEM_LISTS.find((name) => name in this.fields);
    if (stage !== undefined && this.running) {
      const { length: total } = this.fields[stage] as readonly unknown[];
      callGuarded(this.options.onProgress, { stage, done: this.#items, total });
    }
  }

  protected override cost(message: T | M): number {
    return itemBytes(message);
  }
}

/** A `batch`: a stream of items, and of tokens with the option `stream`. */
export class BatchRequest extends ItemRequest<BatchItem, BatchToken> {
  #tokensDelivered = 0;

  constructor(
    route: Route,
    fields: JsonObject,
    options: StreamOptions,
    onDone: (done: Done) => void,
  ) {
    super(route, "batch", fields, options, readBatchItem, onDone);
  }

  override get tokensDelivered(): number {
    return this.#tokensDelivered;
  }

  override takeToken(token: Token): void {
    this.push({ type: "token", ...token });
  }

  protected override cost(message: BatchItem | BatchToken): number {
    return message.type === "token" ? tokenBytes(message) : itemBytes(message);
  }

  protected override onTaken(message: BatchItem | BatchToken): void {
    if (message.type === "token") {
      this.#tokensDelivered += message.flush ? 0 : 1;
    } else if (this.fields.stream !== true) {
      this.#tokensDelivered += message.tokensGenerated;
    }
  }
}
