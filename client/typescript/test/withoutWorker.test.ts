/** A checkout without a worker: tests that need one are skipped and say so; in CI they fail. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { listFiles, repositoryPath } from "./support/repository.js";

const CLIENT = "client/typescript";
const COMPILED = `${CLIENT}/dist-test/test`;

/** List the compiled tests that start a worker. */
function needy(): string[] {
  const files = listFiles(COMPILED, ".test.js").map((name) => `${COMPILED}/${name}`);
  return files.filter((file) => /workerCommand\(/.test(readFileSync(repositoryPath(file), "utf8")));
}

suite("without a worker in the checkout", () => {
  const root = mkdtempSync(join(tmpdir(), "mlxwire-"));
  before(() => {
    for (const part of ["README.md", "package.json", "src", "dist-test"]) {
      const path = `${CLIENT}/${part}`;
      cpSync(repositoryPath(path), join(root, path), { recursive: true });
    }
    const libraries = `${CLIENT}/node_modules`;
    symlinkSync(repositoryPath(libraries), join(root, libraries), "junction");
  });
  after(() => rmSync(root, { recursive: true }));

  /** Run a test there. Gives its exit code and its report. */
  function run(file: string, ci: string | undefined): Promise<[number, string]> {
    // Unset, since a test that finds it set runs nothing: it thinks that it is nested.
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, CI: ci };
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        ["--test-reporter=tap", join(root, file)],
        { env },
        (error, stdout) => resolve([error === null ? 0 : Number(error.code), stdout]),
      );
    });
  }

  for (const file of needy()) {
    test(`${file.slice(COMPILED.length + 1)} is skipped visibly`, async () => {
      const [exitCode, report] = await run(file, undefined);
      assert.equal(exitCode, 0, report);
      assert.match(report, /# SKIP no .*python/);
    });
  }

  test("CI fails", async () => {
    const [exitCode, report] = await run(`${COMPILED}/session.test.js`, "1");
    assert.notEqual(exitCode, 0, report);
  });

  test("there are tests that need it", () => assert.ok(needy().length >= 4));
});
