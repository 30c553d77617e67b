import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, suite, test } from "node:test";
import { pathToFileURL } from "node:url";
import { ModelNotFound, ModelNotLoaded, Worker } from "../src/index.js";
import { skipWithoutWorker as skip, workerCommand } from "./support/repository.js";

const folder = mkdtempSync(join(tmpdir(), "models-"));
after(() => rmSync(folder, { recursive: true }));

for (const restart of [undefined, {}]) {
  suite(`folders are read ${restart ? "with" : "without"} restarts`, { skip }, () => {
    const options = { command: workerCommand("mock"), startTimeoutMs: 120_000, restart };

    test("and whole and broken models are told", async () => {
      await using worker = await Worker.start(options);
      const [whole, broken] = await worker.discover([folder, `${folder}-gone`]);
      assert.ok(whole?.error === null);
      assert.deepEqual([whole.name, whole.modelType], [basename(folder), "mock"]);
      assert.ok(broken?.error instanceof ModelNotFound);
      assert.equal(broken.name, `${basename(folder)}-gone`);
      const names: string[] = [];
      for await (const { name } of worker.discover(pathToFileURL(folder))) {
        names.push(name);
      }
      assert.deepEqual(names, [basename(folder)]);
      const wrong = { check: "all" as "full" };
      await assert.rejects(worker.discover(folder, wrong).items(), { field: "check" });
      assert.throws(() => worker.discover(5 as unknown as string), { field: "paths" });
      assert.throws(() => worker.discover(folder, { timeoutMs: -1 }), { field: "timeoutMs" });
    });

    test("and the memory of a model is predicted", async () => {
      await using worker = await Worker.start(options);
      const fit = await worker.fit(folder, { contextLen: 100, parallelSlots: 2 });
      assert.deepEqual([fit.contextLen, fit.parallelSlots, fit.fits], [100, 2, true]);
      await assert.rejects(worker.fit(), ModelNotLoaded);
      const model = await worker.load("p");
      assert.equal((await worker.fit()).path, (await model.fit()).path);
      const tight = await model.fit({ memoryLimit: 1 });
      assert.deepEqual([tight.fits, tight.maxContextLen], [false, 0]);
      await assert.rejects(model.fit({ contextLen: 0 }), { field: "contextLen" });
    });

    test("and texts are answered by the mock", async () => {
      await using worker = await Worker.start(options);
      const model = await worker.load("p");
      const vectors = await model.embed(["a b", "c"], { dimensions: 4 }).vectors();
      assert.deepEqual(
        vectors.map(({ length }) => length),
        [4, 4],
      );
      const [score] = await model.score(["a b c"]);
      assert.deepEqual([score?.pieces, score?.perplexity], [["a", " b", " c"], 2]);
      const [best] = await model.rerank("b", ["a", "b"], { topN: 1 });
      assert.deepEqual(best, { index: 1, relevanceScore: 1, document: "b" });
      assert.equal((await model.render("a b")).prompt, "user: a b\nassistant:");
      const classified = await model.classifyChats(["a", "b"], { labels: ["x", "y"] });
      assert.deepEqual(
        classified.map(({ text }) => text),
        ["a", "b"],
      );
    });
  });
}
