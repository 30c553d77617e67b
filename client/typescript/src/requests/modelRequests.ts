/** The streaming requests to a model: `generate` and `chat`, `classify`, `batch`. */

import type { BatchItem, BatchToken, ClassifyItem, Token } from "../results.js";
import type { JsonObject } from "../wire/json.js";
import { readBatchItem, readClassifyItem } from "../wire/readReplies.js";
import { StreamRequest } from "./streamRequest.js";
import { itemBytes, tokenBytes } from "./weight.js";

/** A `generate` or `chat`: a stream of tokens. */
export class TokenRequest extends StreamRequest<Token> {
  #tokensDelivered = 0;

  override get tokensDelivered(): number {
    return this.#tokensDelivered;
  }

  override takeToken(token: Token): void {
    this.push(token);
  }

  /** Count a token; text that was held back is no token of its own (SPEC §5). */
  protected override onTaken(token: Token): void {
    this.#tokensDelivered += token.flush ? 0 : 1;
  }

  protected override cost(token: Token): number {
    return tokenBytes(token);
  }
}

/** A request whose replies are items, one for each prompt. */
export abstract class ItemRequest<T extends object> extends StreamRequest<T> {
  override takeItem(message: JsonObject): void {
    this.push(this.read(message));
  }

  /** Read an item of a reply. @throws Offence */
  protected abstract read(message: JsonObject): T;

  protected override cost(item: T): number {
    return itemBytes(item);
  }
}

/** A `classify`: a stream of items. */
export class ClassifyRequest extends ItemRequest<ClassifyItem> {
  protected override read(message: JsonObject): ClassifyItem {
    return readClassifyItem(message);
  }
}

/** A `batch`: a stream of items, and of tokens with the option `stream`. */
export class BatchRequest extends ItemRequest<BatchItem | BatchToken> {
  #tokensDelivered = 0;

  override get tokensDelivered(): number {
    return this.#tokensDelivered;
  }

  override takeToken(token: Token): void {
    this.push({ type: "token", ...token });
  }

  protected override read(message: JsonObject): BatchItem {
    return readBatchItem(message);
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
