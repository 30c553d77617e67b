import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Queue } from "../../src/requests/queue.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Count the copies of arrays by `slice`. */
function countCuts(act: () => void): number {
  const { slice } = Array.prototype;
  let cuts = 0;
  Array.prototype.slice = function (...range) {
    cuts += 1;
    return slice.apply(this, range);
  };
  try {
    act();
  } finally {
    Array.prototype.slice = slice;
  }
  return cuts;
}

suite("a queue", () => {
  test("gives entries back in order, however push and shift are mixed", () => {
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

  test("holds no entry that was taken, however long it is in use", () => {
    const queue = new Queue<number>();
    const cuts = countCuts(() => {
      for (let put = 0; put < 100_000; put += 1) {
        queue.push(put);
        queue.shift();
      }
    });
    assert.ok(cuts > 10 && cuts < 1000, `its taken front was cut off ${cuts} times`);
  });

  test("that is long is not copied for each entry that is taken", () => {
    const queue = new Queue<number>();
    for (let put = 0; put < 100_000; put += 1) {
      queue.push(put);
    }
    const cuts = countCuts(() => {
      while (queue.length > 0) {
        queue.shift();
      }
    });
    assert.ok(cuts > 0 && cuts < 20, `its taken front was cut off ${cuts} times`);
  });

  test("lets go of taken entries while others wait", async () => {
    const queue = new Queue<object>();
    queue.push({});
    queue.push({});
    const taken = new WeakRef(queue.shift());
    await new Promise((resolve) => setImmediate(resolve)); // a new one is kept for this turn
    collect();
    assert.equal(taken.deref(), undefined);
    assert.equal(queue.length, 1);
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
