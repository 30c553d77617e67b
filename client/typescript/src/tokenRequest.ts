/** The requests whose replies are tokens. */

import type { Token } from "./results.js";
import { MESSAGE_OVERHEAD_BYTES, StreamRequest } from "./streamRequest.js";

/** `generate` and `chat`: each token is to be taken. */
export class TokenRequest extends StreamRequest<Token> {
  override get tokensDelivered(): number {
    return this.window.taken;
  }

  override takeToken(token: Token): void {
    this.push(token);
  }

  protected override cost(token: Token): number {
    const likely = token.topLogprobs?.length ?? 0;
    return token.text.length + MESSAGE_OVERHEAD_BYTES * (1 + likely);
  }
}
