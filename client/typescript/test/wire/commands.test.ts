import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { COMMANDS, CONTROLS, type Command } from "../../src/wire/commands.js";
import { readJson } from "../support/repository.js";

/** A row of the schema's table, as far as a client uses it. */
interface Row {
  readonly request: string;
  readonly final: string;
  readonly lane: string;
  readonly needs_model: boolean;
  readonly actions?: Readonly<Record<string, { readonly lane: string }>>;
}

const schema = readJson<{ "x-commands": Readonly<Record<string, Row>> }>(
  "protocol/schema/mlxwire-protocol-1.schema.json",
)["x-commands"];
const table: Readonly<Record<string, Command>> = COMMANDS;

suite("the table of commands is the schema's", () => {
  test("has the same commands", () => {
    assert.deepEqual(Object.keys(table).sort(), Object.keys(schema).sort());
  });

  for (const [name, { final, lane, needs_model, actions = {} }] of Object.entries(schema)) {
    test(`says the same of ${name}`, () => {
      const row = { final, lane, needsModel: needs_model, actions };
      assert.deepEqual({ actions: {}, ...table[name] }, row);
    });
  }
});

test("a control needs no model and is answered at once", () => {
  for (const name of CONTROLS) {
    assert.deepEqual(table[name], { final: "result", lane: "at_once", needsModel: false });
  }
});
