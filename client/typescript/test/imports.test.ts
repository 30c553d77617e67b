/** The folders of src import each other in one direction. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { listFiles, repositoryPath } from "./support/repository.js";

const SRC = "client/typescript/src";
/** The folders that each folder may import. */
const BELOW: Readonly<Record<string, readonly string[]>> = {
  wire: ["wire"],
  process: ["process", "wire"],
  requests: ["requests", "process", "wire"],
  restart: ["restart", "requests", "process", "wire"],
};
/** The files at the top that every folder may import: types and errors. */
const VOCABULARY = ["errors", "options", "results"];
/** The options of a start, which know the defaults of each folder. */
const START_OPTIONS = "workerOptions";

/** List the folder (or, at the top, the file) of each import of a file within src. */
function imports(file: string): string[] {
  const text = readFileSync(repositoryPath(`${SRC}/${file}`), "utf8");
  const [folder = ""] = file.split("/");
  return Array.from(text.matchAll(/from "(\.[^"]+)\.js"/g), ([, path = ""]) => {
    const [up, first = ""] = path.split("/");
    return up === "." ? folder : first;
  });
}

test("the folders of src import each other in one direction", () => {
  const files = listFiles(SRC, ".ts").filter((file) => file.includes("/"));
  assert.ok(files.length > 20);
  for (const file of files) {
    const [folder = ""] = file.split("/");
    const allowed = new Set([...(BELOW[folder] ?? []), ...VOCABULARY]);
    if (folder === "restart") {
      allowed.add(START_OPTIONS);
    }
    const wrong = imports(file).filter((target) => !allowed.has(target));
    assert.deepEqual(wrong, [], file);
  }
});

test("no folder of src has more than 14 files", () => {
  const files = listFiles(SRC, ".ts");
  const folders = new Set(files.map((file) => file.split("/").slice(0, -1).join("/")));
  for (const folder of folders) {
    const inside = files.filter((file) => file.split("/").slice(0, -1).join("/") === folder);
    assert.ok(inside.length <= 14, `${folder || "the top"} has ${inside.length}`);
  }
});
