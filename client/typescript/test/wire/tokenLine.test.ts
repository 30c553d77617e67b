import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { readPlainToken } from "../../src/wire/tokenLine.js";

/** Read the fields of a plain token with `JSON.parse`. */
function parsed(line: string): unknown {
  const { id, seq, token, token_id: tokenId, channel = null } = JSON.parse(line);
  return { id, seq, token, tokenId, channel };
}

const PLAIN = [
  '{"id":"r1","type":"token","seq":0,"token":"5","token_id":20}',
  '{"id":"r1","type":"token","seq":10,"token":"","token_id":0}',
  '{"id":"é–😀","type":"token","seq":123456789012345,"token":" ä😀\u2028\u0085\u007f","token_id":999999999999999}',
  '{"id":"r1","type":"token","seq":7,"token":"{}[],:","token_id":151935}',
  '{"id":"r1","type":"token","seq":8,"token":"hm","token_id":5,"channel":"thinking"}',
];

const OTHERS: Record<string, string> = {
  "an escape": '{"id":"r1","type":"token","seq":0,"token":"a\\n","token_id":1}',
  "an escape in the id": '{"id":"r\\u0031","type":"token","seq":0,"token":"a","token_id":1}',
  "a raw control character": '{"id":"r1","type":"token","seq":0,"token":"a\tb","token_id":1}',
  "a final mark": '{"id":"r1","type":"token","seq":0,"token":"a","token_id":1,"final":true}',
  "a field before": '{"flush":true,"id":"r1","type":"token","seq":0,"token":"a","token_id":1}',
  "a leading zero": '{"id":"r1","type":"token","seq":01,"token":"a","token_id":1}',
  "a minus sign": '{"id":"r1","type":"token","seq":0,"token":"a","token_id":-1}',
  "a fraction": '{"id":"r1","type":"token","seq":0.5,"token":"a","token_id":1}',
  "an exponent": '{"id":"r1","type":"token","seq":0,"token":"a","token_id":1e3}',
  "a number beyond a double": `{"id":"r1","type":"token","seq":0,"token":"a","token_id":${"9".repeat(16)}}`,
  "no number": '{"id":"r1","type":"token","seq":,"token":"a","token_id":1}',
  "another type": '{"id":"r1","type":"done","seq":0,"token":"a","token_id":1}',
  "another order": '{"type":"token","id":"r1","seq":0,"token":"a","token_id":1}',
  "white space": '{"id": "r1","type":"token","seq":0,"token":"a","token_id":1}',
  "another channel":
    '{"id":"r1","type":"token","seq":0,"token":"a","token_id":1,"channel":"aside"}',
  "more after a channel":
    '{"id":"r1","type":"token","seq":0,"token":"a","token_id":1,"channel":"thinking"}}',
  "more after it": '{"id":"r1","type":"token","seq":0,"token":"a","token_id":1}}',
  "a repeated name": '{"id":"r1","type":"token","seq":0,"token":"a","token":"b","token_id":1}',
};

suite("a plain token's line is read by hand as JSON.parse reads it", () => {
  for (const line of PLAIN) {
    test(line, () => {
      assert.deepEqual(readPlainToken(line), parsed(line));
    });
    test(`no beginning of ${line}`, () => {
      for (let end = 0; end < line.length; end += 1) {
        assert.equal(readPlainToken(line.slice(0, end)), null, line.slice(0, end));
      }
    });
  }
});

suite("any other line is left to JSON.parse", () => {
  for (const [name, line] of Object.entries(OTHERS)) {
    test(name, () => {
      assert.equal(readPlainToken(line), null);
    });
  }
});

test("a line with any character changed is read as JSON.parse reads it, or not at all", () => {
  const characters = '{}[]":,\\ \t0129-+.eax\u0000\u00e9';
  for (const line of [
    '{"id":"r1","type":"token","seq":41,"token":"ab","token_id":20}',
    '{"id":"r1","type":"token","seq":41,"token":"ab","token_id":20,"channel":"thinking"}',
  ]) {
    for (let at = 0; at < line.length; at += 1) {
      for (const character of characters) {
        const changed = line.slice(0, at) + character + line.slice(at + 1);
        const token = readPlainToken(changed);
        if (token !== null) {
          assert.deepEqual(token, parsed(changed), changed);
          assert.equal(JSON.parse(changed).type, "token", changed);
        }
      }
    }
  }
});
