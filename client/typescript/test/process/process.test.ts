import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { suite, test } from "node:test";
import type { Exit } from "../../src/errors.js";
import { HandshakeFailed, SpawnFailed, Worker } from "../../src/index.js";
import { WorkerProcess } from "../../src/process/process.js";
import { StderrRing } from "../../src/process/stderrRing.js";
import { Deferred } from "../../src/requests/callbacks.js";
import { roleCommand } from "../support/roles.js";

/** Limits by which a deaf worker is ended quickly. */
const SHORT = { quitMs: 100, stdinMs: 100, termMs: 100, killMs: 20_000 };
/** Milliseconds for a worker that has to end by itself; generous, for a loaded machine. */
const PATIENCE = { startTimeoutMs: 60_000 };

/** Tell if a child process is there that this one has to reap. */
function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Listen for a grandchild: the `port` to connect to, and the connection that it holds. */
async function listen() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const connected = once(server, "connection") as Promise<[Socket]>;
  return { server, port: String(address.port), connected };
}

suite("a program that can't be started", () => {
  test("fails the start if the program does not exist", async () => {
    await assert.rejects(Worker.start({ command: ["/no/such/program"] }), (error) => {
      assert.ok(error instanceof SpawnFailed);
      assert.equal(error.retryable, false);
      return error.message.includes("/no/such/program");
    });
  });

  test("fails the start if its folder does not exist", async () => {
    const starting = Worker.start({ command: [process.execPath], cwd: "/no/such/folder" });
    await assert.rejects(starting, SpawnFailed);
  });
});

test("a process reads the end of its input when its stdin is closed", async () => {
  const ended = new Deferred<Exit>();
  const child = await WorkerProcess.spawn(
    { command: roleCommand("until eof"), env: {}, cwd: undefined },
    new StderrRing(),
    {
      stdoutReceived: () => undefined,
      pipeLost: () => undefined,
      processExited: ended.resolve,
    },
  );
  child.closeStdin();
  assert.deepEqual(await ended.promise, { exitCode: 6, signal: null });
});

test("a process is told the host's id, whatever the environments say of it", async () => {
  const env = { MLXWIRE_PARENT_PID: "1" };
  const starting = Worker.start({ ...PATIENCE, command: roleCommand("parent"), env });
  await assert.rejects(starting, { stderrTail: `${process.pid} of ${process.pid}\n` });
});

suite("a process that is no worker", { skip: process.platform === "win32" }, () => {
  test("has its flood of stderr read, and its exit told", async () => {
    const starting = Worker.start({ ...PATIENCE, command: roleCommand("flood") });
    await assert.rejects(starting, (error) => {
      assert.ok(error instanceof HandshakeFailed);
      assert.equal(error.data.exit_code, 5);
      assert.ok(error.stderrTail.length <= 4096);
      return error.stderrTail.endsWith("that was it\n");
    });
  });

  test("fails the start at once if it writes its input back", async () => {
    const starting = Worker.start({ ...PATIENCE, command: ["cat"] });
    await assert.rejects(starting, (error) => {
      return error instanceof HandshakeFailed && /writes its input back/.test(error.message);
    });
  });

  test("is ended if it closes its stdout", async () => {
    const starting = Worker.start({ ...PATIENCE, command: roleCommand("hang up"), limits: SHORT });
    await assert.rejects(starting, /closed its stdout while it was still running/);
  });

  test("is gone when the start fails, though it ignores signals", async () => {
    const seen: number[] = [];
    const controller = new AbortController();
    const starting = Worker.start({
      command: roleCommand("deaf"),
      limits: SHORT,
      signal: controller.signal,
      onStderr: (line) => {
        seen.push(Number(line.split(" ")[1]));
        controller.abort(new Error("enough"));
      },
    });
    await assert.rejects(starting, { message: "enough" });
    assert.equal(seen.length, 1);
    assert.equal(exists(seen[0] as number), false);
  });
});

suite("a grandchild", { skip: process.platform === "win32" }, () => {
  test("in the worker's process group ends with the worker", async () => {
    const { server, port, connected } = await listen();
    const starting = Worker.start({ ...PATIENCE, command: roleCommand("in group", port) });
    const [socket] = await connected;
    const gone = once(socket, "close");
    socket.on("error", () => undefined).resume();
    await assert.rejects(starting, (error) => {
      return error instanceof HandshakeFailed && error.data.exit_code === 8;
    });
    await gone;
    server.close();
  });

  test("outside of the group that holds the pipes delays no end", async () => {
    const { server, port, connected } = await listen();
    const starting = Worker.start({ ...PATIENCE, command: roleCommand("outside", port) });
    const [socket] = await connected;
    socket.on("error", () => undefined).resume();
    const failure = await starting.catch((error: unknown) => error);
    assert.ok(failure instanceof HandshakeFailed);
    assert.equal(failure.data.exit_code, 7);
    assert.equal(socket.closed, false);
    const gone = once(socket, "close");
    process.kill(Number(/grandchild (\d+)/.exec(failure.stderrTail)?.[1]), "SIGKILL");
    await gone;
    server.close();
  });
});
