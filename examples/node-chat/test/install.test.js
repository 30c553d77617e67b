/** The README's installation works: the client's lock file agrees with its package. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

const read = (path) => readFile(new URL(path, import.meta.url), "utf8");
const CLIENT = "../../../client/typescript";

test("the client's lock file agrees with package.json", async () => {
  const declared = JSON.parse(await read(`${CLIENT}/package.json`));
  const locked = JSON.parse(await read(`${CLIENT}/package-lock.json`)).packages[""];
  for (const field of Object.keys(locked)) {
    assert.deepEqual(locked[field], declared[field], field);
  }
  assert.equal(locked.license, "Apache-2.0");
});

test("no README asks for npm ci, which can't use a lock file of one platform without addresses", async () => {
  for (const path of ["../README.md", `${CLIENT}/README.md`]) {
    const text = await read(path);
    assert.match(text, /npm install --no-save && npm run build/, path);
    assert.doesNotMatch(text, /npm ci/, path);
  }
});
