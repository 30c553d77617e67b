/** A loaded model: generate, chat, batch, classify, tokenize, and its prompt cache. */

import { PromptCache } from "./cache.js";
import type {
  BatchOptions,
  CallOptions,
  ChatOptions,
  ClassifyOptions,
  GenerateOptions,
  InspectOptions,
  Message,
  Path,
  StreamOptions,
  TokenizeChatOptions,
  TokenizeOptions,
} from "./options.js";
import { ask } from "./requests/ask.js";
import { BatchRequest, ClassifyRequest, TokenRequest } from "./requests/modelRequests.js";
import type { ModelRoute } from "./requests/route.js";
import type {
  ClassifyItem,
  Done,
  Inspected,
  ModelInfo,
  RequestMetrics,
  Tokenized,
} from "./results.js";
import { BatchStream, inOrder, Stream, TokenStream } from "./stream.js";
import type { JsonObject } from "./wire/json.js";
import { readDetokenize, readInfo, readInspect, readTokenize } from "./wire/readReplies.js";
import {
  BATCH,
  CHAT,
  CLASSIFY,
  chatMessages,
  INSPECT,
  pathText,
  SAMPLING,
  STREAM,
  TOKENIZE,
  TOKENIZE_CHAT,
  wireFields,
} from "./wire/wireFields.js";

/**
 * One loaded model, as `Worker.load` gives it. A later load makes it void: its requests then fail
 * with `ModelNotLoaded`. Any number of requests may run at once; the worker decodes them together.
 */
export class Model implements AsyncDisposable {
  /** The prompt cache: inspect, clear, fill, save and load it. */
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

  /** The description of the model by its last `load` or `refreshInfo`. */
  get info(): ModelInfo {
    return this.#route.loaded;
  }

  /** The seconds that the last `load` of the model took. */
  get loadSeconds(): number {
    return this.#route.loaded.loadSeconds;
  }

  /** What the last `load` of the model could not do as asked, or did slowly, in sentences. */
  get loadWarnings(): readonly string[] {
    return this.#route.loaded.warnings;
  }

  /** The metrics of the last stream that ended; null before the first. */
  get metrics(): RequestMetrics | null {
    return this.#metrics;
  }

  /**
   * Continue a raw prompt. The request is sent when the first token is asked for.
   *
   * @throws InvalidParams for an unknown option; the stream rejects with all other errors.
   */
  generate(prompt: string, options: GenerateOptions = {}): TokenStream {
    const fields = { ...wireFields("generate", options, SAMPLING, STREAM), prompt };
    return this.#tokens("generate", fields, options);
  }

  /**
   * Answer a conversation, or one user turn given as a string. Streams and throws as `generate`.
   */
  chat(messages: string | readonly Message[], options: ChatOptions = {}): TokenStream {
    const fields = wireFields("chat", options, CHAT, STREAM);
    return this.#tokens("chat", { ...fields, messages: chatMessages(messages) }, options);
  }

  /**
   * Continue many raw prompts in one request. The stream gives a `BatchItem` for each prompt as it
   * ends. A prompt that fails has an `error` in its item and does not disturb the others.
   */
  batch(prompts: readonly string[], options: BatchOptions = {}): BatchStream {
    const fields = { ...wireFields("batch", options, BATCH, STREAM), prompts };
    return new BatchStream(new BatchRequest(this.#route, "batch", fields, options, this.#note));
  }

  /**
   * Find the likeliest next token of each prompt by one forward pass. Returns one item per prompt,
   * in the order of the prompts; one bad prompt fails the whole request.
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
    return inOrder(items);
  }

  /** Find the tokens of a raw prompt, as `generate` would compute them. */
  tokenize(text: string, options?: TokenizeOptions): Promise<Tokenized> {
    return ask(this.#route, "tokenize", { text }, readTokenize, options, TOKENIZE);
  }

  /**
   * Find the tokens of a conversation, or of one user turn given as a string, as `chat` would
   * compute them.
   */
  tokenizeChat(
    messages: string | readonly Message[],
    options?: TokenizeChatOptions,
  ): Promise<Tokenized> {
    const fields = { messages: chatMessages(messages) };
    return ask(this.#route, "tokenize", fields, readTokenize, options, TOKENIZE_CHAT);
  }

  /**
   * Give the text of token ids, control tokens included. Rejects with `InvalidParams` for an id that
   * is not in the vocabulary.
   */
  async detokenize(ids: readonly number[], options?: CallOptions): Promise<string> {
    const { text } = await ask(this.#route, "detokenize", { ids }, readDetokenize, options);
    return text;
  }

  /**
   * Write the queries and keys that the attention over a prompt compares to a file, which must lie
   * below the worker's `--data-root` if that is set.
   */
  inspect(prompt: string, path: Path, options?: InspectOptions): Promise<Inspected> {
    const fields = { prompt, path: pathText(path) };
    return ask(this.#route, "inspect", fields, readInspect, options, INSPECT);
  }

  /** Ask for the model's description again; `info` gives the new one from then on. */
  async refreshInfo(options: CallOptions = {}): Promise<ModelInfo> {
    const info = await ask(this.#route, "info", {}, readInfo, options);
    this.#route.loaded = { ...this.#route.loaded, ...info };
    return info;
  }

  /** Unload the model and free its memory. Does nothing if the model is gone already. */
  async unload(): Promise<void> {
    await this.#onUnload();
  }

  /** Unload the model, as `unload`. */
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
