/**
 * A strict reader of JSON (RFC 8259) that keeps what `JSON.parse` throws away: whether a number was written as an
 * integer, and that nesting is bounded. Of a member that stands twice, the last counts.
 */

import { hasLoneSurrogate } from "./bytes.ts";
import { MalformedMessage } from "./errors.ts";

/** A number written with a fraction or an exponent: no field of the protocol is one. */
export class NotAnInteger {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Objects are Maps: a member may have any name. Integers beyond 2^53 are rounded, and so above every bound. */
export type JsonValue = null | boolean | number | NotAnInteger | string | JsonValue[] | Map<string, JsonValue>;

/** Arrays and objects within each other, at most: the reader calls itself once for each. */
export const MOST_NESTING = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const HEX4 = /[0-9a-fA-F]{4}/y;
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ["\\", "\\"],
  ["/", "/"],
  ["b", "\b"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
]);
const WORDS: readonly (readonly [string, JsonValue])[] = [
  ["null", null],
  ["true", true],
  ["false", false],
];

/** Read one JSON text; MalformedMessage where it is none, nested too deep, or with half of a surrogate pair. */
export function readJson(text: string): JsonValue {
  if (hasLoneSurrogate(text)) throw new MalformedMessage("the JSON text holds half of a surrogate pair");
  const reader = new JsonReader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class JsonReader {
  private place = 0;
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  value(depth: number): JsonValue {
    this.match(SPACE);
    const value = this.bareValue(depth);
    this.match(SPACE);
    return value;
  }

  end(): void {
    if (this.place < this.text.length) this.fail("something follows the JSON text");
  }

  private bareValue(depth: number): JsonValue {
    const first = this.text.charAt(this.place);
    if (first === '"') return this.string();
    if (first === "{" || first === "[") {
      if (depth >= MOST_NESTING) this.fail(`JSON is nested deeper than ${MOST_NESTING} levels`);
      return first === "{" ? this.object(depth) : this.array(depth);
    }
    for (const [word, meaning] of WORDS) {
      if (this.text.startsWith(word, this.place)) {
        this.place += word.length;
        return meaning;
      }
    }
    return this.number();
  }

  private object(depth: number): Map<string, JsonValue> {
    const members = new Map<string, JsonValue>();
    this.expect("{");
    this.match(SPACE);
    if (this.skip("}")) return members;
    do {
      this.match(SPACE);
      const name = this.string();
      this.match(SPACE);
      this.expect(":");
      members.set(name, this.value(depth + 1));
    } while (this.skip(","));
    this.expect("}");
    return members;
  }

  private array(depth: number): JsonValue[] {
    const items: JsonValue[] = [];
    this.expect("[");
    this.match(SPACE);
    if (this.skip("]")) return items;
    do {
      items.push(this.value(depth + 1));
    } while (this.skip(","));
    this.expect("]");
    return items;
  }

  private number(): number | NotAnInteger {
    NUMBER.lastIndex = this.place;
    const found = NUMBER.exec(this.text);
    if (found === null) return this.fail("there is no JSON value");
    this.place = NUMBER.lastIndex;
    if (found[1] !== undefined || found[2] !== undefined) return new NotAnInteger(found[0]);
    return Number(found[0]) + 0;
  }

  private string(): string {
    this.expect('"');
    let value = this.plain();
    while (!this.skip('"')) {
      if (!this.skip("\\")) this.fail("a string is not closed or holds a control character");
      value += this.escape() + this.plain();
    }
    if (hasLoneSurrogate(value)) this.fail("a string holds half of a surrogate pair");
    return value;
  }

  /** Take what stands for itself: up to a quotation mark, a backslash or a control character. */
  private plain(): string {
    const start = this.place;
    while (this.place < this.text.length && isPlain(this.text.charCodeAt(this.place))) this.place += 1;
    return this.text.slice(start, this.place);
  }

  private escape(): string {
    if (this.skip("u")) {
      const digits = this.match(HEX4);
      if (digits === "") this.fail("an escape has no four hexadecimal digits");
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const escaped = ESCAPES.get(this.text.charAt(this.place));
    if (escaped === undefined) return this.fail("a string holds an unknown escape");
    this.place += 1;
    return escaped;
  }

  /** Take what the sticky pattern matches here; the empty text where it does not match. */
  private match(pattern: RegExp): string {
    pattern.lastIndex = this.place;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.place += found.length;
    return found;
  }

  private skip(char: string): boolean {
    if (this.text.charAt(this.place) !== char) return false;
    this.place += 1;
    return true;
  }

  private expect(char: string): void {
    if (!this.skip(char)) this.fail(`there is no ${char}`);
  }

  private fail(what: string): never {
    throw new MalformedMessage(`not JSON: ${what} at character ${this.place}`);
  }
}

function isPlain(code: number): boolean {
  return code >= 0x20 && code !== QUOTE && code !== BACKSLASH;
}
