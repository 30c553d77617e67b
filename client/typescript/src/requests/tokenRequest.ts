/** The requests whose replies are tokens. */

import type { Token } from "../results.js";
import { StreamRequest } from "./streamRequest.js";
import { tokenBytes } from "./weight.js";

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
