import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { InvalidAnswer, InvalidParams, jsonSchema, type StandardSchema } from "../src/index.js";
import { startModel } from "./support/scriptedWorker.js";

interface City {
  readonly name: string;
}

const SCHEMA = { type: "object", properties: { name: { type: "string" } }, required: ["name"] };
const CLOSED = { ...SCHEMA, additionalProperties: false };

/** Make a Standard Schema of cities, whose names may not be empty. */
function city(more: object): StandardSchema<City> {
  return {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => {
        const { name } = value as City;
        return name === "" ? { issues: [{ message: "the name is empty" }] } : { value: { name } };
      },
    },
    ...more,
  };
}

suite("a typed answer", () => {
  const schemas = {
    toJSONSchema: city({ toJSONSchema: () => SCHEMA }),
    toJsonSchema: city({ toJsonSchema: () => SCHEMA }),
    "a plain JSON Schema": jsonSchema<City>(SCHEMA),
  };
  for (const [name, responseFormat] of Object.entries(schemas)) {
    test(`is asked for and given by ${name}`, async () => {
      const { script, model } = await startModel();
      const stream = model.chat("hello", { responseFormat });
      const parsing: Promise<City> = stream.parsed();
      const request = await script.next("chat");
      assert.deepEqual(request.response_format, {
        type: "json_schema",
        json_schema: { name: "answer", schema: CLOSED },
      });
      script.tokens(request, 0, 1, { token: '{"name":"Rome"}' });
      script.done(request, "stop", { complete: true });
      assert.deepEqual(await parsing, { name: "Rome" });
    });
  }

  for (const [text, complete, words] of [
    ['{"na', false, /cut off/],
    ['{"name":""}', true, /the name is empty/],
    ["no JSON", true, /not valid/],
  ] as const) {
    test(`rejects with its text if that is ${text}`, async () => {
      const { script, model } = await startModel();
      const stream = model.generate("hello", { responseFormat: schemas.toJSONSchema });
      const parsing = stream.parsed();
      const request = await script.next("generate");
      script.tokens(request, 0, 1, { token: text });
      script.done(request, "stop", { complete });
      await assert.rejects(parsing, (error) => {
        assert.ok(error instanceof InvalidAnswer);
        assert.match(error.message, words);
        assert.equal(error.text, text);
        assert.equal(error.done?.complete, complete);
        return true;
      });
    });
  }

  test("has neither names that are any string nor a second pattern of an address", async () => {
    const { script, model } = await startModel();
    const email = { type: "string", format: "email" };
    const written = {
      type: "object",
      propertyNames: { type: "string" },
      additionalProperties: { ...email, pattern: "^(?!a)" },
    };
    const parsing = model.chat("hello", { responseFormat: jsonSchema(written) }).parsed();
    const request = await script.next("chat");
    const format = request.response_format as { json_schema: { schema: unknown } };
    assert.deepEqual(format.json_schema.schema, { type: "object", additionalProperties: email });
    script.tokens(request, 0, 1, { token: "{}" });
    script.done(request, "stop", { complete: true });
    assert.deepEqual(await parsing, {});
  });

  test("is refused if its schema does not describe itself", async () => {
    const { model } = await startModel();
    assert.throws(() => model.chat("hello", { responseFormat: city({}) }), InvalidParams);
  });
});
