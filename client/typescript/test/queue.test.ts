import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Queue } from "../src/queue.js";

suite("a queue", () => {
  test("gives back in order what was put in, however both are mixed", () => {
    const queue = new Queue<number>();
    let [put, taken] = [0, 0];
    for (let round = 0; round < 3000; round += 1) {
      for (let count = 0; count < (round * 7) % 11; count += 1) {
        queue.push(put);
        put += 1;
      }
      for (let count = 0; count < (round * 5) % 9 && queue.length > 0; count += 1) {
        assert.equal(queue.shift(), taken);
        taken += 1;
      }
      assert.equal(queue.length, put - taken);
    }
    assert.ok(put - taken > 1024, "it was long enough to be cut off in front");
    const rest = Array.from({ length: put - taken }, (_, place) => taken + place);
    assert.deepEqual(queue.takeAll(), rest);
    assert.equal(queue.length, 0);
  });

  test("that is emptied at once begins anew", () => {
    const queue = new Queue<string>();
    queue.push("a");
    queue.push("b");
    queue.shift();
    assert.deepEqual(queue.takeAll(), ["b"]);
    queue.push("c");
    assert.equal(queue.shift(), "c");
  });
});
