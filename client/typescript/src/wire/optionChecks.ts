/** Checks of options and arguments that stay in this client; the worker checks the others. */

import { InvalidParams } from "../errors.js";

/** The longest time of a Node timer, 24 days; Node takes a longer time for 1 ms. */
export const LONGEST_MS = 2 ** 31 - 1;
/** Characters of a wrong value that its error shows. */
const SHOWN = 80;

/** A kind of values: a test for it, and what to give. */
export interface Kind {
  readonly test: (value: unknown) => boolean;
  readonly give: string;
}

const isArrayOf =
  (type: string) =>
  (value: unknown): boolean =>
    Array.isArray(value) && value.every((entry) => typeof entry === type);

/** The kinds of values that options and arguments have. */
export const KINDS = {
  string: { test: (value) => typeof value === "string", give: "a string" },
  strings: { test: isArrayOf("string"), give: "an array of strings" },
  numbers: { test: isArrayOf("number"), give: "an array of numbers" },
  command: {
    test: (value) => typeof value === "string" || isArrayOf("string")(value),
    give: "a string, or an array of strings",
  },
  environment: {
    test: (value) => isPlain(value) && Object.values(value).every((it) => typeof it === "string"),
    give: "an object whose values are strings",
  },
  object: { test: isPlain, give: "an object" },
  array: { test: Array.isArray, give: "an array" },
  callback: { test: (value) => typeof value === "function", give: "a function" },
  signal: {
    test: (value) => isPlain(value) && "aborted" in value && "addEventListener" in value,
    give: "an AbortSignal",
  },
  path: {
    test: (value) => typeof value === "string" || (isUrl(value) && value.protocol === "file:"),
    give: "a string, or a URL that begins with `file:`",
  },
  /** Milliseconds of a timer, where 0 has a meaning of its own. */
  ms: { test: isMs, give: `milliseconds from 0 to ${LONGEST_MS}` },
  /** Milliseconds of a timer, where 0 would be no time at all. */
  someMs: {
    test: (value) => isMs(value) && (value as number) > 0,
    give: `milliseconds above 0, up to ${LONGEST_MS}`,
  },
  count: {
    test: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
    give: "an integer of at least 0",
  },
  someCount: {
    test: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
    give: "an integer of at least 1",
  },
  /** A value that the worker checks. */
  any: { test: () => true, give: "another value" },
  part: {
    test: (value) => typeof value === "number" && value >= 0 && value <= 1,
    give: "a number from 0 to 1",
  },
} as const satisfies Readonly<Record<string, Kind>>;

/** Make the kind of values that may also be null. */
export function orNull({ test, give }: Kind): Kind {
  return { test: (value) => value === null || test(value), give: `${give}, or null` };
}

/** The kinds of options, by the options' names. */
export type Checks = Readonly<Record<string, Kind>>;

/** Check the value of an option or argument; undefined is one left out. @throws InvalidParams */
export function check(name: string, value: unknown, { test, give }: Kind): void {
  if (value !== undefined && !test(value)) {
    throw invalid(name, `is ${shown(value)}; give ${give}, or leave it out`);
  }
}

/** Check an argument that can't be left out. @throws InvalidParams */
export function checkArgument(name: string, value: unknown, { test, give }: Kind): void {
  if (!test(value)) {
    throw invalid(name, `is ${shown(value)}; give ${give}`);
  }
}

/** Check the options of `what`, and refuse those that `checks` does not have. @throws InvalidParams */
export function checkOptions(what: string, options: unknown, checks: Checks): void {
  check("options", options, KINDS.object);
  for (const [name, value] of Object.entries(options ?? {})) {
    const kind = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (kind === undefined) {
      throw unknownOption(name, what, Object.keys(checks).sort());
    }
    check(name, value, kind);
  }
}

/** Merge the options given into their defaults; undefined is the same as left out. */
export function withDefaults<T extends object>(defaults: T, given: Partial<T>): T {
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(set) };
}

/** Make the error of an unknown option of `what`. */
function unknownOption(name: string, what: string, known: readonly string[]): InvalidParams {
  return invalid(name, `is no option of ${what}; its options are ${known.join(", ")}`);
}

/** Make the error of a wrong option; `what` follows its name in the message. */
export function invalid(name: string, what: string): InvalidParams {
  return new InvalidParams(`\`${name}\` ${what}`, { data: { field: name } });
}

function isPlain(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isUrl(value: unknown): value is URL {
  return isPlain(value) && "href" in value && "protocol" in value;
}

function isMs(value: unknown): boolean {
  return typeof value === "number" && value >= 0 && value <= LONGEST_MS;
}

/** Show a wrong value in its error. */
function shown(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.slice(0, SHOWN));
  }
  if (Array.isArray(value)) {
    return "an array that is not accepted";
  }
  const isNamed = typeof value === "object" && value !== null;
  return isNamed ? `an object (${value.constructor?.name ?? "without a class"})` : String(value);
}
