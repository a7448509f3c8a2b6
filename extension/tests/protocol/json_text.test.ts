/** The reader of JSON: what `JSON.parse` would let pass or throw away. */
import { expect, test } from "vitest";
import { MalformedMessage } from "../../src/protocol/errors.ts";
import { type JsonValue, MOST_NESTING, NotAnInteger, readJson } from "../../src/protocol/json_text.ts";

function plain(value: JsonValue): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, member]) => [name, plain(member)]));
  if (value instanceof NotAnInteger) return Number(value.text);
  return Array.isArray(value) ? value.map(plain) : value;
}

test.each([
  "null",
  "true",
  "false",
  "0",
  "-7",
  "9007199254740991",
  "1.5",
  "-0.25e-3",
  "1E+2",
  '""',
  '"a\\"b\\\\c\\/d\\b\\f\\n\\r\\te"',
  '"\\u0041\\ud83c\\udf3e\\u00FC"',
  '"\u2028\u007f草"',
  "[]",
  "[ ]",
  "{}",
  "{ }",
  ' \t\r\n[1 , [ 2 ] ,{"a" : {"b":[]} , "c":null}] \n',
  '{"":1,"constructor":2,"a\\u0062":3}',
])("%s reads as JSON.parse reads it", (text) => {
  expect(plain(readJson(text))).toEqual(JSON.parse(text));
});

test.each([
  "",
  " ",
  "nul",
  "True",
  "undefined",
  "NaN",
  "Infinity",
  "-",
  "+1",
  "01",
  "-01",
  ".5",
  "1.",
  "1e",
  "0x10",
  "1_000",
  "1 2",
  "'a'",
  '"',
  '"a',
  '"\\',
  '"\\"',
  '"\\x41"',
  '"\\u12"',
  '"\\u+123"',
  '"\\U0041"',
  '"\t"',
  '"\n"',
  '"\0"',
  "[",
  "]",
  "[1",
  "[1,]",
  "[,1]",
  "[1 2]",
  "{",
  "}",
  "{1:2}",
  "{a:1}",
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  '{"a":1 "b":2}',
  "[}",
  "{]",
  "//\n1",
  "/**/1",
  "\ufeff1",
  "1\u00a0",
  "\u2028[]",
  "1\0",
])("%j is no JSON", (text) => {
  expect(() => readJson(text)).toThrow(MalformedMessage);
  expect(() => JSON.parse(text)).toThrow(SyntaxError);
});

test.each([
  '"\\ud800"',
  '"\\udc00"',
  '"\\ud83cx"',
  '"\\ud83c\\u0041"',
  '"\\udf3e\\ud83c"',
  '{"\\ud800":1}',
  '"\ud800"',
  '"\ud83c\\udf3e"',
])("%j holds half of a surrogate pair", (text) => {
  expect(() => readJson(text)).toThrow(MalformedMessage);
});

test("only a number written as an integer is one", () => {
  for (const text of ["1.0", "1e2", "100e-2", "-0.0", "0e0", "1E400", "9007199254740991.0"]) {
    expect(readJson(text)).toEqual(new NotAnInteger(text));
  }
  expect(Object.is(readJson("-0"), 0)).toBe(true);
  expect(readJson("9007199254740993")).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
  expect(readJson("9".repeat(5_000))).toBe(Number.POSITIVE_INFINITY);
  expect(readJson(`-${"9".repeat(5_000)}`)).toBe(Number.NEGATIVE_INFINITY);
});

test("of a member that stands twice the last counts, and no name is special", () => {
  const value = readJson('{"a":1,"__proto__":{"x":1},"a":2}');
  expect(value).toEqual(
    new Map<string, JsonValue>([
      ["a", 2],
      ["__proto__", new Map([["x", 1]])],
    ]),
  );
});

test("nesting is bounded, however deep", () => {
  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  expect(() => readJson(nested(MOST_NESTING))).not.toThrow();
  expect(() => readJson(`{"a":${nested(MOST_NESTING - 1)}}`)).not.toThrow();
  for (const depth of [MOST_NESTING + 1, 1_000, 1_000_000]) {
    expect(() => readJson(nested(depth))).toThrow(MalformedMessage);
    expect(() => readJson("[".repeat(depth))).toThrow(MalformedMessage);
    expect(() => readJson('{"a":'.repeat(depth))).toThrow(MalformedMessage);
  }
});

test("a long string and a wide array are read", () => {
  const long = "草".repeat(1_000_000);
  expect(readJson(JSON.stringify(long))).toBe(long);
  expect(readJson(`"${"\\n".repeat(500_000)}"`)).toBe("\n".repeat(500_000));
  expect(readJson(`[${"0,".repeat(200_000)}0]`)).toHaveLength(200_001);
});
