/** What can be wrong with options that stay on this side of the wire; the worker checks the others. */

import { InvalidParams } from "../errors.js";

/** The longest that a timer of Node's waits, 24 days; it takes a longer one for 1 ms. */
const LONGEST_MS = 2 ** 31 - 1;

/** Refuse an option by name that `known` does not have. @throws InvalidParams */
export function refuseUnknown(what: string, options: object, known: object): void {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(known, name)) {
      const names = Object.keys(known).join(", ");
      throw invalid(name, `is no option of ${what}; its options are ${names}`);
    }
  }
}

/** Refuse milliseconds that no timer can wait, among the options named so. @throws InvalidParams */
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

/** Refuse what is no count of at least 1. @throws InvalidParams */
export function checkCount(name: string, value: unknown): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && (value as number) >= 1)) {
    throw invalid(name, `is ${String(value)}; give an integer of at least 1, or leave it out`);
  }
}

/** `defaults` with what was given in their place; undefined is the same as left out. */
export function withDefaults<T extends object>(defaults: T, given: Partial<T>): T {
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(set) };
}

/** Make the error for an option that can't be used; `what` is said of it. */
export function invalid(name: string, what: string): InvalidParams {
  return new InvalidParams(`\`${name}\` ${what}`, { data: { field: name } });
}
