/** Where the repository's shared vectors are, and a worker to run. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = new URL("../../../../../", import.meta.url);

/** A path within the repository. */
export function repositoryPath(path: string): string {
  return fileURLToPath(new URL(path, ROOT));
}

/** The JSON in a file of the repository. */
export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(repositoryPath(path), "utf8")) as T;
}

/** The files of a folder and of those below it that end so, by their paths within it. */
export function listFiles(folder: string, ending: string): string[] {
  const paths = readdirSync(repositoryPath(folder), { recursive: true, encoding: "utf8" });
  return paths.map((path) => path.replaceAll("\\", "/")).filter((path) => path.endsWith(ending));
}

const PYTHON = repositoryPath(
  process.platform === "win32" ? ".venv/Scripts/python.exe" : ".venv/bin/python",
);

/** The command of a worker with that engine, run by the repository's own Python. */
export function workerCommand(engine: "mock" | "mlx"): string[] {
  return [PYTHON, "-m", "mlxwire_worker", "--engine", engine];
}

/** For tests that run `workerCommand`: why they are skipped, or false. A hole in CI is a failure there. */
export const skipWithoutWorker: string | false =
  existsSync(PYTHON) || process.env.CI ? false : `no ${PYTHON}: set it up with \`make test\``;
