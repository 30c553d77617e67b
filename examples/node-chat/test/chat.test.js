/** Runs the chat as a program, with piped stdin, with the mock worker and with the tiny model. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const CHAT = fileURLToPath(new URL("../chat.js", import.meta.url));
const PYTHON = join(ROOT, ".venv", "bin", "python");
const TINY = join(ROOT, "testdata", "tiny");
const WORKER = process.env.MLXWIRE_WORKER ?? `'${PYTHON}' -P -m mlxwire_worker`;
const MOCK = `${WORKER} --engine mock`;

const needed = process.env.MLXWIRE_WORKER !== undefined || existsSync(PYTHON);
if (!needed && process.env.CI) throw new Error("CI needs .venv, or MLXWIRE_WORKER");
const limits = {
  timeout: 120_000,
  skip: needed ? false : "no worker: name one in MLXWIRE_WORKER, or set up .venv (make test)",
};

/** A chat with this worker; its output so far is in `stdout` and `stderr`. */
class Chat {
  stdout = "";
  stderr = "";
  #changed = new EventTarget();

  constructor(worker, model = "any") {
    this.child = spawn(process.execPath, [CHAT, model], {
      env: { ...process.env, MLXWIRE_WORKER: worker },
    });
    for (const pipe of ["stdout", "stderr"]) {
      this.child[pipe].setEncoding("utf8").on("data", (text) => {
        this[pipe] += text;
        this.#changed.dispatchEvent(new Event("change"));
      });
    }
    this.closed = once(this.child, "close").then(([code]) => code);
  }

  /** Wait until the output of a pipe matches. */
  async until(pipe, pattern) {
    while (!pattern.test(this[pipe])) {
      const ended = await Promise.race([this.closed, once(this.#changed, "change")]);
      if (!Array.isArray(ended) && !pattern.test(this[pipe])) {
        assert.fail(`it ended without ${pattern}:\n${this.stdout}\n${this.stderr}`);
      }
    }
  }

  type(text) {
    this.child.stdin.write(text);
  }

  /** Close stdin. Gives the exit code. */
  end(text = "") {
    this.child.stdin.end(text);
    return this.closed;
  }
}

/** Give the command of a worker that goes wrong by a fault script. */
async function faulty(context, faults) {
  const folder = await mkdtemp(join(tmpdir(), "node-chat-"));
  context.after(() => rm(folder, { recursive: true }));
  const script = join(folder, "faults.json");
  await writeFile(script, JSON.stringify({ faults }));
  return `${MOCK} --faults '${script}'`;
}

test("each line of a pipe is a turn, and only the answers go to stdout", limits, async () => {
  const chat = new Chat(MOCK);
  assert.equal(await chat.end("one two\n\nthree four five"), 0);
  assert.equal(chat.stdout, "one two\nthree four five\n");
});

test("thoughts go to stderr, and are no part of the answer", limits, async () => {
  const chat = new Chat(MOCK);
  assert.equal(await chat.end("<think>so that</think>yes\n"), 0);
  assert.equal(chat.stdout, "yes\n");
  assert.match(chat.stderr, /^so that\n/);
});

test("the tiny model answers, and remembers the turn before", limits, async () => {
  const chat = new Chat(WORKER, TINY);
  assert.equal(await chat.end("What is 2 + 3?\nWhat is 2 + 3?\n"), 0, chat.stderr);
  assert.match(chat.stdout, /^5\n/);
  const prompts = [...chat.stderr.matchAll(/prompt of (\d+) tokens, (\d+) known/g)];
  const [first, second] = prompts.map(([, tokens, known]) => [Number(tokens), Number(known)]);
  assert.ok(second[0] > first[0], "the second prompt has the first turn in it");
  assert.ok(second[1] >= first[0] - 1, "and reuses what was computed for the first");
});

test("Ctrl-C cancels the answer, and the next Ctrl-C exits", limits, async () => {
  const chat = new Chat(`${MOCK} --mock-step-seconds 0.01`);
  chat.type(`${"word ".repeat(5000)}\n`);
  await chat.until("stdout", /word/);
  chat.child.kill("SIGINT");
  await chat.until("stderr", /\[cancelled after \d+ tokens/);
  chat.type("short\n");
  await chat.until("stdout", /\nshort\n/);
  await chat.until("stderr", /\[stop after 1 tokens/);
  chat.child.kill("SIGINT");
  assert.equal(await chat.closed, 0);
});

test("a worker that dies loses one answer, and another one takes its place", limits, async (t) => {
  const crash = { kind: "crash", phase: "request", type: "token", nth: 4 };
  const chat = new Chat(await faulty(t, [crash]));
  assert.equal(await chat.end("one two\nthree four five\nsix seven\n"), 0, chat.stderr);
  assert.equal(chat.stdout, "one two\nthree\nsix seven\n");
  assert.match(chat.stderr, /worker_crashed.* Ask again\.\n/);
  assert.match(chat.stderr, /another one starts/);
});

test("a missing worker is explained", limits, async () => {
  const chat = new Chat("/nowhere/mlxwire-worker");
  assert.equal(await chat.end(), 1);
  assert.match(chat.stderr, /\/nowhere\/mlxwire-worker/);
  assert.match(chat.stderr, /pip install/);
  assert.doesNotMatch(chat.stderr, /\n {4}at /, "and shows no stack");
});

test("a missing model is named", limits, async () => {
  const chat = new Chat(WORKER, "/nowhere/model");
  assert.equal(await chat.end(), 1);
  assert.match(chat.stderr, /\/nowhere\/model/);
});
