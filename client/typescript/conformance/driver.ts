/** Runs one conformance scenario, or cells: `node driver.js --scenario NAME`, or `--cells`. */
import { parseArgs } from "node:util";
import { type Model, Worker, type WorkerOptions } from "../src/index.js";
import { runCells } from "./answerCells.js";
import { describe, type Following, Report } from "./report.js";
import { generate, type Operation, SCENARIOS, WITH_METRICS, WITH_NEXT } from "./scenarios.js";

const MODEL = process.env.MLXWIRE_MODEL ?? "mock";
const FAULT_REQUEST_MS = 3000;
const IMPATIENT: WorkerOptions = {
  startTimeoutMs: 5000,
  idleTimeoutMs: FAULT_REQUEST_MS,
  limits: { quitMs: 300, stdinMs: 300, termMs: 300, killMs: 500 },
};

async function runScenario(report: Report): Promise<void> {
  const operation = SCENARIOS[report.scenario];
  if (operation === undefined) throw new Error(`no scenario is called ${report.scenario}`);
  await serve({}, report, async (worker) => {
    const model = await worker.load(MODEL);
    await measure(operation, worker, model, report);
    if (WITH_METRICS.has(report.scenario)) await worker.metrics();
    if (WITH_NEXT.has(report.scenario)) report.next = await follow(model, "again", 4);
  });
}

/** Run a request on a worker that may do anything, and then one on a good worker. */
async function runFault(report: Report): Promise<void> {
  await serve(IMPATIENT, report, async (worker) => {
    const model = await worker.load(MODEL, { timeoutMs: FAULT_REQUEST_MS });
    await measure(generate, worker, model, report);
  });
  const fresh = new Report("fresh");
  process.env.MLXWIRE_WORKER = process.env.MLXWIRE_FRESH_WORKER;
  await serve(IMPATIENT, fresh, async (worker) => {
    report.next = await follow(await worker.load(MODEL), "one two three", 8);
  });
  if (fresh.error !== null) report.next = { outcome: "error", text: "", error: fresh.error };
}

/** Start a worker, and close it whatever happens; failures go into the report. */
async function serve(
  options: WorkerOptions,
  report: Report,
  operate: (worker: Worker) => Promise<void>,
): Promise<void> {
  let worker: Worker | undefined;
  try {
    worker = await Worker.start(options);
    report.workerPid = worker.pid;
    await operate(worker);
  } catch (error) {
    report.fail(error);
  }
  const began = performance.now();
  await worker?.close();
  report.closedSeconds = secondsSince(began);
}

/** Run and time the scenario's operation; its failure goes into the report. */
async function measure(
  operation: Operation,
  worker: Worker,
  model: Model,
  report: Report,
): Promise<void> {
  const controller = new AbortController();
  const began = performance.now();
  try {
    await operation({ worker, model, report, controller });
  } catch (error) {
    report.fail(error, controller.signal);
  }
  report.seconds = secondsSince(began);
}

/** Run the request after the scenario's operation, which has to succeed. */
async function follow(model: Model, prompt: string, maxTokens: number): Promise<Following> {
  try {
    const text = await model.generate(prompt, { maxTokens }).text();
    return { outcome: "ok", text, error: null };
  } catch (error) {
    return { outcome: "error", text: "", error: describe(error, 0) };
  }
}

const secondsSince = (began: number): number => (performance.now() - began) / 1000;

async function main(): Promise<void> {
  const { scenario = "", cells = false } = parseArgs({
    options: { scenario: { type: "string" }, cells: { type: "boolean" } },
  }).values;
  if (cells) {
    await runCells();
    return;
  }
  const report = new Report(scenario);
  await (scenario === "fault" ? runFault(report) : runScenario(report));
  process.stdout.write(`${report.line()}\n`);
}

await main();
