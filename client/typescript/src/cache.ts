/** The prompt cache of a loaded model: the keys and values of earlier prompts, kept for reuse. */

import type { CallOptions, Message, Path, WarmOptions } from "./options.js";
import { ask } from "./requests/ask.js";
import type { Route } from "./requests/route.js";
import type { CacheStats } from "./results.js";
import type { JsonObject } from "./wire/json.js";
import { readCache } from "./wire/readReplies.js";
import { chatMessages, definitions, pathText } from "./wire/wireFields.js";

/**
 * The prompt cache of one model, as `Model.cache` gives it. Each method resolves to the state of
 * the cache afterwards; `affected` counts what the method changed.
 */
export class PromptCache {
  readonly #route: Route;

  /** @internal */
  constructor(route: Route) {
    this.#route = route;
  }

  /** Ask for the number of entries, their bytes, and the hits and misses so far. */
  stats(options?: CallOptions): Promise<CacheStats> {
    return this.#act({ action: "stats" }, options);
  }

  /** Drop all entries. */
  clear(options?: CallOptions): Promise<CacheStats> {
    return this.#act({ action: "clear" }, options);
  }

  /**
   * Compute a prompt (a string, as for `generate`) or a conversation (as for `chat`) and keep it;
   * `affected` is its number of tokens.
   */
  warm(prompt: string | readonly Message[], options: WarmOptions = {}): Promise<CacheStats> {
    const { tools, adapter, ...call } = options;
    const what = typeof prompt === "string" ? { prompt } : { messages: chatMessages(prompt) };
    return this.#act(
      {
        action: "warm",
        ...what,
        ...(tools && { tools: definitions(tools) }),
        ...((adapter ?? null) !== null && { adapter }),
      },
      call,
    );
  }

  /** Write the entries to a file; it must lie below the worker's `--data-root` if that is set. */
  save(path: Path, options?: CallOptions): Promise<CacheStats> {
    return this.#act({ action: "save", path: pathText(path) }, options);
  }

  /** Read the entries that `save` wrote for the same model, adapter and KV configuration. */
  load(path: Path, options?: CallOptions): Promise<CacheStats> {
    return this.#act({ action: "load", path: pathText(path) }, options);
  }

  #act(fields: JsonObject, options?: CallOptions): Promise<CacheStats> {
    return ask(this.#route, "cache", fields, readCache, options);
  }
}
