/**
 * Shapes of wire messages as data: types are derived from them, and replies are checked and given
 * JavaScript's names by them. Fields that a shape does not know are left out.
 */

import { isObject } from "./json.js";

/** Reads one value of a reply. @throws TypeError where it is of another kind. */
export type Reader<T> = (value: unknown) => T;

/** A field's name in JavaScript: `token_id` is `tokenId`. */
export type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/** The fields of a message by their names on the wire, each with its reader. */
export type Fields = Readonly<Record<string, Reader<unknown>>>;

/** What a message with those fields is read as. */
export type Shaped<F extends Fields> = {
  readonly [Name in keyof F as CamelCase<Name & string>]: ReturnType<F[Name]>;
};

/** A text. */
export function string(value: unknown): string {
  return typeof value === "string" ? value : mistaken("a string", value);
}

/** A finite number. */
export function number(value: unknown): number {
  return Number.isFinite(value) ? (value as number) : mistaken("a number", value);
}

/** A whole number that a double holds exactly. */
export function integer(value: unknown): number {
  return Number.isSafeInteger(value) ? (value as number) : mistaken("an integer", value);
}

/** True or false. */
export function boolean(value: unknown): boolean {
  return typeof value === "boolean" ? value : mistaken("a boolean", value);
}

/** An object of any content. */
export function object(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : mistaken("an object", value);
}

/** Null, or what the reader reads; a field that is missing counts as null. */
export function nullable<T>(read: Reader<T>): Reader<T | null> {
  return (value) => (value === null || value === undefined ? null : read(value));
}

/** What the reader reads, or `otherwise` where the field is missing. */
export function defaulting<T>(read: Reader<T>, otherwise: T): Reader<T> {
  return (value) => (value === undefined ? otherwise : read(value));
}

/** An array, each of whose values the reader reads. */
export function arrayOf<T>(read: Reader<T>): Reader<readonly T[]> {
  return (value) => (Array.isArray(value) ? value.map(read) : mistaken("an array", value));
}

/** An object, each of whose values the reader reads; its keys are not the wire's and stay. */
export function recordOf<T>(read: Reader<T>): Reader<Readonly<Record<string, T>>> {
  return (value) =>
    Object.fromEntries(Object.entries(object(value)).map(([key, inner]) => [key, read(inner)]));
}

/** An object with those fields. */
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

/** A wire name as JavaScript's. */
export function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** A JavaScript name as the wire's. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function mistaken(wanted: string, value: unknown): never {
  const found = value === undefined ? "missing" : `${JSON.stringify(value)}`.slice(0, 80);
  throw new TypeError(`is ${found}, where ${wanted} was due`);
}
