/** The requests whose replies are items, one for each prompt. */

import {
  type BatchItem,
  type BatchToken,
  type ClassifyItem,
  readBatchItem,
  readClassifyItem,
  type Token,
} from "../results.js";
import type { JsonObject } from "../wire/json.js";
import { StreamRequest } from "./streamRequest.js";
import { itemBytes, tokenBytes } from "./weight.js";

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
