/** `runTools`: a conversation in which functions of the host answer the model's calls. */

import { type AnswerSchema, isAnswerSchema, readValue, writtenOut } from "./answerSchema.js";
import { CallCutOff, InvalidParams, TooManyRounds } from "./errors.js";
import type { Model } from "./model.js";
import type { ChatOptions, HasTool, Message, Tool } from "./options.js";
import type { Done, Token, ToolCall, ToolError } from "./results.js";
import { check, KINDS } from "./wire/optionChecks.js";
import { chatMessages } from "./wire/wireFields.js";

/** What a function learns beside its arguments. */
export interface CallContext {
  /** The call as the model made it. */
  readonly call: ToolCall;
  /** The signal of the run, to stop at; undefined if the run has none. */
  readonly signal: AbortSignal | undefined;
}

/** A function that the model may call, as `toolFunction` makes it. */
export interface ToolFunction extends HasTool {
  /** The description that the model is given. */
  readonly tool: Tool & { readonly type: "function" };
  /** Runs the function. Rejects with the error that the model is told. */
  readonly run: (call: ToolCall, signal: AbortSignal | undefined) => Promise<unknown>;
}

/** The options of `runTools`: those of `Model.chat`, of which `timeoutMs` holds for each request. */
export interface RunOptions extends Omit<ChatOptions, "tools" | "responseFormat"> {
  /** The most answers with calls: 8. */
  readonly maxRounds?: number | undefined;
  /** Called with each token as it arrives, also of thoughts and calls; its error ends the run. */
  readonly onToken?: ((token: Token) => void) | undefined;
}

/** The end of `runTools`. `text`, `thoughts` and `done` are of the last answer. */
export interface ToolsAnswer {
  readonly text: string;
  readonly thoughts: string;
  /** The whole conversation, which ends with the turn of the last answer. */
  readonly messages: readonly Message[];
  /** The number of requests that were sent. */
  readonly rounds: number;
  /** The end of the last request. */
  readonly done: Done;
}

/**
 * Make a tool of a function. `parameters` is a schema of its one argument, an object: the same
 * kinds that `responseFormat` takes. The model is told a result that is a string as it is, and any
 * other as JSON.
 *
 * @throws InvalidParams if `parameters` is no such schema, or does not describe itself as JSON Schema.
 */
export function toolFunction<T>(made: {
  readonly name: string;
  readonly description?: string;
  readonly parameters: AnswerSchema<T>;
  readonly run: (given: T, context: CallContext) => unknown;
}): ToolFunction {
  const { name, description, parameters, run } = made;
  if (!isAnswerSchema(parameters)) {
    throw new InvalidParams(
      "`parameters` is no schema of a library such as zod: give one, or `jsonSchema(schema)` around a " +
        "JSON Schema",
      { data: { field: "parameters" } },
    );
  }
  const written = writtenOut(parameters, "parameters");
  return {
    tool: {
      type: "function",
      function: { name, parameters: written, ...(description !== undefined && { description }) },
    },
    run: async (call, signal) => {
      const given = await readValue(parameters, call.arguments).catch((cause: unknown) => {
        throw new Error(`the arguments are not valid: ${told(cause)}`, { cause });
      });
      return run(given, { call, signal });
    },
  };
}

/**
 * Answer a conversation, and run the functions that the model calls, until an answer has no calls.
 * The calls of one answer run together. The model is told the error of a function, and of a call that
 * can't be read, is of no known tool, or has arguments that do not fit, and may try again. A
 * `toolChoice` that forces a call holds in the first round only.
 *
 * Rejects with `TooManyRounds` after `maxRounds` answers with calls, with `CallCutOff` if `maxTokens`
 * cut a call, with the reason of the signal, and as `Model.chat`.
 */
