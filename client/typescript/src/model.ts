/** A loaded model: generate, chat, batch, classify, and its prompt cache. */

import { ask } from "./ask.js";
import { PromptCache } from "./cache.js";
import type { JsonObject } from "./json.js";
import type {
  BatchOptions,
  ChatOptions,
  ClassifyOptions,
  GenerateOptions,
  Message,
} from "./options.js";
import {
  type BatchResult,
  type ClassifyResult,
  type Done,
  type LoadResult,
  type ModelInfo,
  type RequestMetrics,
  readBatchResult,
  readClassifyResult,
  readInfo,
} from "./results.js";
import type { ModelRoute } from "./route.js";
import { BatchStream, collectInOrder, Stream, TokenStream } from "./stream.js";
import type { CallOptions, StreamOptions } from "./streamOptions.js";
import { ItemRequest, TokenRequest } from "./streamRequest.js";
import { CHAT, CLASSIFY, chatMessages, SAMPLING, STREAM, wireFields } from "./wireFields.js";

/**
 * What `Worker.load` gives. It stands for one load: a later one replaces it. Any number of requests
 * may run at the same time; the worker decodes them together.
 */
export class Model implements AsyncDisposable {
  /** What earlier prompts computed: look at it, clear, fill, save and load it. */
  readonly cache: PromptCache;
  readonly #route: ModelRoute;
  readonly #onClose: () => Promise<void>;
  #metrics: RequestMetrics | null = null;

  /** @internal */
  constructor(route: ModelRoute, onClose: () => Promise<void>) {
    this.#route = route;
    this.#onClose = onClose;
    this.cache = new PromptCache(route);
  }

  /** What the last `load` said of it; `info` asks again. */
  get loaded(): LoadResult {
    return this.#route.loaded;
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
   * Continue many raw prompts in one request; a `BatchResult` for each as it ends. A prompt that
   * fails has its own `error` and costs the others nothing.
   */
  batch(prompts: readonly string[], options: BatchOptions = {}): BatchStream {
    const { onToken } = options;
    const fields: JsonObject = {
      ...wireFields("batch", options, SAMPLING, [...STREAM, "onToken"]),
      prompts,
      ...(onToken === undefined ? {} : { stream: true }),
    };
    return new BatchStream(
      new ItemRequest<BatchResult>(
        this.#route,
        "batch",
        fields,
        options,
        readBatchResult,
        this.#note,
        onToken,
      ),
    );
  }

  /**
   * One forward pass for each prompt: the likeliest next token, in the prompts' order. One bad
   * prompt fails all.
   */
  classify(
    prompts: readonly string[],
    options: ClassifyOptions = {},
  ): Promise<readonly ClassifyResult[]> {
    const fields = { ...wireFields("classify", options, CLASSIFY, STREAM), prompts };
    const request = new ItemRequest<ClassifyResult>(
      this.#route,
      "classify",
      fields,
      options,
      readClassifyResult,
      this.#note,
    );
    return collectInOrder(new Stream(request));
  }

  /** Describe the model as it is now. */
  info(options: CallOptions = {}): Promise<ModelInfo> {
    return ask(this.#route, "info", {}, readInfo, options);
  }

  /** Unload it and give its memory back. Harmless when it is gone already. */
  async close(): Promise<void> {
    if (this.#route.open) {
      await this.#onClose();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #tokens(command: string, fields: JsonObject, options: StreamOptions): TokenStream {
    return new TokenStream(new TokenRequest(this.#route, command, fields, options, this.#note));
  }

  readonly #note = (done: Done): void => {
    this.#metrics = done.metrics;
  };
}
