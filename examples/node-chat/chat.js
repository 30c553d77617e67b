/**
 * A terminal chat with a local model: `node chat.js MODEL`. Answers go to stdout, everything else to
 * stderr, so that the chat also works in a pipe, where each line of stdin is a turn.
 */
import { MlxwireError, Worker } from "mlxwire";
import { Conversation } from "./conversation.js";
import { Lines } from "./lines.js";

const say = (text) => process.stderr.write(`${text}\n`);
const summary = (error) => `${error.code}: ${error.message.split("\n")[0]}`;

/** Tell the user of a change of the worker's process. */
function tellChange({ kind, error }) {
  if (kind === "crashed") say(`\n[the worker died: ${summary(error)}]`);
  if (kind === "restarting") say("[another one starts, and loads the model again]");
  if (kind === "gaveUp") say("[the worker died too often: no other one is started]");
}

/** Make a function that shows tokens: the answer on stdout, thoughts above it on stderr. */
function shower() {
  let thinking = false;
  return ({ text, channel }) => {
    if (thinking && channel === null) say("");
    thinking = channel === "thinking";
    if (thinking) process.stderr.write(text);
    if (channel === null) process.stdout.write(text);
  };
}

/** Take one turn. A failure loses this answer, but not the conversation. */
async function takeTurn(conversation, line) {
  try {
    const { finishReason, metrics } = await conversation.ask(line, shower());
    const { promptTokens, cachedTokens, generatedTokens } = metrics;
    const prompt = `prompt of ${promptTokens} tokens, ${cachedTokens} known`;
    process.stdout.write("\n");
    say(`[${finishReason} after ${generatedTokens} tokens; ${prompt}]`);
  } catch (error) {
    if (!(error instanceof MlxwireError)) throw error;
    process.stdout.write("\n");
    say(`[${summary(error)}]${error.retryable ? " Ask again." : ""}`);
  }
}

async function chat(path) {
  const lines = new Lines(process.stdin, process.stdout); // before the load, so that no line is lost
  const leaving = new AbortController();
  let worker;
  let conversation;
  // Ctrl-C reaches this process alone: the worker has a process group of its own.
  lines.onInterrupt(() => {
    if (conversation?.cancel()) return;
    leaving.abort();
    lines.leave();
  });
  try {
    const { signal } = leaving;
    worker = await Worker.start({ restart: {}, onChange: tellChange, signal });
    conversation = new Conversation(await worker.load(path, { signal }));
    for await (const line of lines) {
      if (line.trim() !== "") await takeTurn(conversation, line);
    }
  } catch (error) {
    if (error !== leaving.signal.reason) throw error;
  } finally {
    lines.leave();
    await worker?.close();
  }
}

/** Say what to do about a missing worker or model. */
function explain(error) {
  if (error.code !== "spawn_failed") return error.message;
  return `${error.message}\n\nTo get a worker: pip install 'mlxwire[mlx]'`;
}

const [path, ...more] = process.argv.slice(2);
if (path === undefined || more.length > 0) {
  say("usage: node chat.js MODEL");
  process.exitCode = 2;
} else {
  await chat(path).catch((error) => {
    if (!(error instanceof MlxwireError)) throw error;
    say(explain(error));
    process.exitCode = 1;
  });
}
