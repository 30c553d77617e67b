/** The programs of README.md print what README.md shows. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  listFiles,
  repositoryPath,
  skipWithoutWorker,
  workerCommand,
} from "./support/repository.js";

const run = promisify(execFile);
const README = readFileSync(repositoryPath("client/typescript/README.md"), "utf8");
/** A program and, in the next block, its output. */
const PROGRAM = /^```js\n(.*?)^```\n\n```text\n(.*?)^```$/gms;

const options = { timeout: 60_000, skip: skipWithoutWorker };

for (const [number, [, program = "", said = ""]] of [...README.matchAll(PROGRAM)].entries()) {
  test(`program ${number + 1} of README prints what it says`, options, async (t) => {
    // Within the package, where its name can be imported.
    const file = fileURLToPath(new URL(`readme-${number}.mjs`, import.meta.url));
    t.after(() => rm(file));
    await writeFile(file, program);
    const command = workerCommand("mlx").map((word) => `'${word}'`);
    const { stdout, stderr } = await run(process.execPath, [file], {
      cwd: repositoryPath("."),
      env: { ...process.env, MLXWIRE_WORKER: command.join(" ") },
    });

    assert.equal(stdout.trimEnd(), said.trimEnd());
    assert.equal(stderr, "");
  });
}

test("README has two programs to run", () => {
  assert.equal([...README.matchAll(PROGRAM)].length, 2);
});

test("README's tree has each file of src, and no other", () => {
  const rows = README.slice(README.indexOf("## The tree")).split("\n");
  const named = rows.flatMap((row) => {
    const folder = /^\| `(\w+\/)`/.exec(row)?.[1] ?? "";
    return Array.from(row.matchAll(/`(\w+\.ts)`/g), ([, name]) => `${folder}${name}`);
  });
  assert.deepEqual(named.sort(), listFiles("client/typescript/src", ".ts").sort());
});
