/** Checks of the options that stay in this client; the worker checks the others. */

import { InvalidParams } from "../errors.js";

/** The longest time of a Node timer, 24 days; Node takes a longer time for 1 ms. */
const LONGEST_MS = 2 ** 31 - 1;

/** Refuse options whose names `known` does not have. @throws InvalidParams */
export function refuseUnknown(what: string, options: object, known: object): void {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(known, name)) {
      throw unknownOption(name, what, Object.keys(known));
    }
  }
}

/** Refuse values of options named `...Ms` that no timer can wait. @throws InvalidParams */
export function checkDurations(options: object): void {
  for (const [name, value] of Object.entries(options)) {
    const set = name.endsWith("Ms") && value !== undefined;
    if (set && !(typeof value === "number" && value >= 0 && value <= LONGEST_MS)) {
      throw invalid(
        name,
        `is ${String(value)}; give milliseconds from 0 to ${LONGEST_MS}, or leave it out`,
      );
    }
  }
}

/** Refuse a value that is no integer of at least 1. @throws InvalidParams */
export function checkCount(name: string, value: unknown): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && (value as number) >= 1)) {
    throw invalid(name, `is ${String(value)}; give an integer of at least 1, or leave it out`);
  }
}

/** Merge the options given into their defaults; undefined is the same as left out. */
export function withDefaults<T extends object>(defaults: T, given: Partial<T>): T {
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(set) };
}

/** Make the error of an unknown option of `what`; `field` is the option's name in the error's data. */
export function unknownOption(
  name: string,
  what: string,
  known: readonly string[],
  field = name,
): InvalidParams {
  return invalid(name, `is no option of ${what}; its options are ${known.join(", ")}`, field);
}

/** Make the error of a wrong option; `what` follows its name in the message. */
export function invalid(name: string, what: string, field = name): InvalidParams {
  return new InvalidParams(`\`${name}\` ${what}`, { data: { field } });
}
