/** Typed answers: a schema as `responseFormat`, and the value of an answer by that schema. */

import { InvalidAnswer, InvalidParams } from "./errors.js";
import type { TokenRequest } from "./requests/modelRequests.js";
import { TokenStream } from "./tokenStream.js";

/** The result of a Standard Schema's `validate`. */
export type Validated<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** A schema of zod, valibot, ArkType or another library with the interface Standard Schema. */
export interface StandardSchema<T = unknown> {
  /** The interface of standardschema.dev. */
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => Validated<T> | Promise<Validated<T>>;
    readonly types?: { readonly input: unknown; readonly output: T } | undefined;
    /** Newer libraries describe their schemas here. */
    readonly jsonSchema?:
      | { readonly input: (options: { readonly target: "draft-2020-12" }) => object }
      | undefined;
  };
}

/** A JSON Schema with the type of its values, as `jsonSchema` makes it. */
export interface JsonSchemaOf<T> {
  /** The JSON Schema. */
  readonly jsonSchema: Readonly<Record<string, unknown>>;
  /** Checks a value and may change it; throws if the value does not fit the schema. */
  readonly parse: (value: unknown) => T;
}

/** What `responseFormat` takes for a typed answer. */
export type AnswerSchema<T = unknown> = StandardSchema<T> | JsonSchemaOf<T>;

/**
 * Give a JSON Schema the type of its values, for `responseFormat`. Also for a Standard Schema whose
 * library makes the JSON Schema apart from it: give its check as `parse`.
 */
export function jsonSchema<T = unknown>(
  schema: Readonly<Record<string, unknown>>,
  parse: (value: unknown) => T = (value) => value as T,
): JsonSchemaOf<T> {
  return { jsonSchema: schema, parse };
}

/** The stream of `Model.generate` and `Model.chat` with a schema as `responseFormat`. */
export class ParsedStream<T> extends TokenStream {
  readonly #schema: AnswerSchema<T>;

  /** @internal */
  constructor(request: TokenRequest, schema: AnswerSchema<T>) {
    super(request);
    this.#schema = schema;
  }

  /**
   * Collect the answer and give its value. Rejects with `InvalidAnswer` if it was cut off, or if the
   * schema does not accept it, and otherwise as `text`.
   */
  async parsed(): Promise<T> {
    const text = await this.text();
    const done = await this.done;
    if (done.complete === false) {
      const remedy = done.finishReason === "length" ? "give it more maxTokens" : "leave out `stop`";
      const reason = `(${done.finishReason}) before its JSON was whole: ${remedy}`;
      throw new InvalidAnswer(`the answer was cut off ${reason}`, { text, done });
    }
    try {
      return await readValue(this.#schema, text);
    } catch (cause) {
      const told = cause instanceof Error ? cause.message : String(cause);
      throw new InvalidAnswer(`the answer is not valid: ${told}`, { text, done, cause });
    }
  }
}

/** Read a value of a schema from its JSON. Rejects with an Error if the text has no such value. */
export async function readValue<T>(schema: AnswerSchema<T>, text: string): Promise<T> {
  const value: unknown = JSON.parse(text);
  if (!("~standard" in schema)) {
    return schema.parse(value);
  }
  const result = await schema["~standard"].validate(value);
  if (result.issues !== undefined) {
    throw new Error(result.issues.map((issue) => issue.message).join("; "));
  }
  return result.value;
}

/** Tell a schema from a format of the protocol. */
export function isAnswerSchema(format: unknown): format is AnswerSchema {
  const isObject = (typeof format === "object" && format !== null) || typeof format === "function";
  return isObject && ("~standard" in format || ("jsonSchema" in format && "parse" in format));
}

/**
 * Write the format that asks for a schema's values.
 *
 * @throws InvalidParams if the schema does not describe itself as JSON Schema.
 */
export function formatOf(schema: AnswerSchema): Readonly<Record<string, unknown>> {
  return {
    type: "json_schema",
    json_schema: { name: "answer", schema: writtenOut(schema, "responseFormat") },
  };
}

/**
 * Write a schema as JSON Schema.
 *
 * @throws InvalidParams that names `field` if the schema does not describe itself so.
 */
export function writtenOut(schema: AnswerSchema, field: string): Readonly<Record<string, unknown>> {
  const described = "jsonSchema" in schema ? schema.jsonSchema : describe(schema, field);
  return closed(described) as Record<string, unknown>;
}

function describe(schema: StandardSchema, field: string): unknown {
  const named = schema as { toJSONSchema?: () => unknown; toJsonSchema?: () => unknown };
  const standard = schema["~standard"].jsonSchema;
  try {
    if (typeof standard?.input === "function") {
      return standard.input({ target: "draft-2020-12" });
    }
    if (typeof named.toJSONSchema === "function") {
      return named.toJSONSchema();
    }
    if (typeof named.toJsonSchema === "function") {
      return named.toJsonSchema();
    }
  } catch (cause) {
    const told = cause instanceof Error ? cause.message : String(cause);
    throw new InvalidParams(`the schema can't be written as JSON Schema: ${told}`, {
      data: { field },
      cause,
    });
  }
  const vendor = schema["~standard"].vendor;
  throw new InvalidParams(
    `a schema of ${vendor} does not describe itself as JSON Schema: make one with its library, and ` +
      "give `jsonSchema(schema, parse)`",
    { data: { field } },
  );
}

/**
 * Close the objects of a schema that leave further properties open without saying so, and leave out
 * what a library adds that says nothing more.
 */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) {
    return schema.map(closed);
  }
  if (typeof schema !== "object" || schema === null) {
    return schema;
  }
  const own: Record<string, unknown> = { ...schema };
  for (const name of ["properties", "patternProperties", "$defs", "definitions"]) {
    const schemas = own[name];
    if (typeof schemas === "object" && schemas !== null) {
      own[name] = Object.fromEntries(
        Object.entries(schemas).map(([key, value]) => [key, closed(value)]),
      );
    }
  }
  for (const name of ["items", "additionalProperties", "prefixItems", "anyOf", "oneOf"]) {
    if (name in own) {
      own[name] = closed(own[name]);
    }
  }
  const names = own.propertyNames as { type?: unknown } | undefined;
  if (names?.type === "string" && Object.keys(names).length === 1) {
    delete own.propertyNames; // every name is a string; strict mode refuses the keyword
  }
  if (own.format === "email" && typeof own.pattern === "string") {
    delete own.pattern; // zod's looks ahead, which strict mode refuses; the format is enforced
  }
  if ("properties" in own && !("additionalProperties" in own) && !("allOf" in own)) {
    own.additionalProperties = "patternProperties" in own;
  }
  return own;
}
