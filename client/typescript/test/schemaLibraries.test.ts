import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { toStandardJsonSchema } from "@valibot/to-json-schema";
import * as v from "valibot";
import { z } from "zod";
import { InvalidAnswer, Worker } from "../src/index.js";
import { repositoryPath, skipWithoutWorker as skip, workerCommand } from "./support/repository.js";

const TINY = { command: workerCommand("mlx"), startTimeoutMs: 120_000 };
const MODEL = repositoryPath("testdata/tiny");
const LIMIT = { maxTokens: 200 };

interface Weather {
  readonly sky: "clear" | "grey";
  readonly windy: boolean;
  readonly roads: readonly ("dry" | "wet")[];
}

const BY_ZOD = z.object({
  sky: z.enum(["clear", "grey"]),
  windy: z.boolean(),
  roads: z.array(z.enum(["dry", "wet"])).max(2),
});
const BY_VALIBOT = toStandardJsonSchema(
  v.object({
    sky: v.picklist(["clear", "grey"]),
    windy: v.boolean(),
    roads: v.pipe(v.array(v.picklist(["dry", "wet"])), v.maxLength(2)),
  }),
);

suite("typed answers of a real model", { skip }, () => {
  for (const [library, responseFormat] of [
    ["zod", BY_ZOD],
    ["valibot", BY_VALIBOT],
  ] as const) {
    test(`have the type of a schema of ${library}`, async () => {
      await using worker = await Worker.start(TINY);
      const model = await worker.load(MODEL);
      const written = model.generate("the weather is", { ...LIMIT, responseFormat });
      const told = model.chat("How is the weather?", { ...LIMIT, responseFormat });
      for (const stream of [written, told]) {
        const weather: Weather = await stream.parsed();
        assert.deepEqual(Object.keys(weather).sort(), ["roads", "sky", "windy"]);
        assert.deepEqual(weather, JSON.parse(await stream.text()));
        assert.equal((await stream.done).complete, true);
      }
    });
  }

  test("are checked by the library beyond the JSON Schema", async () => {
    await using worker = await Worker.start(TINY);
    const model = await worker.load(MODEL);
    const never = z.object({ windy: z.boolean() }).refine(() => false, "no such weather");
    const stream = model.chat("How is the weather?", { ...LIMIT, responseFormat: never });
    await assert.rejects(stream.parsed(), (error) => {
      assert.ok(error instanceof InvalidAnswer);
      assert.match(error.message, /no such weather/);
      assert.match(error.text, /^\{"windy":(true|false)\}$/);
      return true;
    });
  });

  test("that are cut off say so", async () => {
    await using worker = await Worker.start(TINY);
    const model = await worker.load(MODEL);
    const stream = model.chat("How is it?", { maxTokens: 2, responseFormat: BY_ZOD });
    await assert.rejects(stream.parsed(), { name: "InvalidAnswer", message: /maxTokens/ });
  });
});
