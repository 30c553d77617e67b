import type { TestContext } from "node:test";

/** A clock that moves by hand, for code that uses intervals. */
export class Clock {
  readonly #timers: TestContext["mock"]["timers"];
  #now = 0;

  constructor({ mock }: TestContext) {
    mock.method(performance, "now", () => this.#now);
    mock.timers.enable({ apis: ["setInterval"] });
    this.#timers = mock.timers;
  }

  pass(ms: number): void {
    this.#now += ms;
    this.#timers.tick(ms);
  }
}
