import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { suite, test } from "node:test";
import { SpawnFailed } from "../../src/errors.js";
import { findWorker } from "../../src/process/findWorker.js";
import { shellWords } from "../../src/process/shellWords.js";

suite("a command is split as a shell would", () => {
  const split: [line: string, words: string[]][] = [
    ["", []],
    ["  a  b\tc ", ["a", "b", "c"]],
    ["a 'b c' \"d e\"", ["a", "b c", "d e"]],
    ['a\\ b \'c\\d\' "e\\"f\\g"', ["a b", "c\\d", 'e"f\\g']],
    ["a\"b\"'c'd ''", ["abcd", ""]],
    ["é😀 'ü'", ["é😀", "ü"]],
    ["\\a \\'b", ["a", "'b"]],
  ];
  for (const [line, words] of split) {
    test(JSON.stringify(line), () => {
      assert.deepEqual(shellWords(line, false), words);
    });
  }

  test("but an open quotation or escape is refused", () => {
    for (const line of ["'a", '"a', "a\\"]) {
      assert.throws(() => shellWords(line, false), SyntaxError);
    }
  });

  test("and a backslash is part of a path on Windows", () => {
    assert.deepEqual(shellWords('C:\\a "C:\\b c"', true), ["C:\\a", "C:\\b c"]);
  });
});

suite("the worker found is", { skip: process.platform === "win32" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "mlxwire-"));
  process.once("exit", () => rmSync(folder, { recursive: true }));

  /** Make a folder with a program in it that exits with the code given. */
  function place(name: string, program: string, exitCode = 0): string {
    const bin = join(folder, name);
    mkdirSync(bin);
    writeFileSync(join(bin, program), `#!/bin/sh\nexit ${exitCode}\n`);
    chmodSync(join(bin, program), 0o755);
    return bin;
  }

  const both = place("both", "mlxwire-worker");
  const python = place("python", "python3");
  const lacking = place("lacking", "python3", 1);
  const everything = [python, both].join(delimiter);

  test("the caller's command, before everything else", async () => {
    const env = { MLXWIRE_WORKER: "other", PATH: everything };
    assert.deepEqual(await findWorker("a 'b c'", env), ["a", "b c"]);
    assert.deepEqual(await findWorker(["a b", "c"], env), ["a b", "c"]);
  });

  test("the environment's command, before an installed one", async () => {
    const env = { MLXWIRE_WORKER: " python3 -m 'x y' ", PATH: everything };
    assert.deepEqual(await findWorker(undefined, env), ["python3", "-m", "x y"]);
  });

  test("the program on the PATH, before the module", async () => {
    const env = { MLXWIRE_WORKER: " ", PATH: everything };
    assert.deepEqual(await findWorker(undefined, env), [join(both, "mlxwire-worker")]);
  });

  test("the module, if python3 has it", async () => {
    const found = await findWorker(undefined, { PATH: python });
    assert.deepEqual(found, [join(python, "python3"), "-P", "-m", "mlxwire_worker"]);
  });

  test("asked for by a Python that imports nothing from the host's folder", async () => {
    const bin = place("careful", "python3");
    writeFileSync(join(bin, "python3"), '#!/bin/sh\n[ "$1" = -P ] && [ "$2" = -c ]\n');
    const found = await findWorker(undefined, { PATH: bin });
    assert.deepEqual(found, [join(bin, "python3"), "-P", "-m", "mlxwire_worker"]);
  });

  test("not a program of a relative folder of the PATH, which may be a model's", async () => {
    const before = process.cwd();
    process.chdir(both);
    try {
      for (const PATH of [".", "", join("..", "both")]) {
        await assert.rejects(findWorker(undefined, { PATH }), SpawnFailed);
        const found = await findWorker(undefined, { PATH: [PATH, both].join(delimiter) });
        assert.deepEqual(found, [join(both, "mlxwire-worker")]);
      }
    } finally {
      process.chdir(before);
    }
  });

  test("neither a file that can't be run nor a folder of that name", async () => {
    const [file, directory] = [place("file", "mlxwire-worker"), join(folder, "directory")];
    chmodSync(join(file, "mlxwire-worker"), 0o644);
    mkdirSync(join(directory, "mlxwire-worker"), { recursive: true });
    const PATH = [file, directory, both].join(delimiter);
    assert.deepEqual(await findWorker(undefined, { PATH }), [join(both, "mlxwire-worker")]);
  });

  test("not a program in the host's folder because of an empty entry of the PATH", async () => {
    const host = process.cwd();
    process.chdir(both);
    try {
      await assert.rejects(findWorker(undefined, { PATH: `${delimiter}${lacking}` }), SpawnFailed);
    } finally {
      process.chdir(host);
    }
  });

  test("looked for by python3 in the worker's environment", async () => {
    const bin = place("asking", "python3");
    writeFileSync(join(bin, "python3"), '#!/bin/sh\n[ "$PYTHONPATH" = here ]\n');
    const found = await findWorker(undefined, { PATH: bin, PYTHONPATH: "here" });
    assert.deepEqual(found, [join(bin, "python3"), "-P", "-m", "mlxwire_worker"]);
    await assert.rejects(findWorker(undefined, { PATH: bin, PYTHONPATH: "there" }), SpawnFailed);
  });

  test("on the Path, as Windows spells it", async () => {
    assert.deepEqual(await findWorker(undefined, { Path: both }), [join(both, "mlxwire-worker")]);
  });

  test("missing, and the error says what to install", async () => {
    for (const PATH of [lacking, "", undefined]) {
      await assert.rejects(findWorker(undefined, { PATH }), (error) => {
        assert.ok(error instanceof SpawnFailed);
        return /pip install/.test(error.message) && /MLXWIRE_WORKER/.test(error.message);
      });
    }
  });

  test("refused with the name of its source if it can't be split or is empty", async () => {
    await assert.rejects(findWorker("'a"), /`command` is "'a", which can't be split/);
    await assert.rejects(findWorker([]), /`command` is empty/);
    await assert.rejects(findWorker(undefined, { MLXWIRE_WORKER: "'a" }), /`MLXWIRE_WORKER`/);
  });

  test("resolved against the host's folder if it is a relative path", async () => {
    assert.deepEqual(await findWorker("bin/worker bin/x"), [resolve("bin/worker"), "bin/x"]);
  });
});
