import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Window } from "../../src/requests/window.js";

suite("a window", () => {
  test("grants the messages taken, half a window at a time", () => {
    const window = new Window(8);
    assert.deepEqual(
      [1, 2, 3, 4, 5, 6, 7, 8].map(() => window.take(1)),
      [0, 0, 0, 4, 0, 0, 0, 4],
    );
  });

  test("grants all messages that were taken at once", () => {
    const window = new Window(8);
    assert.equal(window.take(3), 0);
    assert.equal(window.take(9), 12);
    assert.equal(window.taken, 12);
  });

  for (const size of [1, 2, 3, 256]) {
    test(`of ${size} never leaves the worker without credit for ever`, () => {
      const window = new Window(size);
      let credit = size;
      for (let sent = 0; sent < 10 * size; sent += 1) {
        assert.ok(credit > 0, `after ${sent} messages`);
        credit += window.take(1) - 1;
        assert.ok(credit <= size, "it never has more than the window");
      }
    });
  }

  test("of a worker without windows grants nothing", () => {
    assert.equal(new Window(null).take(1_000_000), 0);
  });
});
