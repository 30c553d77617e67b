/** The streaming requests to a model: what each takes of its replies, and what that weighs. */

import type { BatchItem, BatchToken, ClassifyItem, Token } from "../results.js";
import type { JsonObject } from "../wire/json.js";
import { readBatchItem, readClassifyItem } from "../wire/readReplies.js";
import { StreamRequest } from "./streamRequest.js";
import { itemBytes, tokenBytes } from "./weight.js";

/** `generate` and `chat`: each token is to be taken. */
export class TokenRequest extends StreamRequest<Token> {
  #tokensDelivered = 0;

  override get tokensDelivered(): number {
    return this.#tokensDelivered;
  }

  override takeToken(token: Token): void {
    this.push(token);
  }

  /** Text that was held back is no token of its own (SPEC §5). */
  protected override onTaken(token: Token): void {
    this.#tokensDelivered += token.flush ? 0 : 1;
  }

  protected override cost(token: Token): number {
    return tokenBytes(token);
  }
}

/** `classify` and `batch`: each item is to be taken. */
export abstract class ItemRequest<T extends object> extends StreamRequest<T> {
  override takeItem(message: JsonObject): void {
    this.push(this.read(message));
  }

  /** An item of its reply. @throws ProtocolViolation */
  protected abstract read(message: JsonObject): T;

  protected override cost(item: T): number {
    return itemBytes(item);
  }
}

/** `classify`. */
export class ClassifyRequest extends ItemRequest<ClassifyItem> {
  protected override read(message: JsonObject): ClassifyItem {
    return readClassifyItem(message);
  }
}

/** `batch`, with its tokens where it streams. */
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
