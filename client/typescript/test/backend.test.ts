import assert from "node:assert/strict";
import { afterEach, suite, test } from "node:test";
import {
  type Backend,
  type BackendModel,
  type BackendOptions,
  get,
  getDefault,
  list,
  loadModel,
  register,
} from "../src/index.js";
import { skipWithoutWorker, workerCommand } from "./support/repository.js";

const MLX_LM = get("mlx_lm");

/** A backend that notes what it was asked for. */
class NotingBackend implements Backend {
  asked: unknown[] = [];

  constructor(
    readonly name: string,
    readonly here = true,
  ) {}

  async available(): Promise<boolean> {
    return this.here;
  }

  async loadModel(path: string | URL, options?: BackendOptions): Promise<BackendModel> {
    this.asked.push([path, options]);
    return {} as BackendModel;
  }
}

suite("backends", () => {
  afterEach(() => register(MLX_LM));

  test("are asked by name, with the load's options and without their own name", async () => {
    const noting = new NotingBackend("noting");
    register(noting);
    await loadModel("a/folder", { backend: "noting", contextLen: 512 });
    assert.deepEqual(noting.asked, [["a/folder", { contextLen: 512 }]]);
    assert.deepEqual(list(), ["mlx_lm", "noting"]);
  });

  test("that are not known are refused with those that are", () => {
    assert.throws(() => get("gguf"), { name: "RangeError", message: /"gguf".*mlx_lm/ });
  });

  test("of the same name replace each other, and the default is mlx_lm where it can run", async () => {
    register(new NotingBackend("aardvark"));
    const replaced = new NotingBackend("mlx_lm");
    register(replaced);
    assert.equal(await getDefault(), replaced);
    register(new NotingBackend("mlx_lm", false));
    assert.equal((await getDefault()).name, "aardvark");
  });
});

suite("the backend mlx_lm", { skip: skipWithoutWorker }, () => {
  test("starts a worker for the model, which the model's close ends", async () => {
    const lines: string[] = [];
    const worker = { command: workerCommand("mock"), onStderr: (line: string) => lines.push(line) };
    const model = await loadModel("any", { worker });
    assert.equal(await model.generate("one two").text(), "one two");
    await model.close();
    await assert.rejects(model.generate("again").text(), { code: "shutting_down" });
  });

  const posix = process.platform !== "win32";

  test("leaves no worker behind where the load fails", { skip: !posix }, async () => {
    const pids: number[] = [];
    const command = ["sh", "-c", 'echo $$ >&2; exec "$@"', "sh", ...workerCommand("mock")];
    const onStderr = (line: string): void => {
      if (/^\d+$/.test(line)) pids.push(Number(line));
    };
    const refused = loadModel("any", { contextLen: -1, worker: { command, onStderr } });
    await assert.rejects(refused, { code: "invalid_params", field: "context_len" });
    const [pid] = pids;
    assert.ok(pid);
    assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  });
});