export async function runTools(
  model: Model,
  messages: string | readonly Message[],
  functions: readonly ToolFunction[],
  options: RunOptions = {},
): Promise<ToolsAnswer> {
  check("options", options, KINDS.object);
  const { maxRounds = 8, onToken, ...chat } = options;
  check("maxRounds", maxRounds, KINDS.someCount);
  check("onToken", onToken, KINDS.callback);
  refuseOtherForms(chat);
  const conversation = [...(chatMessages(messages) as Message[])];
  const tools = functions.map(({ tool }) => tool);
  for (let rounds = 1; ; rounds += 1) {
    const { toolChoice, ...rest } = chat;
    const holds = rounds === 1 || toolChoice === "none";
    const stream = model.chat(conversation, { ...rest, tools, ...(holds && { toolChoice }) });
    if (onToken !== undefined) {
      for await (const token of stream) {
        onToken(token);
      }
    }
    const turn = await stream.message();
    const done = await stream.done;
    const text = typeof turn.content === "string" ? turn.content : "";
    const calls = done.toolCalls ?? [];
    const failed = done.toolError;
    if (failed?.cutOff) {
      const fewer = calls.length > 0 ? ", or set `parallelToolCalls` to false" : "";
      throw new CallCutOff(
        `\`maxTokens\` cut the model's tool call in round ${rounds}, and no function of that answer was ` +
          `run: give a higher \`maxTokens\`${fewer}, and go on with the \`messages\` of this error`,
        { text, done, messages: conversation },
      );
    }
    conversation.push(turn);
    if (calls.length === 0 && failed === null) {
      const thoughts = turn.reasoning_content ?? "";
      return { text, thoughts, messages: conversation, rounds, done };
    }
    const results = calls.map((call) => resultOf(call, functions, chat.signal));
    const told = await Promise.all(results);
    conversation.push(...(failed === null ? told : withFailed(told, failed, functions)));
    chat.signal?.throwIfAborted();
    if (rounds === maxRounds) {
      throw new TooManyRounds(
        `the model still called tools in round ${rounds}, the last one allowed: give a higher ` +
          "`maxRounds`, or go on with the `messages` of this error",
        { text, done, messages: conversation },
      );
    }
  }
}

/**
 * Add why a call could not be read. Templates may refuse a result that answers no call, and a turn of
 * the user right behind a result.
 */
function withFailed(
  results: readonly Message[],
  failed: ToolError,
  functions: readonly ToolFunction[],
): Message[] {
  const problem = `error: a tool call was not run: ${failed.message}; ${known(functions)}`;
  const last = results.at(-1);
  return last === undefined
    ? [{ role: "user", content: problem }]
    : [...results.slice(0, -1), { ...last, content: `${String(last.content)}\n\n${problem}` }];
}

function known(functions: readonly ToolFunction[]): string {
  return `the tools are: ${functions.map(({ tool }) => tool.function.name).join(", ") || "none"}`;
}

/** Run the function of a call, and give the turn that tells the model its result. */
async function resultOf(
  call: ToolCall,
  functions: readonly ToolFunction[],
  signal: AbortSignal | undefined,
): Promise<Message> {
  const { callId, name, argumentsError } = call;
  const turn = { role: "tool", tool_call_id: callId, name };
  const called = functions.find(({ tool }) => tool.function.name === name);
  let result: unknown;
  try {
    if (called === undefined) {
      throw new Error(`there is no tool ${JSON.stringify(name)}; ${known(functions)}`);
    }
    if (argumentsError !== null) {
      throw new Error(`the arguments are not valid: ${argumentsError}`);
    }
    result = await called.run(call, signal);
  } catch (error) {
    return { ...turn, content: `error: ${told(error)}` };
  }
  // A result that JSON can't hold is the host's mistake, which the model could not mend.
  return {
    ...turn,
    content: typeof result === "string" ? result : (JSON.stringify(result) ?? "null"),
  };
}

function refuseOtherForms(options: object): void {
  for (const [field, remedy] of [
    ["tools", "the functions are the tools"],
    ["responseFormat", "ask for the form in a `chat` with the messages of the answer"],
  ] as const) {
    if ((options as Record<string, unknown>)[field] !== undefined) {
      throw new InvalidParams(`\`${field}\` can't stand in the options of runTools: ${remedy}`, {
        data: { field },
      });
    }
  }
}

function told(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
