/** The pipes of a process, and its end, each looked at by itself. */

import assert from "node:assert/strict";
import childProcess, { type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { syncBuiltinESMExports } from "node:module";
import { suite, type TestContext, test } from "node:test";
import type { Exit } from "../../src/errors.js";
import { WorkerProcess } from "../../src/process/process.js";
import { StderrRing } from "../../src/process/stderrRing.js";
import { Deferred } from "../../src/requests/callbacks.js";
import { roleCommand } from "../support/roles.js";

/** Start a process in a role, with Node's own child and all that its listener hears. */
async function start(t: TestContext, role: string) {
  const spawned: ChildProcessWithoutNullStreams[] = [];
  const { spawn } = childProcess;
  const spy = t.mock.method(childProcess, "spawn", (...args: Parameters<typeof spawn>) => {
    const made = spawn(...args);
    spawned.push(made as ChildProcessWithoutNullStreams);
    return made;
  });
  syncBuiltinESMExports();
  const lost: string[] = [];
  const ended = new Deferred<Exit>();
  let chunk = new Deferred<void>();
  const child = await WorkerProcess.spawn(
    { command: roleCommand(role), env: {}, cwd: undefined },
    new StderrRing(),
    {
      stdoutReceived: () => {
        chunk.resolve();
        chunk = new Deferred();
      },
      pipeLost: (which) => lost.push(which),
      processExited: ended.resolve,
    },
  );
  spy.mock.restore();
  syncBuiltinESMExports();
  const [node] = spawned;
  assert.ok(node);
  return { child, node, lost, ended: ended.promise, nextChunk: () => chunk.promise };
}

suite("a process", { skip: process.platform === "win32" }, () => {
  for (const pipe of ["stdout", "stderr"] as const) {
    test(`whose ${pipe} can't be read any more breaks nothing in the host`, async (t) => {
      const { child, node, lost, ended } = await start(t, "until eof");
      const closed = new Promise((resolve) => node[pipe].once("close", resolve));
      node[pipe].destroy(new Error("read EIO"));
      await closed;
      assert.deepEqual(lost, pipe === "stdout" ? ["stdout"] : []);
      child.closeStdin();
      assert.deepEqual(await ended, { exitCode: 6, signal: null });
    });
  }

  test("that closed its stdin is found out at the next write", async (t) => {
    const { child, node, lost, ended, nextChunk } = await start(t, "cover its ears");
    const closed = new Promise((resolve) => node.stdin.once("close", resolve));
    await nextChunk();
    child.write(Buffer.from("hello\n"));
    await closed;
    assert.deepEqual(lost, ["stdin"]);
    child.signalGroup("SIGKILL");
    assert.deepEqual(await ended, { exitCode: null, signal: "SIGKILL" });
  });

  test("that could not be signalled, as Node tells later, breaks nothing in the host", async (t) => {
    const { child, node, ended } = await start(t, "until eof");
    node.emit("error", new Error("kill EPERM"));
    node.emit("error", new Error("kill EPERM"));
    child.closeStdin();
    assert.deepEqual(await ended, { exitCode: 6, signal: null });
  });

  test("that was reaped is never signalled", async (t) => {
    const { child, ended } = await start(t, "until eof");
    child.closeStdin();
    await ended;
    const kill = t.mock.method(process, "kill", () => true);
    child.signalGroup("SIGTERM");
    child.signalGroup("SIGKILL");
    assert.equal(kill.mock.callCount(), 0);
  });

  test("has its group signalled in the turn in which it was reaped, and not later", async (t) => {
    const kill = t.mock.method(process, "kill", () => true);
    const { child, node, ended } = await start(t, "until eof");
    child.closeStdin();
    await once(node, "exit");
    assert.deepEqual(
      kill.mock.calls.map(({ arguments: given }) => given),
      [[-(node.pid ?? 0), "SIGKILL"]],
    );
    child.signalGroup("SIGTERM");
    await ended;
    assert.equal(kill.mock.callCount(), 1);
  });

  test("has ended although a grandchild never stops writing", async (t) => {
    const { child, node, lost, ended, nextChunk } = await start(t, "leave a babbler");
    const turns: (() => void)[] = [];
    t.mock.method(globalThis, "setImmediate", (turn: () => void) => void turns.push(turn));
    let exit: Exit | null = null;
    void ended.then((status) => {
      exit = status;
    });
    await nextChunk();
    child.write(Buffer.from("exit"));
    const closed = new Promise((resolve) => node.stdout.once("close", resolve));
    for (let gone = 0; gone < 200 && exit === null; ) {
      await Promise.race([nextChunk(), ended]); // so that no turn is quiet
      for (const go of turns.splice(0)) {
        go();
        gone += 1;
      }
    }
    child.release();
    await closed;
    assert.deepEqual(exit, { exitCode: 9, signal: null });
    assert.deepEqual(lost, [], "its pipes were closed here, and not lost");
  });

  test("takes no bytes after its stdin was closed", async (t) => {
    const { child, lost, ended } = await start(t, "until eof");
    child.closeStdin();
    child.write(Buffer.from("late\n"));
    await ended;
    assert.equal(lost.includes("stdin"), false);
  });

  test("lets its waiters go at its end, and those that come later at once", async (t) => {
    const { child, ended } = await start(t, "until eof");
    assert.equal(await child.wait(1), false);
    const waiting = child.wait(60_000);
    child.closeStdin();
    assert.equal(await waiting, true);
    await ended;
    assert.equal(await child.wait(0), true);
    assert.equal(process.getActiveResourcesInfo().includes("Timeout"), false);
  });
});
