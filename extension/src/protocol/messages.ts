/**
 * Session messages between dispatcher and node: JSON text frames, told apart by `type` (PROTOCOL.md, section 5).
 *
 * Jobs, results and the hello are signed statements and travel in binary frames (`statements.ts`).
 */

import rules from "../../schema/rules-v1.json";
import { toUtf8 } from "./bytes.ts";
import { MalformedMessage } from "./errors.ts";
import { readJson } from "./json_text.ts";
import { LIMITS } from "./limits.ts";
import { messageTypes, readValue, type TypeName, writeValue } from "./schema.ts";
import type {
  Accept,
  Ack,
  Availability,
  Balance,
  Cancel,
  Challenge,
  Drain,
  Failure,
  Hop,
  HopVerdict,
  Ping,
  Pong,
  Refuse,
  Reputation,
  SessionError,
  Welcome,
} from "./types.ts";

/** What a dispatcher may say. */
export type FromDispatcher =
  | Challenge
  | Welcome
  | HopVerdict
  | Ack
  | Cancel
  | Pong
  | Balance
  | Reputation
  | Drain
  | SessionError;
/** What a node may say. */
export type FromNode = Accept | Refuse | Failure | Hop | Availability | Ping | SessionError;

const DISPATCHER_TYPES = typesSentBy("dispatcher");
const NODE_TYPES = typesSentBy("node");

/** Encode a message as the text of one frame; MalformedMessage where it is outside of its bounds. */
export function encodeMessage(message: FromDispatcher | FromNode): string {
  const name = DISPATCHER_TYPES.get(message.type) ?? NODE_TYPES.get(message.type);
  if (name === undefined) throw new MalformedMessage("no message has this type");
  const text = writeValue(name, message);
  checkLength(text);
  return text;
}

/** Decode a text frame that a dispatcher sent; MalformedMessage otherwise. Unknown members are ignored. */
export function decodeFromDispatcher(text: string): FromDispatcher {
  return decode(text, DISPATCHER_TYPES, "dispatcher") as FromDispatcher;
}

/** Decode a text frame that a node sent; MalformedMessage otherwise. Unknown members are ignored. */
export function decodeFromNode(text: string): FromNode {
  return decode(text, NODE_TYPES, "node") as FromNode;
}

/** The messages of one side by their `type`: those of the schema that the session's table lets it send. */
function typesSentBy(side: string): ReadonlyMap<string, TypeName> {
  const sent = new Set(rules.transitions.filter(([, sender]) => sender === side).map(([, , name]) => name));
  return new Map([...messageTypes()].filter(([tag]) => sent.has(tag)));
}

function decode(text: string, types: ReadonlyMap<string, TypeName>, sender: string): unknown {
  checkLength(text);
  const value = readJson(text);
  if (!(value instanceof Map)) throw new MalformedMessage(`a ${sender}'s message is a JSON object`);
  const tag = value.get("type");
  const name = typeof tag === "string" ? types.get(tag) : undefined;
  if (name === undefined) throw new MalformedMessage(`a ${sender} sends no message of this type`);
  return readValue(name, value);
}

function checkLength(text: string): void {
  // A UTF-16 unit is at least one byte of UTF-8: a longer text need not be encoded to be refused.
  if (text.length > LIMITS.TEXT_FRAME_BYTES || toUtf8(text).length > LIMITS.TEXT_FRAME_BYTES) {
    throw new MalformedMessage(`a text frame is limited to ${LIMITS.TEXT_FRAME_BYTES} bytes`);
  }
}
