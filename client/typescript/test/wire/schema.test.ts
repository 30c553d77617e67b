import assert from "node:assert/strict";
import { suite, test } from "node:test";
import * as replies from "../../src/wire/replies.js";
import { type Fields, snakeCase } from "../../src/wire/shape.js";
import * as wire from "../../src/wire/wireFields.js";
import { readJson } from "../support/repository.js";

interface Definition {
  properties: Record<string, unknown>;
  required?: string[];
}

const schema = readJson<{ $defs: Record<string, Definition> }>(
  "protocol/schema/mlxwire-protocol-1.schema.json",
).$defs;

/** The fields of the envelope, which are read where replies are told apart. */
const ENVELOPE = new Set(["id", "type", "final", "ok"]);

function properties(names: readonly string[]): string[] {
  const all = names.flatMap((name) => Object.keys(schema[name]?.properties ?? {}));
  return [...new Set(all)].filter((name) => !ENVELOPE.has(name)).sort();
}

/** The messages that each table reads; `apart` are fields that are read elsewhere. */
const TABLES: [names: string[], table: Fields, apart?: string[]][] = [
  [["Token", "FlushToken", "LogprobToken", "ThinkingToken", "BatchToken"], replies.TOKEN],
  [["ToolCallBegan", "ToolCallArguments"], replies.TOOL_CALL_PART],
  [["ToolCall"], replies.TOOL_CALL],
  [["ToolError"], replies.TOOL_ERROR],
  [["TopLogprob"], replies.TOP_LOGPROB],
  [["Item"], replies.CLASSIFY_ITEM],
  [["BatchItem", "FormattedItem"], replies.BATCH_ITEM, ["error"]],
  [["EmbeddingItem"], replies.EMBEDDING],
  [["ScoreItem"], replies.SCORE_ITEM],
  [["Ranked"], replies.RANKED],
  [["RerankResult"], replies.RERANK],
  [["RenderedMessage"], replies.RENDERED_MESSAGE],
  [["RenderResult"], replies.RENDER],
  [["FoundModel"], replies.FOUND_MODEL],
  [["FoundAdapter"], replies.FOUND_ADAPTER],
  [["BrokenModel"], replies.BROKEN_MODEL, ["error"]],
  [["FitResult"], replies.FIT],
  [["Progress"], replies.PROGRESS],
  [["Done", "CancelledDone", "FormattedDone", "ToolDone"], replies.DONE, ["done"]],
  [["RequestMetrics"], replies.REQUEST_METRICS],
  [["MetricsResult"], replies.WORKER_METRICS],
  [["HelloResult"], replies.HELLO],
  [["WorkerIdentity"], replies.WORKER_IDENTITY],
  [["Limits"], replies.LIMITS],
  [["InfoResult"], replies.MODEL_INFO],
  [["LoadResult"], replies.LOAD],
  [["TokenizeResult"], replies.TOKENIZE],
  [["DetokenizeResult"], replies.DETOKENIZE],
  [["CancelResult"], replies.CANCEL],
  [["CacheResult"], replies.CACHE],
  [["AdapterInfo"], replies.ADAPTER_INFO],
  [["AdapterResult"], replies.ADAPTERS],
  [["TrainProgress"], replies.TRAIN_PROGRESS],
  [["TrainResult"], replies.TRAIN],
  [["EvaluateResult"], replies.EVALUATE],
  [["MemoryResult"], replies.MEMORY],
  [["Event"], replies.EVENT],
];

suite("the tables of replies have the fields of the schema", () => {
  for (const [names, table, apart = []] of TABLES) {
    test(names.join(", "), () => {
      assert.deepEqual([...Object.keys(table), ...apart].sort(), properties(names));
    });
  }
});

/** The fields of commands that are no options. */
const GIVEN = new Set([
  "id",
  "cmd",
  "path",
  "prompt",
  "prompts",
  "messages",
  "text",
  "texts",
  "query",
  "documents",
  "paths",
  "encoding_format",
  "window",
  "data",
]);

const OPTIONS: Record<string, object> = {
  Load: wire.LOAD,
  Generate: wire.SAMPLING,
  Chat: wire.CHAT,
  Batch: wire.BATCH,
  Classify: wire.CLASSIFY,
  Embed: wire.EMBED,
  Score: wire.SCORE,
  Rerank: wire.RERANK,
  Render: wire.RENDER,
  Discover: wire.DISCOVER,
  Fit: wire.FIT,
  Tokenize: wire.TOKENIZE_CHAT,
  Memory: wire.MEMORY,
  Train: wire.TRAIN,
  Evaluate: wire.EVALUATE,
};

suite("the tables of options have the fields of the schema", () => {
  for (const [name, table] of Object.entries(OPTIONS)) {
    test(name, () => {
      const fields = Object.keys(schema[name]?.properties ?? {});
      assert.deepEqual(
        Object.keys(table).map(snakeCase).sort(),
        fields.filter((field) => !GIVEN.has(field)).sort(),
      );
    });
  }
});

suite("a field that the schema does not require may be missing", () => {
  for (const [names, table] of TABLES) {
    test(names.join(", "), () => {
      for (const [field, read] of Object.entries(table)) {
        if (!names.every((name) => schema[name]?.required?.includes(field))) {
          assert.doesNotThrow(() => read(undefined), field);
        }
      }
    });
  }
});
