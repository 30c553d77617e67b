/** Workers that misbehave in ways that need a real process: `node roles.js ROLE [PORT]`. */

import { spawn } from "node:child_process";
import { closeSync, writeSync } from "node:fs";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";

const THIS_FILE = fileURLToPath(import.meta.url);
const FLOOD_BYTES = 4 * 1024 * 1024;

/** Give the command of a worker in this role. */
export function roleCommand(role: string, ...args: string[]): string[] {
  return [process.execPath, THIS_FILE, role, ...args];
}

function liveOn(): void {
  setInterval(() => undefined, 60_000);
}

/** Keep a connection to a port for as long as this process runs. */
function hold(port: number): void {
  connect(port, "127.0.0.1", () => process.send?.("connected"));
  liveOn();
}

/** Leave a grandchild behind, inside or outside of the group, that holds a connection and the pipes. */
function leaveGrandchild(port: string, exitCode: number, detached: boolean): void {
  const [program = "", ...args] = roleCommand("hold", port);
  const child = spawn(program, args, { stdio: ["inherit", "inherit", "inherit", "ipc"], detached });
  child.once("message", () => {
    writeSync(2, `grandchild ${child.pid}\n`);
    process.exit(exitCode);
  });
}

/** Leave a grandchild outside of the group that writes to stdout as long as somebody reads. */
function leaveBabbler(): void {
  const [program = "", ...args] = roleCommand("babble");
  spawn(program, args, { stdio: "inherit", detached: true });
  process.stdin.once("data", () => process.exit(9));
}

const ROLES: Record<string, (port: string) => void> = {
  hold: (port) => hold(Number(port)),
  deaf: () => {
    process.on("SIGTERM", () => undefined);
    writeSync(2, `pid ${process.pid}\n`);
    liveOn();
  },
  "until eof": () => {
    process.stdin.on("end", () => process.exit(6)).resume();
  },
  parent: () => {
    writeSync(2, `${process.env.MLXWIRE_PARENT_PID} of ${process.ppid}\n`);
    process.exit(4);
  },
  "cover its ears": () => {
    closeSync(0);
    writeSync(1, "covered\n");
    liveOn();
  },
  "hang up": () => {
    process.stdin.once("data", () => closeSync(1));
    liveOn();
  },
  "in group": (port) => leaveGrandchild(port, 8, false),
  outside: (port) => leaveGrandchild(port, 7, true),
  "leave a babbler": leaveBabbler,
  babble: () => {
    for (;;) {
      writeSync(1, "word ".repeat(1000)); // throws once nobody reads
    }
  },
  flood: () => {
    const page = Buffer.alloc(64 * 1024, "x");
    for (let written = 0; written < FLOOD_BYTES; written += page.length) {
      writeSync(2, page);
    }
    writeSync(2, "\nthat was it\n");
    process.exit(5);
  },
};

const [, file, role = "", port = ""] = process.argv;
if (file === THIS_FILE) {
  ROLES[role]?.(port);
}
