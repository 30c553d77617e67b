/**
 * Tokens a second into the TypeScript client, from a program that writes encoded token lines,
 * and what the client holds for a consumer that sleeps.
 *
 *     (cd client/typescript && npm ci && npm run build)
 *     node bench/clients/typescript_client.mjs [tokens] [rounds]
 *
 * Prints the best of some rounds, and the ratio to a bare loop: chunks of the same pipe, split at
 * 0x0A, JSON.parse for each line. "windows" rows are of a worker that sends a stream no further
 * than it was given credit, the others of one that sends all at once.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const CLIENT = new URL("../client/typescript/dist/index.js", import.meta.url);
const SOURCE = fileURLToPath(new URL("token_source.mjs", import.meta.url));
const SLEEP_SECONDS = 3;
const MIB = 1 << 20;

if (!existsSync(CLIENT)) {
  console.error("the client is not built: cd client/typescript && npm ci && npm run build");
  process.exit(1);
}
const { MlxwireError, Worker } = await import(CLIENT.href);

function source(tokens, ...more) {
  return [process.execPath, SOURCE, String(tokens), ...more];
}

/** The floor: what a loop without any client costs. Seconds. */
async function bare(tokens) {
  const [program, ...args] = source(tokens);
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.write('{"id":"r1","cmd":"generate","prompt":"1"}\n');
  let [began, count, rest] = [0, 0, ""];
  child.stdout.setEncoding("utf8");
  for await (const chunk of child.stdout) {
    began ||= performance.now();
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) count += JSON.parse(line).type === "token";
    if (count === tokens) break;
  }
  const took = (performance.now() - began) / 1000;
  child.kill();
  await once(child, "close");
  return took;
}

const eachToken = async (stream) => {
  let count = 0;
  for await (const _ of stream) count += 1;
  return count;
};

const eachChunk = async (stream) => {
  let count = 0;
  for await (const tokens of stream.chunks()) count += tokens.length;
  return count;
};

/** Seconds that the client takes for all tokens of some streams together. */
async function client(tokens, streams, take, ...more) {
  const worker = await Worker.start({ command: source(tokens, ...more) });
  try {
    const model = await worker.load("m");
    let began = 0;
    const onProgress = () => {
      began = performance.now();
    };
    const counts = await Promise.all(
      Array.from({ length: streams }, () =>
        take(model.generate(String(streams), { onProgress })),
      ),
    );
    const took = (performance.now() - began) / 1000;
    const read = counts.reduce((sum, count) => sum + count, 0);
    if (read !== Math.floor(tokens / streams) * streams) throw new Error(`${read} tokens came`);
    return took;
  } finally {
    await worker.close();
  }
}

/** What the process holds more while a consumer sleeps over its first token, and how that ends. */
async function sleeper(tokens, ...more) {
  const worker = await Worker.start({ command: source(tokens, ...more) });
  const model = await worker.load("m");
  let [most, read] = [0, 0];
  let ended = "all came";
  try {
    for await (const _ of model.generate("1")) {
      read += 1;
      if (read === 1) most = await mostHeldIn(SLEEP_SECONDS);
    }
  } catch (error) {
    if (!(error instanceof MlxwireError)) throw error;
    ended = error.code;
  }
  await worker.close();
  return { mib: most / MIB, read, ended };
}

async function mostHeldIn(seconds) {
  const before = process.memoryUsage.rss();
  const wakes = performance.now() + seconds * 1000;
  let most = 0;
  while (performance.now() < wakes) {
    await sleep(20);
    most = Math.max(most, process.memoryUsage.rss() - before);
  }
  return most;
}

/** In a process of its own: what was measured before would have left its heap. */
async function sleeperApart(tokens, ...more) {
  const args = [fileURLToPath(import.meta.url), "sleeper", String(tokens), ...more];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of child.stdout.setEncoding("utf8")) text += chunk;
  return JSON.parse(text);
}

async function main(tokens, rounds) {
  const cases = {
    "bare pipe and JSON.parse": () => bare(tokens),
    "1 stream": () => client(tokens, 1, eachToken),
    "1 stream, chunks": () => client(tokens, 1, eachChunk),
    "64 streams": () => client(tokens, 64, eachToken),
    "1 stream, windows": () => client(tokens, 1, eachToken, "windows"),
    "64 streams, windows": () => client(tokens, 64, eachToken, "windows"),
  };
  const best = {};
  for (let round = 0; round < rounds; round += 1) {
    // Side by side, so that all see the same machine.
    for (const [name, measure] of Object.entries(cases)) {
      best[name] = Math.min(best[name] ?? Infinity, await measure());
    }
  }
  const floor = best["bare pipe and JSON.parse"];
  console.log(`${"".padEnd(26)}${"tokens/s".padStart(12)}${"ratio".padStart(8)}`);
  for (const [name, took] of Object.entries(best)) {
    const rate = Math.round(tokens / took).toLocaleString("en");
    console.log(`${name.padEnd(26)}${rate.padStart(12)}${(floor / took).toFixed(2).padStart(8)}`);
  }
  for (const windows of [[], ["windows"]]) {
    const { mib, read, ended } = await sleeperApart(tokens * 4, ...windows);
    const name = ["a consumer that sleeps", ...windows].join(", ");
    const end = `${ended} after ${read.toLocaleString("en")} tokens`;
    console.log(`${name.padEnd(33)} +${mib.toFixed(0)} MiB resident, then ${end}`);
  }
}

const [first, second, ...rest] = process.argv.slice(2);
if (first === "sleeper") console.log(JSON.stringify(await sleeper(Number(second), ...rest)));
else await main(Number(first ?? 500_000), Number(second ?? 3));
