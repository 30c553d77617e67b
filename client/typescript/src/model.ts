/** A loaded model: its answers, what it makes of texts, its adapters, and its prompt cache. */

import { type AnswerSchema, formatOf, isAnswerSchema, ParsedStream } from "./answerSchema.js";
import { PromptCache } from "./cache.js";
import { ProtocolViolation } from "./errors.js";
import type {
  BatchOptions,
  CallOptions,
  ChatOptions,
  ClassifyOptions,
  Conversation,
  EmbedOptions,
  EvaluateOptions,
  FitOptions,
  GenerateOptions,
  InspectOptions,
  JobOptions,
  Message,
  Path,
  RenderOptions,
  RerankOptions,
  ScoreOptions,
  StreamOptions,
  Text,
  TokenizeChatOptions,
  TokenizeOptions,
  TrainOptions,
  Typed,
} from "./options.js";
import { ask, ResultRequest } from "./requests/ask.js";
import { BatchRequest, ItemRequest, TokenRequest } from "./requests/modelRequests.js";
import type { ModelRoute } from "./requests/route.js";
import { TrainRequest } from "./requests/trainRequest.js";
import type {
  AdapterInfo,
  Done,
  EvaluateResult,
  FitResult,
  Inspected,
  ModelInfo,
  RankedDocument,
  Rendered,
  RequestMetrics,
  Tokenized,
} from "./results.js";
import { BatchStream, ClassifyStream, EmbeddingStream, ScoreStream } from "./stream.js";
import { TokenStream } from "./tokenStream.js";
import { Training } from "./training.js";
import type { JsonObject } from "./wire/json.js";
import {
  readAdapters,
  readClassifyItem,
  readDetokenize,
  readEmbedding,
  readEvaluate,
  readFit,
  readInfo,
  readInspect,
  readRender,
  readRerank,
  readScoreItem,
  readTokenize,
} from "./wire/readReplies.js";
import {
  BATCH,
  CHAT,
  CLASSIFY,
  chatMessages,
  chats,
  EMBED,
  EVALUATE,
  FIT,
  INSPECT,
  JOB_CALL,
  pathText,
  RENDER,
  RERANK,
  SAMPLING,
  SCORE,
  STREAM,
  TOKENIZE,
  TOKENIZE_CHAT,
  TRAIN,
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
   * With a schema as `responseFormat` the stream has `parsed()`, which gives the answer as a value.
   *
   * @throws InvalidParams for an unknown option; the stream rejects with all other errors.
   */
  generate<T>(prompt: string, options: Typed<GenerateOptions, AnswerSchema<T>>): ParsedStream<T>;
  generate(prompt: string, options?: GenerateOptions): TokenStream;
  generate(
    prompt: string,
    options: GenerateOptions | Typed<GenerateOptions, AnswerSchema> = {},
  ): TokenStream {
    const fields = { ...wireFields("generate", plain(options), SAMPLING, STREAM), prompt };
    return this.#tokens("generate", fields, options);
  }

  /**
   * Answer a conversation, or one user turn given as a string. Streams and throws as `generate`.
   */
  chat<T>(
    messages: string | readonly Message[],
    options: Typed<ChatOptions, AnswerSchema<T>>,
  ): ParsedStream<T>;
  chat(messages: string | readonly Message[], options?: ChatOptions): TokenStream;
  chat(
    messages: string | readonly Message[],
    options: ChatOptions | Typed<ChatOptions, AnswerSchema> = {},
  ): TokenStream {
    const fields = wireFields("chat", plain(options), CHAT, STREAM);
    return this.#tokens("chat", { ...fields, messages: chatMessages(messages) }, options);
  }

  /**
   * Continue many raw prompts in one request. The stream gives a `BatchItem` for each prompt as it
   * ends. A prompt that fails has an `error` in its item and does not disturb the others.
   */
  batch(prompts: readonly string[], options: BatchOptions = {}): BatchStream {
    const fields = { ...wireFields("batch", plain(options), BATCH, STREAM), prompts };
    return new BatchStream(new BatchRequest(this.#route, fields, options, this.#note));
  }

  /**
   * Find the likeliest next token of each prompt by one forward pass. The stream gives a `ClassifyItem`
   * for each prompt as it is computed; awaited, it gives all of them in the order of the prompts. A
   * prompt that fails has an `error` in its item and does not disturb the others.
   *
   * @throws InvalidParams for an unknown option; the stream rejects with all other errors.
   */
  classify(prompts: readonly string[], options: ClassifyOptions = {}): ClassifyStream {
    const fields = { ...wireFields("classify", options, CLASSIFY, STREAM), prompts };
    return new ClassifyStream(this.#items("classify", fields, options, readClassifyItem));
  }

  /**
   * Find the likeliest next token of each conversation, as `classify` does: the chat template makes a
   * prompt of it, and a label is the assistant's answer.
   */
  classifyChats(
    conversations: readonly Conversation[],
    options: ClassifyOptions = {},
  ): ClassifyStream {
    const fields = wireFields("classify", options, CLASSIFY, STREAM);
    const sent = { ...fields, messages: chats(conversations) };
    return new ClassifyStream(this.#items("classify", sent, options, readClassifyItem));
  }

  /**
   * Find the prompt that a conversation, or one user turn given as a string, becomes, with the tokens
   * of each message.
   */
  render(messages: Conversation, options?: RenderOptions): Promise<Rendered> {
    const fields = { messages: chatMessages(messages) };
    return ask(this.#route, "render", fields, readRender, options, RENDER);
  }

  /**
   * Compute a vector for each text, given as a string or as token ids. The stream gives an `Embedding`
   * for each text as it is computed; awaited, it gives all of them in the order of the texts.
   *
   * @throws InvalidParams for an unknown option; the stream rejects with all other errors.
   */
  embed(texts: readonly Text[], options: EmbedOptions = {}): EmbeddingStream {
    const fields = wireFields("embed", options, EMBED, STREAM);
    // Base64 takes a quarter of the bytes of decimal numbers.
    const sent = { ...fields, texts, encoding_format: "base64" };
    return new EmbeddingStream(this.#items("embed", sent, options, readEmbedding));
  }

  /**
   * Find the log-probability of each token of each text, given as a string or as token ids. The stream
   * gives a `ScoreItem` for each text as it is computed; awaited, it gives all of them in order.
   *
   * @throws InvalidParams for an unknown option; the stream rejects with all other errors.
   */
  score(texts: readonly Text[], options: ScoreOptions = {}): ScoreStream {
    const fields = { ...wireFields("score", options, SCORE, STREAM), texts };
    return new ScoreStream(this.#items("score", fields, options, readScoreItem));
  }

  /**
   * Order documents by how well they answer a query, the best first. A document that is too long fails
   * the whole request.
   */
  async rerank(
    query: string,
    documents: readonly string[],
    options?: RerankOptions,
  ): Promise<RankedDocument[]> {
    const fields = { query, documents };
    const reply = await ask(this.#route, "rerank", fields, readRerank, options, RERANK);
    this.#metrics = reply.metrics;
    return reply.results.map((ranked) => {
      const document = documents[ranked.index];
      if (document === undefined) {
        throw new ProtocolViolation(
          `the worker ranked document ${ranked.index}, but ${documents.length} were given; client and ` +
            "worker may be of different versions",
        );
      }
      return { ...ranked, document };
    });
  }

  /** Predict the memory that the model needs, as `Worker.fit`; an option left out is that of its load. */
  fit(options?: FitOptions): Promise<FitResult> {
    return ask(this.#route, "fit", {}, readFit, options, FIT);
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

  /**
   * Load the adapter in a folder, of mlx-lm's format or PEFT's, and give all that are loaded. A name in
   * use is given to this adapter; requests in flight go on with the old one. A process that `restart`
   * starts has none.
   */
  loadAdapter(name: string, path: Path, options?: CallOptions): Promise<AdapterInfo[]> {
    return this.#adapter({ action: "load", name, path: pathText(path) }, options);
  }

  /** Unload an adapter, and give those that are left. Requests in flight go on with it. */
  unloadAdapter(name: string, options?: CallOptions): Promise<AdapterInfo[]> {
    return this.#adapter({ action: "unload", name }, options);
  }

  /** Give the adapters that requests may name. */
  adapters(options?: CallOptions): Promise<AdapterInfo[]> {
    return this.#adapter({ action: "list" }, options);
  }

  /**
   * Train an adapter of the model, or all its weights, on a file or folder of JSONL, in a process of its
   * own. The request is sent when the first report or the result is asked for.
   *
   * @throws InvalidParams for an unknown option; the training rejects with all other errors.
   */
  train(data: Path, options: TrainOptions): Training {
    const fields = wireFields("train", options, TRAIN, JOB_CALL);
    const sent = { ...fields, data: pathText(data, "data") };
    return new Training(new TrainRequest(this.#route, sent, local(options)));
  }

  /** Find the loss and the perplexity of data, in a process of its own, as `train` reads it. */
  async evaluate(data: Path, options: EvaluateOptions = {}): Promise<EvaluateResult> {
    const fields = wireFields("evaluate", options, EVALUATE, JOB_CALL);
    const sent = { ...fields, data: pathText(data, "data") };
    const request = new ResultRequest(this.#route, "evaluate", sent, readEvaluate, local(options));
    request.open();
    return request.result;
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

  #tokens(
    command: "generate" | "chat",
    fields: JsonObject,
    options: StreamOptions & { readonly responseFormat?: unknown },
  ): TokenStream {
    const request = new TokenRequest(this.#route, command, fields, options, this.#note);
    const schema = options.responseFormat;
    return isAnswerSchema(schema) ? new ParsedStream(request, schema) : new TokenStream(request);
  }

  #items<T extends object>(
    command: "classify" | "embed" | "score",
    fields: JsonObject,
    options: StreamOptions,
    read: (message: JsonObject) => T,
  ): ItemRequest<T> {
    return new ItemRequest(this.#route, command, fields, options, read, this.#note);
  }

  async #adapter(fields: JsonObject, options?: CallOptions): Promise<AdapterInfo[]> {
    return [...(await ask(this.#route, "adapter", fields, readAdapters, options)).adapters];
  }

  readonly #note = (done: Done): void => {
    this.#metrics = done.metrics;
  };
}

/** Take the options that stay in this client. */
function local({ timeoutMs, signal, onProgress }: JobOptions): JobOptions {
  return { timeoutMs, signal, onProgress };
}

/** Replace a schema among the options by the format that asks for its values. */
function plain<O extends { readonly responseFormat?: unknown }>(options: O): O {
  const schema = (options as O | null)?.responseFormat; // what is no object is refused later
  return isAnswerSchema(schema) ? { ...options, responseFormat: formatOf(schema) } : options;
}
