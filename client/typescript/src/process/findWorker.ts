/**
 * Finds the worker's program: as the caller names it, as the environment names it, or on this
 * machine.
 */

import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, isAbsolute, resolve } from "node:path";
import { SpawnFailed } from "../errors.js";
import { shellWords } from "./shellWords.js";

/** The environment variable that names the worker's command. */
export const WORKER_VARIABLE = "MLXWIRE_WORKER";

const WINDOWS = process.platform === "win32";
const WORKER_PROGRAM = "mlxwire-worker";
const WORKER_MODULE = "mlxwire_worker";
const PYTHON = WINDOWS ? "python" : "python3";
/**
 * Keeps Python from importing files of the working folder: there a model's `random.py`, or a
 * project's `types.py`, would run in place of the standard library's.
 */
const SAFE_PATH = "-P";
/** Milliseconds; generous, since a first start of Python may read much from a cold disk. */
const MODULE_CHECK_MS = 10_000;
const MODULE_CHECK =
  "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)";

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Find the worker's command line. Returns the first of these that exists: `command` (a string is
 * split as a shell would), `MLXWIRE_WORKER` (likewise), `mlxwire-worker` on the `PATH`, and
 * `python3 -P -m mlxwire_worker` if python3 has that module.
 *
 * @throws SpawnFailed if none exists, or a string can't be split.
 */
export async function findWorker(
  command?: string | readonly string[],
  env: Environment = process.env,
): Promise<readonly string[]> {
  if (command !== undefined) {
    return split(command, "command");
  }
  const named = env[WORKER_VARIABLE]?.trim();
  if (named) {
    return split(named, WORKER_VARIABLE);
  }
  const program = await onPath(WORKER_PROGRAM, env);
  if (program !== null) {
    return [program];
  }
  const python = await onPath(PYTHON, env);
  if (python !== null && (await hasWorker(python, env))) {
    return [python, SAFE_PATH, "-m", WORKER_MODULE];
  }
  throw new SpawnFailed(
    "no worker was found: install one with `uv tool install 'mlxwire[mlx]'` or `pip install " +
      `'mlxwire[mlx]'\`, or give its command in ${WORKER_VARIABLE} or in Worker.start({ command })`,
  );
}

function split(command: string | readonly string[], source: string): readonly string[] {
  const [program, ...args] = typeof command === "string" ? wordsOf(command, source) : command;
  if (!program) {
    throw new SpawnFailed(`\`${source}\` is empty; give the worker's program and its arguments`);
  }
  // A path is relative to the host's folder, not to the one that the worker is to run in.
  return [/[\\/]/.test(program) ? resolve(program) : program, ...args];
}

function wordsOf(command: string, source: string): string[] {
  try {
    return shellWords(command);
  } catch (error) {
    const why = (error as Error).message;
    throw new SpawnFailed(
      `\`${source}\` is ${JSON.stringify(command)}, which can't be split into words: ${why}. Close it, or ` +
        "give the command as an array",
      { cause: error },
    );
  }
}

async function onPath(program: string, env: Environment): Promise<string | null> {
  const folders = (env.PATH ?? env.Path ?? "").split(delimiter);
  // An empty or relative entry means the working folder, whose files must not run.
  for (const folder of folders.filter((each) => isAbsolute(each))) {
    const candidate = resolve(folder, WINDOWS ? `${program}.exe` : program);
    if (await isExecutable(candidate)) {
      return candidate;
    }
  }
  return null;
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

/** Ask a Python interpreter if it has the worker's module, without importing it. */
function hasWorker(python: string, env: Environment): Promise<boolean> {
  const options = { env: { ...env }, timeout: MODULE_CHECK_MS, windowsHide: true };
  return new Promise((told) => {
    execFile(python, [SAFE_PATH, "-c", MODULE_CHECK, WORKER_MODULE], options, (error) => {
      told(error === null);
    });
  });
}
