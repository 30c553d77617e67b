/** The repository's shared vectors, and the command of its worker. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = new URL("../../../../../", import.meta.url);

/** Give the full path of a file of the repository. */
export function repositoryPath(path: string): string {
  return fileURLToPath(new URL(path, ROOT));
}

/** Read the JSON in a file of the repository. */
export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(repositoryPath(path), "utf8")) as T;
}

/** List the files in and below a folder with this ending, by their paths within the folder. */
export function listFiles(folder: string, ending: string): string[] {
  const paths = readdirSync(repositoryPath(folder), { recursive: true, encoding: "utf8" });
  return paths.map((path) => path.replaceAll("\\", "/")).filter((path) => path.endsWith(ending));
}

const PYTHON = repositoryPath(
  process.platform === "win32" ? ".venv/Scripts/python.exe" : ".venv/bin/python",
);

/** Give the command of a worker with this engine, run by the repository's own Python. */
export function workerCommand(engine: "mock" | "mlx"): string[] {
  return [PYTHON, "-P", "-m", "mlxwire_worker", "--engine", engine];
}

/** The reason to skip tests that run `workerCommand`, or false. In CI they fail instead. */
export const skipWithoutWorker: string | false =
  existsSync(PYTHON) || process.env.CI ? false : `no ${PYTHON}: set it up with \`make test\``;
