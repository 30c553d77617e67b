/**
 * Engines by name: a host asks for a model and says which backend shall run it. This worker is the
 * backend `"mlx_lm"`; others come by `register`.
 */

import type { PromptCache } from "./cache.js";
import { Model } from "./model.js";
import type {
  BatchOptions,
  ChatOptions,
  ClassifyOptions,
  GenerateOptions,
  LoadOptions,
  Message,
  Path,
} from "./options.js";
import { findWorker } from "./process/findWorker.js";
import type { ClassifyItem, ModelInfo, RequestMetrics } from "./results.js";
import type { BatchStream, TokenStream } from "./stream.js";
import { Worker } from "./worker.js";
import type { WorkerOptions } from "./workerOptions.js";

/** The backend that `loadModel` takes where none is named. */
export const DEFAULT_BACKEND = "mlx_lm";

/** What a backend's model can do, whatever runs it; `Model` is one. */
export interface BackendModel extends AsyncDisposable {
  /** Figures of the last stream that ended. */
  readonly metrics: RequestMetrics | null;
  /** What earlier prompts computed. */
  readonly cache: PromptCache;
  /** Continue a raw prompt. */
  generate(prompt: string, options?: GenerateOptions): TokenStream;
  /** Answer a conversation. */
  chat(messages: string | readonly Message[], options?: ChatOptions): TokenStream;
  /** Continue many raw prompts in one request. */
  batch(prompts: readonly string[], options?: BatchOptions): BatchStream;
  /** The likeliest next token of each prompt. */
  classify(prompts: readonly string[], options?: ClassifyOptions): Promise<ClassifyItem[]>;
  /** What it is. */
  readonly info: ModelInfo;
  /** Give back all that it took. */
  close(): Promise<void>;
}

/** The options of a backend's `loadModel`: those of `Worker.load`, and what else it knows. */
export interface BackendOptions extends LoadOptions {
  /** Of the worker that is started for the model. */
  readonly worker?: WorkerOptions | undefined;
}

/** Something that loads models. */
export interface Backend {
  /** What it is asked for by. */
  readonly name: string;
  /** Whether it can run here. */
  available(): Promise<boolean>;
  /** Load a model. */
  loadModel(path: Path, options?: BackendOptions): Promise<BackendModel>;
}

/** One worker process for each model; the model's `close` ends it. */
const mlxLm: Backend = {
  name: DEFAULT_BACKEND,

  async available() {
    return findWorker().then(
      () => true,
      () => false,
    );
  },

  async loadModel(path, { worker: workerOptions, ...options } = {}) {
    const worker = await Worker.start(workerOptions);
    try {
      return new Model(await worker.loadRoute(path, options), () => worker.close());
    } catch (error) {
      await worker.close();
      throw error;
    }
  },
};

const registered = new Map<string, Backend>([[mlxLm.name, mlxLm]]);

/** Make a backend known by its name; a later one of the same name replaces it. */
export function register(backend: Backend): void {
  registered.set(backend.name, backend);
}

/** The backend of that name. @throws RangeError naming those that there are. */
export function get(name: string): Backend {
  const backend = registered.get(name);
  if (backend === undefined) {
    throw new RangeError(`no backend is called "${name}"; known are ${list().join(", ")}`);
  }
  return backend;
}

/** The names of all backends. */
export function list(): string[] {
  return [...registered.keys()].sort();
}

/** `mlx_lm` where it is available, otherwise any that is. Rejects where none is. */
export async function getDefault(): Promise<Backend> {
  for (const name of [DEFAULT_BACKEND, ...list()]) {
    const backend = registered.get(name);
    if (await backend?.available()) {
      return get(name);
    }
  }
  throw new RangeError("no backend can run here; install one: pip install 'mlxwire[mlx]'");
}

/** Load a model with a backend, by name; close the model when done. */
export async function loadModel(
  path: Path,
  { backend = DEFAULT_BACKEND, ...options }: BackendOptions & { backend?: string } = {},
): Promise<BackendModel> {
  return get(backend).loadModel(path, options);
}
