/** The requests whose replies are tokens. */

import type { Token } from "./results.js";
import { StreamRequest } from "./streamRequest.js";
import { tokenBytes } from "./weight.js";

/** `generate` and `chat`: each token is to be taken. */
export class TokenRequest extends StreamRequest<Token> {
  override get tokensDelivered(): number {
    return this.window.taken;
  }

  override takeToken(token: Token): void {
    this.push(token);
  }

  protected override cost(token: Token): number {
    return tokenBytes(token);
  }
}
