import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { suite, test } from "node:test";
import { callGuarded, onAbort } from "../../src/requests/callbacks.js";

suite("onAbort", () => {
  test("calls each callback once, and none that was cancelled", () => {
    const controller = new AbortController();
    const calls: string[] = [];
    onAbort(controller.signal, () => calls.push("first"));
    const forget = onAbort(controller.signal, () => calls.push("forgotten"));
    onAbort(controller.signal, () => calls.push("last"));
    forget();
    controller.abort();
    assert.deepEqual(calls, ["first", "last"]);
  });

  test("does not call a callback that another callback cancelled", () => {
    const controller = new AbortController();
    let forget = (): void => undefined;
    onAbort(controller.signal, () => forget());
    forget = onAbort(controller.signal, () => assert.fail("it was forgotten"));
    controller.abort();
  });

  test("takes its listener off a signal that nobody waits for, and adds it again", () => {
    const controller = new AbortController();
    const { signal } = controller;
    let called = 0;
    const count = (): void => {
      called += 1;
    };
    const [first, second] = [onAbort(signal, count), onAbort(signal, () => undefined)];
    first();
    assert.equal(getEventListeners(signal, "abort").length, 1);
    second();
    assert.equal(getEventListeners(signal, "abort").length, 0);
    first();
    onAbort(signal, count);
    second(); // is over, and takes away nothing
    controller.abort();
    assert.equal(called, 1);
  });

  test("adds one listener for any number of callbacks, so that Node warns of no leak", async () => {
    const { signal } = new AbortController();
    const warnings: Error[] = [];
    const warned = (warning: Error) => warnings.push(warning);
    process.on("warning", warned);
    for (let count = 0; count < 100; count += 1) {
      onAbort(signal, () => undefined);
    }
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", warned);
    assert.deepEqual(warnings, []);
  });
});

test("an exception of a callback is uncaught, and does not reach the caller", async () => {
  const thrown = new Error("of the user's");
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException"); // the test runner's own
  try {
    const uncaught = once(process, "uncaughtException");
    callGuarded(() => {
      throw thrown;
    }, null);
    assert.equal((await uncaught)[0], thrown);
  } finally {
    for (const listener of listeners) {
      process.on("uncaughtException", listener);
    }
  }
});
