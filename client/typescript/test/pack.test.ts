/** The files that `npm publish` would send: the built client, and no sources or tests. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { VERSION } from "../src/index.js";

const PACKAGE = fileURLToPath(new URL("../../", import.meta.url)); // from dist-test/test
const run = promisify(execFile);

async function packed(): Promise<string[]> {
  const args = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const shell = process.platform === "win32"; // npm is a script there
  const { stdout } = await run("npm", args, { cwd: PACKAGE, shell });
  const [tarball] = JSON.parse(stdout) as { files: { path: string }[] }[];
  return (tarball?.files ?? []).map((file) => file.path);
}

test("the package has the built client, README, LICENSE and package.json, and nothing else", async () => {
  const files = await packed();
  const built = files.filter((file) => file.startsWith("dist/"));
  const others = files.filter((file) => !file.startsWith("dist/"));

  assert.deepEqual(others.sort(), ["LICENSE", "README.md", "package.json"]);
  assert.ok(built.includes("dist/index.js") && built.includes("dist/index.d.ts"), built.join());
  assert.deepEqual(
    built.filter((file) => !/^dist\/[\w/]+(\.d\.ts|\.js)$/.test(file)),
    [],
  );
});

test("the types say nothing that TypeScript 5.4 does not know", async () => {
  const types = (await packed()).filter((file) => file.endsWith(".d.ts"));
  for (const file of types) {
    // It takes the type of its end from TypeScript 5.6 on.
    assert.doesNotMatch(await readFile(PACKAGE + file, "utf8"), /AsyncIterableIterator</, file);
  }
});

test("the version that the worker is told is the package's", async () => {
  const { version } = JSON.parse(await readFile(`${PACKAGE}package.json`, "utf8"));
  assert.equal(VERSION, version);
});
