/**
 * The table of commands: one row for each, as `protocol/schema` has it under `x-commands`. A test
 * holds this table to that one.
 */

/**
 * Where a worker serves a command: as it is read (`at_once`), where prompts are tokenized
 * (`prepare`), between two steps of the engine, with nothing beside it (`alone`), in the decode
 * batch (`sequences`), in slices of a forward pass (`one_pass`), in a process of its own
 * (`background`), or on a thread that reads model folders (`files`).
 */
export type Lane =
  | "at_once"
  | "prepare"
  | "between_steps"
  | "alone"
  | "sequences"
  | "one_pass"
  | "background"
  | "files";

/** One row of the table. */
export interface Command {
  /** The type of the reply that ends it, unless that is an `error` or it was cancelled. */
  readonly final: "result" | "done";
  /** The lane in which the worker runs it. */
  readonly lane: Lane;
  /** True if it fails with `model_not_loaded` where no model is loaded. */
  readonly needsModel: boolean;
  /** The lanes of actions that run in another lane than the command. */
  readonly actions?: Readonly<Record<string, { readonly lane: Lane }>>;
}

/** Every command of protocol 1, by its name on the wire. */
export const COMMANDS = {
  hello: { final: "result", lane: "at_once", needsModel: false },
  load: { final: "result", lane: "alone", needsModel: false },
  unload: { final: "result", lane: "alone", needsModel: true },
  info: { final: "result", lane: "at_once", needsModel: true },
  generate: { final: "done", lane: "sequences", needsModel: true },
  chat: { final: "done", lane: "sequences", needsModel: true },
  batch: { final: "done", lane: "sequences", needsModel: true },
  classify: { final: "done", lane: "one_pass", needsModel: true },
  tokenize: { final: "result", lane: "prepare", needsModel: true },
  detokenize: { final: "result", lane: "prepare", needsModel: true },
  inspect: { final: "result", lane: "one_pass", needsModel: true },
  render: { final: "result", lane: "prepare", needsModel: true },
  embed: { final: "done", lane: "one_pass", needsModel: true },
  rerank: { final: "result", lane: "one_pass", needsModel: true },
  score: { final: "done", lane: "one_pass", needsModel: true },
  discover: { final: "done", lane: "files", needsModel: false },
  fit: { final: "result", lane: "files", needsModel: false },
  cancel: { final: "result", lane: "at_once", needsModel: false },
  credit: { final: "result", lane: "at_once", needsModel: false },
  cache: {
    final: "result",
    lane: "between_steps",
    needsModel: true,
    actions: { warm: { lane: "sequences" } },
  },
  adapter: { final: "result", lane: "between_steps", needsModel: true },
  train: { final: "result", lane: "background", needsModel: true },
  evaluate: { final: "result", lane: "background", needsModel: true },
  memory: { final: "result", lane: "between_steps", needsModel: false },
  metrics: { final: "result", lane: "at_once", needsModel: false },
  quit: { final: "result", lane: "at_once", needsModel: false },
} as const satisfies Readonly<Record<string, Command>>;

/** The name of a command on the wire. */
export type CommandName = keyof typeof COMMANDS;

/** Commands that speak of other requests or end the worker: it dies of none of them. */
export const CONTROLS: ReadonlySet<CommandName> = new Set(["cancel", "credit", "quit"]);
