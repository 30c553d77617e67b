/**
 * Shapes of wire messages as data. Types are derived from them; readers check replies against them
 * and give the fields JavaScript's names. Unknown fields are left out.
 */

import { isObject } from "./json.js";

/** Reads one value of a reply. @throws TypeError if the value is of another kind. */
export type Reader<T> = (value: unknown) => T;

/** The name of a field in JavaScript: `tokenId` for `token_id`. */
export type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/** The fields of a message by their names on the wire, each with its reader. */
export type Fields = Readonly<Record<string, Reader<unknown>>>;

/** The result of reading a message with these fields. */
export type Shaped<F extends Fields> = {
  readonly [Name in keyof F as CamelCase<Name & string>]: ReturnType<F[Name]>;
};

/** Read a string. */
export function string(value: unknown): string {
  return typeof value === "string" ? value : mistaken("a string", value);
}

/** Read a finite number. */
export function number(value: unknown): number {
  return Number.isFinite(value) ? (value as number) : mistaken("a number", value);
}

/** Read a finite number that is not negative. */
export function amount(value: unknown): number {
  return number(value) >= 0 ? (value as number) : mistaken("a number from 0", value);
}

/** Read an integer that a double holds exactly. */
export function integer(value: unknown): number {
  return Number.isSafeInteger(value) ? (value as number) : mistaken("an integer", value);
}

/** Read a boolean. */
export function boolean(value: unknown): boolean {
  return typeof value === "boolean" ? value : mistaken("a boolean", value);
}

/** Read an object of any content. */
export function object(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : mistaken("an object", value);
}

/** Make a reader that also reads null; a missing field is null too. */
export function nullable<T>(read: Reader<T>): Reader<T | null> {
  return (value) => (value === null || value === undefined ? null : read(value));
}

/** Make a reader that also reads null, but no missing field. */
export function nullOr<T>(read: Reader<T>): Reader<T | null> {
  return (value) => (value === null ? null : read(value));
}

/** Make a reader that gives `otherwise` for a missing field. */
export function defaulting<T>(read: Reader<T>, otherwise: T): Reader<T> {
  return (value) => (value === undefined ? otherwise : read(value));
}

/** Make a reader of arrays. */
export function arrayOf<T>(read: Reader<T>): Reader<readonly T[]> {
  return (value) => (Array.isArray(value) ? value.map(read) : mistaken("an array", value));
}

/** Make a reader of objects whose keys are no field names, and stay as they are. */
export function recordOf<T>(read: Reader<T>): Reader<Readonly<Record<string, T>>> {
  return (value) =>
    Object.fromEntries(Object.entries(object(value)).map(([key, inner]) => [key, read(inner)]));
}

/** Make a reader of objects with these fields. */
export function shape<F extends Fields>(fields: F): Reader<Shaped<F>> {
  const named = Object.entries(fields).map(
    ([name, read]) => [name, camelCase(name), read] as const,
  );
  return (value) => {
    const message = object(value);
    const result: Record<string, unknown> = {};
    for (const [name, camel, read] of named) {
      try {
        result[camel] = read(message[name]);
      } catch (error) {
        throw new TypeError(`\`${name}\`: ${(error as Error).message}`);
      }
    }
    return result as Shaped<F>;
  };
}

/** Translate a name of the wire to JavaScript's. */
export function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** Translate a name of JavaScript to the wire's. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function mistaken(wanted: string, value: unknown): never {
  const found = value === undefined ? "missing" : `${JSON.stringify(value)}`.slice(0, 80);
  throw new TypeError(`is ${found}, where ${wanted} was due`);
}
