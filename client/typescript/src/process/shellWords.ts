/** Splits a command line into words, as a POSIX shell would. */

const WHITE_SPACE = " \t\r\n";
const ESCAPABLE_IN_QUOTES = '"\\$`\n';

/**
 * Split a command line at white space, with single and double quotes and backslashes. On Windows a
 * backslash is part of a path.
 *
 * @throws SyntaxError if a quotation or an escape is not closed.
 */
export function shellWords(line: string, windows = process.platform === "win32"): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote = "";
  let escaped = false;
  for (const character of line) {
    if (escaped) {
      const literal = quote === '"' && !ESCAPABLE_IN_QUOTES.includes(character);
      word = `${word ?? ""}${literal ? "\\" : ""}${character}`;
      escaped = false;
    } else if (character === "\\" && quote !== "'" && !windows) {
      escaped = true;
    } else if (quote !== "") {
      word = character === quote ? word : `${word}${character}`;
      quote = character === quote ? "" : quote;
    } else if (character === "'" || character === '"') {
      quote = character;
      word ??= "";
    } else if (!WHITE_SPACE.includes(character)) {
      word = `${word ?? ""}${character}`;
    } else if (word !== null) {
      words.push(word);
      word = null;
    }
  }
  if (quote !== "" || escaped) {
    throw new SyntaxError("a quotation or an escape is not closed");
  }
  return word === null ? words : [...words, word];
}
