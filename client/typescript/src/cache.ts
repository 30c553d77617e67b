/** The prompt cache of a loaded model: what earlier prompts computed, and may be used again. */

import type { CallOptions, Message, Path } from "./options.js";
import { ask } from "./requests/ask.js";
import type { Route } from "./requests/route.js";
import type { CacheStats } from "./results.js";
import type { JsonObject } from "./wire/json.js";
import { readCache } from "./wire/readReplies.js";
import { chatMessages, pathText } from "./wire/wireFields.js";

/** `Model.cache`. Every method tells the cache's state after it; `affected` is what it did. */
export class PromptCache {
  readonly #route: Route;

  /** @internal */
  constructor(route: Route) {
    this.#route = route;
  }

  /** What it holds, and how often it helped. */
  stats(options?: CallOptions): Promise<CacheStats> {
    return this.#act({ action: "stats" }, options);
  }

  /** Drop all of it. */
  clear(options?: CallOptions): Promise<CacheStats> {
    return this.#act({ action: "clear" }, options);
  }

  /**
   * Compute a prompt (a string, as for `generate`) or a conversation (as for `chat`) for later;
   * `affected` is how many tokens it has.
   */
  warm(prompt: string | readonly Message[], options?: CallOptions): Promise<CacheStats> {
    const what = typeof prompt === "string" ? { prompt } : { messages: chatMessages(prompt) };
    return this.#act({ action: "warm", ...what }, options);
  }

  /** Write it to a file, below the worker's `--data-root` where it has one. */
  save(path: Path, options?: CallOptions): Promise<CacheStats> {
    return this.#act({ action: "save", path: pathText(path) }, options);
  }

  /** Read what `save` wrote, for this very model, adapter and KV configuration. */
  load(path: Path, options?: CallOptions): Promise<CacheStats> {
    return this.#act({ action: "load", path: pathText(path) }, options);
  }

  #act(fields: JsonObject, options?: CallOptions): Promise<CacheStats> {
    return ask(this.#route, "cache", fields, readCache, options);
  }
}
