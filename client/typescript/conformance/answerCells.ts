/** Answers the cells of tests/conformance/DRIVER.md: `node driver.js --cells` reads them from stdin. */
import { setTimeout as after } from "node:timers/promises";
import { type Answer, type Cell, outcomeOf } from "./cells.js";
import { closeShared, giveOption, never, policy } from "./optionCells.js";
import { read, readAnswer, secondPass, stop } from "./stopCells.js";

/** How long a cell may take before it counts as hanging. */
const CELL_MS = 20_000;

const TASKS: Record<string, (cell: Cell) => Promise<Answer>> = {
  stop,
  second_pass: secondPass,
  read,
  answer: readAnswer,
  option: giveOption,
  never,
  policy,
};

/** Answer each cell of stdin with a line on stdout. */
export async function runCells(): Promise<void> {
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    text += chunk;
  }
  for (const line of text.split("\n").filter((each) => each !== "")) {
    const cell: Cell = JSON.parse(line);
    process.stdout.write(`${JSON.stringify({ cell: cell.cell, ...(await answerTo(cell)) })}\n`);
  }
  await closeShared();
}

async function answerTo(cell: Cell): Promise<Answer> {
  const controller = new AbortController();
  const { signal } = controller;
  const hangs = after(CELL_MS, { outcome: "hangs" }, { signal }).catch(() => ({}));
  try {
    const task = TASKS[cell.do];
    return await Promise.race([task ? task(cell) : Promise.reject(new Error(cell.do)), hangs]);
  } catch (error) {
    return outcomeOf(error);
  } finally {
    controller.abort();
  }
}
