import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import type { JsonObject } from "../../src/wire/json.js";
import * as read from "../../src/wire/readReplies.js";
import { listFiles, repositoryPath } from "../support/repository.js";

/** The placeholders of values in a transcript's pattern. */
const MATCHERS: Record<string, unknown> = {
  $string: "s",
  $number: 1,
  $bool: true,
  $object: {},
  $array: [],
  $any: null,
};

interface Pattern {
  message: JsonObject;
  /** True if a message may have further fields. */
  partial: boolean;
}

/** Make a message that a pattern matches. */
function concrete(line: string): Pattern {
  let partial = false;
  const message = JSON.parse(line, (_, value: unknown) => {
    if (typeof value === "string") {
      return value in MATCHERS ? MATCHERS[value] : value.replace(/^\$prefix:/, "");
    }
    if (typeof value === "object" && value !== null && "..." in value) {
      partial = true;
      delete value["..."];
    }
    return value;
  });
  return { message, partial };
}

const READERS: Record<string, (message: JsonObject) => unknown> = {
  "result hello": read.readHello,
  "result load": read.readLoad,
  "result info": read.readInfo,
  "result tokenize": read.readTokenize,
  "result detokenize": read.readDetokenize,
  "result inspect": read.readInspect,
  "result cancel": read.readCancel,
  "result cache": read.readCache,
  "result adapter": read.readAdapters,
  "result train": read.readTrainResult,
  "result evaluate": read.readEvaluate,
  "result memory": read.readMemory,
  "result metrics": read.readMetrics,
  "item batch": read.readBatchItem,
  "item classify": read.readClassifyItem,
  "item embed": readPackedEmbedding,
  "item score": read.readScoreItem,
  "item discover": read.readFound,
  "result render": read.readRender,
  "result rerank": read.readRerank,
  "result fit": read.readFit,
};

const READERS_OF_TYPES: Record<string, (message: JsonObject) => unknown> = {
  token: read.readToken,
  tool_call: read.readToolCallPart,
  done: read.readDone,
  progress: read.readProgress,
  event: read.readEvent,
  error: readError,
};

/** Commands whose results have no field that is read. */
const UNREAD = new Set(["result unload", "result quit", "result credit", "result generate"]);

/** Read a vector; this client asks for base64, and never for decimal numbers. */
function readPackedEmbedding(message: JsonObject): void {
  if (!Array.isArray(message.embedding)) {
    read.readEmbedding(message);
  }
}

function readError(message: JsonObject): void {
  assert.notEqual(read.readError(message).code, "undefined");
}

function readReply(message: JsonObject, command: string | undefined): void {
  const kind = `${message.type} ${command}`;
  const read = READERS[kind] ?? READERS_OF_TYPES[String(message.type)];
  if (!UNREAD.has(kind)) {
    assert.ok(read, `nothing reads ${kind}`);
    read(message);
  }
}

/** Give the commands of a transcript's requests by their ids; the first use of an id counts. */
function commandsOf(lines: readonly string[]): Map<string, string> {
  const commands = new Map<string, string>();
  const requests = lines.flatMap((line) => {
    if (line.startsWith(">hex ")) {
      return Buffer.from(line.slice(5), "hex").toString().split("\n");
    }
    return line.startsWith("> ") ? [line.slice(2)] : [];
  });
  for (const request of requests) {
    try {
      const { id, cmd } = JSON.parse(request);
      if (typeof cmd === "string") {
        commands.set(id, commands.get(id) ?? cmd);
      }
    } catch {
      // Some transcripts show lines that are no requests.
    }
  }
  return commands;
}

/** Check every reply of a transcript. Gives their number. */
function checkTranscript(name: string): number {
  const lines = readFileSync(repositoryPath(`testdata/transcripts/${name}`), "utf8").split("\n");
  const commands = commandsOf(lines);
  let count = 0;
  for (const line of lines.filter((line) => /^<[!*]? /.test(line))) {
    const { message, partial } = concrete(line.slice(line.indexOf(" ") + 1));
    if (!("type" in message)) {
      continue; // dialect 0
    }
    count += 1;
    try {
      readReply(message, commands.get(String(message.id)));
    } catch (error) {
      assert.ok(partial, `${line}: ${error}`);
    }
  }
  return count;
}

suite("every reply of the transcripts is read", () => {
  const names = listFiles("testdata/transcripts", ".txt").filter(
    (name) => !name.startsWith("dialect0"),
  );
  let count = 0;
  for (const name of names) {
    test(name, () => {
      count += checkTranscript(name);
    });
  }

  test("there are many replies", () => {
    assert.ok(count > 100, `only ${count}`);
  });
});
