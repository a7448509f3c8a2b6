/**
 * Reads and writes values by the exported schema (`schema/meadow-v1.json`, JSON Schema 2020-12), whose members stand in
 * canonical order. Only the schema's own vocabulary is known: what `protocol/` exports, and nothing else.
 */

import document from "../../schema/meadow-v1.json";
import { MalformedMessage } from "./errors.ts";
import { type JsonValue, readJson } from "./json_text.ts";

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly (string | number)[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly items?: Schema;
  readonly prefixItems?: readonly Schema[];
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
}

/** A name in the schema's `$defs`. */
export type TypeName = keyof typeof document.$defs;

const DEFINITIONS: Readonly<Record<string, Schema>> = document.$defs;
const REFERENCE = "#/$defs/";
const patterns = new Map<string, RegExp>();

/** The schema's messages by their tag: the one value of their member `type`. */
export function messageTypes(): ReadonlyMap<string, TypeName> {
  const tagged = new Map<string, TypeName>();
  for (const name of Object.keys(DEFINITIONS) as TypeName[]) {
    const { type } = definition(name).properties ?? {};
    const tag = type?.enum?.[0];
    if (typeof tag === "string") tagged.set(tag, name);
  }
  return tagged;
}

/** Check a JSON value against a type and fill in defaults; MalformedMessage names the member that does not hold. */
export function readValue(name: TypeName, value: JsonValue): unknown {
  return read(definition(name), value, name);
}

/**
 * Write a value as compact JSON, members in the schema's order. MalformedMessage where it is no value of the type:
 * what is written can be read.
 */
export function writeValue(name: TypeName, value: unknown): string {
  const text = JSON.stringify(ordered(definition(name), value, name));
  readValue(name, readJson(text));
  return text;
}

/** Write a value that `readValue` returned as compact JSON, members in the schema's order. */
export function writeRead(name: TypeName, value: unknown): string {
  return JSON.stringify(ordered(definition(name), value, name));
}

function definition(name: string): Schema {
  const schema = DEFINITIONS[name];
  if (schema === undefined) throw new TypeError(`the schema has no type ${name}`);
  return schema;
}

function resolved(schema: Schema): Schema {
  return schema.$ref === undefined ? schema : definition(schema.$ref.slice(REFERENCE.length));
}

function read(given: Schema, value: JsonValue, path: string): unknown {
  const schema = resolved(given);
  if (schema.anyOf !== undefined) return read(chosen(schema.anyOf, value), value, path);
  if (schema.enum !== undefined) {
    if ((typeof value === "string" || typeof value === "number") && schema.enum.includes(value)) return value;
    return fail(path, `one of ${schema.enum.join(", ")}`);
  }
  switch (schema.type) {
    case "object":
      return readObject(schema, value, path);
    case "array":
      return readArray(schema, value, path);
    case "string":
      return readString(schema, value, path);
    case "integer":
      return readInteger(schema, value, path);
    case "boolean":
      return typeof value === "boolean" ? value : fail(path, "true or false");
    case "null":
      return value === null ? null : fail(path, "null");
    default:
      throw new TypeError(`the schema says of ${path} what this reader does not know`);
  }
}

/** The option that is for null, or the one that is not: the schema has no other unions. */
function chosen(options: readonly Schema[], value: unknown): Schema {
  const option = options.find((one) => (one.type === "null") === (value === null));
  if (option === undefined) throw new TypeError("the schema has a union that is not with null");
  return option;
}

function readObject(schema: Schema, value: JsonValue, path: string): unknown {
  if (!(value instanceof Map)) return fail(path, "an object");
  const members: [string, unknown][] = [];
  const properties = schema.properties ?? {};
  for (const [name, property] of Object.entries(properties)) {
    const member = value.get(name);
    if (member !== undefined) members.push([name, read(property, member, `${path}.${name}`)]);
    else if (schema.required?.includes(name)) fail(`${path}.${name}`, "a value");
    else members.push([name, property.default]);
  }
  if (schema.additionalProperties === false) {
    for (const name of value.keys()) {
      if (!Object.hasOwn(properties, name)) fail(path, "no unknown member");
    }
  }
  return Object.fromEntries(members);
}

function readArray(schema: Schema, value: JsonValue, path: string): unknown {
  if (!Array.isArray(value)) return fail(path, "a list");
  const { minItems = 0, maxItems = Number.POSITIVE_INFINITY, prefixItems, items } = schema;
  if (value.length < minItems || value.length > maxItems) return fail(path, `${minItems} to ${maxItems} items`);
  if (prefixItems !== undefined) {
    return prefixItems.map((item, place) => read(item, value[place] ?? null, `${path}[${place}]`));
  }
  if (items === undefined) throw new TypeError(`the schema says nothing of the items of ${path}`);
  return value.map((item, place) => read(items, item, `${path}[${place}]`));
}

function readString(schema: Schema, value: JsonValue, path: string): string {
  if (typeof value !== "string") return fail(path, "a text");
  const { minLength = 0, maxLength = Number.POSITIVE_INFINITY } = schema;
  if (isShorter(value, minLength) || !isShorter(value, maxLength + 1)) {
    return fail(path, `${minLength} to ${maxLength} characters`);
  }
  if (schema.pattern !== undefined && !compiled(schema.pattern).test(value)) fail(path, "a text of another form");
  return value;
}

/** Tell whether a text has fewer code points than `bound`, without counting those of a hostile one. */
function isShorter(text: string, bound: number): boolean {
  if (text.length < bound) return true;
  if (text.length >= 2 * bound) return false;
  let count = 0;
  for (const _ of text) count += 1;
  return count < bound;
}

function readInteger(schema: Schema, value: JsonValue, path: string): number {
  if (typeof value !== "number") return fail(path, "an integer");
  const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = schema;
  return value >= minimum && value <= maximum ? value : fail(path, `${minimum} to ${maximum}`);
}

function compiled(pattern: string): RegExp {
  const known = patterns.get(pattern);
  if (known !== undefined) return known;
  const made = new RegExp(pattern, "u");
  patterns.set(pattern, made);
  return made;
}

/** A copy whose objects have the schema's members in the schema's order. Bounds are not checked. */
function ordered(given: Schema, value: unknown, path: string): unknown {
  const schema = resolved(given);
  if (schema.anyOf !== undefined) return ordered(chosen(schema.anyOf, value), value, path);
  if (schema.type === "object") {
    if (typeof value !== "object" || value === null) return fail(path, "an object");
    const members = value as Readonly<Record<string, unknown>>;
    return Object.fromEntries(
      Object.entries(schema.properties ?? {}).map(([name, property]) => [
        name,
        ordered(property, members[name], `${path}.${name}`),
      ]),
    );
  }
  if (schema.type === "array") {
    if (!Array.isArray(value)) return fail(path, "a list");
    return value.map((item: unknown, place) =>
      ordered(schema.prefixItems?.[place] ?? schema.items ?? {}, item, `${path}[${place}]`),
    );
  }
  return isPlain(value) ? value : fail(path, "a text, an integer, true, false or null");
}

function isPlain(value: unknown): boolean {
  return value === null || typeof value === "string" || typeof value === "boolean" || Number.isSafeInteger(value);
}

function fail(path: string, expected: string): never {
  throw new MalformedMessage(`${path}: expected ${expected}`);
}
