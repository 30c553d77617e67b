/** A loaded model: generate, chat, batch, classify, and its prompt cache. */

import { PromptCache } from "./cache.js";
import type {
  BatchOptions,
  CallOptions,
  ChatOptions,
  ClassifyOptions,
  GenerateOptions,
  Message,
  StreamOptions,
} from "./options.js";
import { ask } from "./requests/ask.js";
import { BatchRequest, ClassifyRequest, TokenRequest } from "./requests/modelRequests.js";
import type { ModelRoute } from "./requests/route.js";
import type { ClassifyItem, Done, ModelInfo, RequestMetrics } from "./results.js";
import { BatchStream, inOrder, Stream, TokenStream } from "./stream.js";
import type { JsonObject } from "./wire/json.js";
import { readInfo } from "./wire/readReplies.js";
import {
  BATCH,
  CHAT,
  CLASSIFY,
  chatMessages,
  SAMPLING,
  STREAM,
  wireFields,
} from "./wire/wireFields.js";

/**
 * What `Worker.load` gives. It stands for one load: a later one replaces it. Any number of requests
 * may run at the same time; the worker decodes them together.
 */
export class Model implements AsyncDisposable {
  /** What earlier prompts computed: look at it, clear, fill, save and load it. */
  readonly cache: PromptCache;
  readonly #route: ModelRoute;
  readonly #onUnload: () => Promise<void>;
  #metrics: RequestMetrics | null = null;

  /** @internal */
  constructor(route: ModelRoute, onUnload: () => Promise<void>) {
    this.#route = route;
    this.#onUnload = onUnload;
    this.cache = new PromptCache(route);
  }

  /** What it is, as its last `load` or `refreshInfo` said. */
  get info(): ModelInfo {
    return this.#route.loaded;
  }

  /** How long its last `load` took. */
  get loadSeconds(): number {
    return this.#route.loaded.loadSeconds;
  }

  /** Figures of the last stream that ended; null before the first. */
  get metrics(): RequestMetrics | null {
    return this.#metrics;
  }

  /** Continue a raw prompt. Nothing is sent before the stream is iterated. */
  generate(prompt: string, options: GenerateOptions = {}): TokenStream {
    const fields = { ...wireFields("generate", options, SAMPLING, STREAM), prompt };
    return this.#tokens("generate", fields, options);
  }

  /** Answer a conversation, or one user turn given as a string. Streams as `generate`. */
  chat(messages: string | readonly Message[], options: ChatOptions = {}): TokenStream {
    const fields = wireFields("chat", options, CHAT, STREAM);
    return this.#tokens("chat", { ...fields, messages: chatMessages(messages) }, options);
  }

  /**
   * Continue many raw prompts in one request; a `BatchItem` for each as it ends. A prompt that fails
   * has its own `error` and costs the others nothing.
   */
  batch(prompts: readonly string[], options: BatchOptions = {}): BatchStream {
    const fields = { ...wireFields("batch", options, BATCH, STREAM), prompts };
    return new BatchStream(new BatchRequest(this.#route, "batch", fields, options, this.#note));
  }

  /**
   * One forward pass for each prompt: the likeliest next token, in the prompts' order. One bad
   * prompt fails all.
   */
  async classify(
    prompts: readonly string[],
    options: ClassifyOptions = {},
  ): Promise<ClassifyItem[]> {
    const fields = { ...wireFields("classify", options, CLASSIFY, STREAM), prompts };
    const request = new ClassifyRequest(this.#route, "classify", fields, options, this.#note);
    const items: ClassifyItem[] = [];
    for await (const item of new Stream(request)) {
      items.push(item);
    }
    request.checkWhole();
    return inOrder(items);
  }

  /** Ask again what the model is; `info` tells it from then on. */
  async refreshInfo(options: CallOptions = {}): Promise<ModelInfo> {
    const info = await ask(this.#route, "info", {}, readInfo, options);
    this.#route.loaded = { ...this.#route.loaded, ...info };
    return info;
  }

  /** Give its memory back. Harmless when it is gone already. */
  async unload(): Promise<void> {
    await this.#onUnload();
  }

  /** `unload`. */
  close(): Promise<void> {
    return this.unload();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #tokens(command: "generate" | "chat", fields: JsonObject, options: StreamOptions): TokenStream {
    return new TokenStream(new TokenRequest(this.#route, command, fields, options, this.#note));
  }

  readonly #note = (done: Done): void => {
    this.#metrics = done.metrics;
  };
}
