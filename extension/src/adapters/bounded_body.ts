/**
 * A response's body, which the browser hands over decoded: bounded while it streams in, then in this node's own encoding
 * (PROTOCOL.md, section 4.3).
 */

import type { FetchedPage, NotFetched } from "../node/fetching.ts";
import type { Bytes } from "../protocol/bytes.ts";
import { sha256Hex } from "../protocol/keys.ts";
import { LIMITS } from "../protocol/limits.ts";

const ENCODINGS: readonly string[] = ["gzip", "deflate", "br", "zstd"];
const ENCODING_SHOWN = 40;
const FIRST_BUFFER_BYTES = 65_536;
/** A 304 may say the length of a body that it does not have (RFC 9110, section 8.6). */
const BODILESS: readonly number[] = [204, 205, 304];
const EXPANDS = `the body expands more than ${LIMITS.BODY_RATIO}-fold`;
const GZIP_MAGIC: readonly number[] = [0x1f, 0x8b];

/** Bounds on a body in bytes: as the site sends it, and once decoded. */
export interface BodyBounds {
  readonly max_wire_bytes: number;
  readonly max_body_bytes: number;
}

/** What the response's head says of the body; `content_length` counts it as sent, null where it is not said. */
export interface BodyHead {
  readonly encoding: string;
  readonly content_length: number | null;
}

/** A body encoded for the record. */
export type EncodedBody = Pick<FetchedPage, "content_encoding" | "payload" | "body_hash" | "body_bytes">;

/** Read what describes a body; `body_corrupt` for more than one layer of encoding or an unknown one. */
export function readBodyHead({ headers, status }: Pick<Response, "headers" | "status">): BodyHead | NotFetched {
  const layers = (headers.get("content-encoding") ?? "")
    .split(",")
    .map((layer) => layer.trim().toLowerCase())
    .filter((layer) => layer !== "" && layer !== "identity");
  if (layers.length > 1) return corrupt(`the body has ${layers.length} layers of encoding; one is accepted`);
  const encoding = layers[0] === "x-gzip" ? "gzip" : (layers[0] ?? "identity");
  if (encoding !== "identity" && !ENCODINGS.includes(encoding)) {
    const shown = encoding.slice(0, ENCODING_SHOWN);
    return corrupt(`the body's encoding '${shown}' is not one of ${ENCODINGS.join(", ")}`);
  }
  const length = BODILESS.includes(status) ? "0" : (headers.get("content-length") ?? "");
  return { encoding, content_length: /^[0-9]{1,15}$/.test(length) ? Number(length) : null };
}

/**
 * Takes a body's decoded pieces, and tells the owner's limits of the bytes received over the network.
 *
 * The browser tells those only at the end. Until then an encoded body counts as its decoded bytes, at most its
 * Content-Length: never less than came, so a limit is never passed; `finish` tells the difference, which may be negative.
 */
export class BoundedBody {
  private buffer: Bytes = new Uint8Array(FIRST_BUFFER_BYTES);
  private bodyBytes = 0;
  private counted = 0;

  constructor(
    private readonly head: BodyHead,
    private readonly bounds: BodyBounds,
    private readonly countBytes: (count: number) => boolean,
  ) {}

  /** Refuse a body that says beforehand that it is too large. */
  begin(): NotFetched | null {
    return this.tooLargeAsSent(this.head.content_length ?? 0);
  }

  /** Take the next decoded piece; a value where the fetch ends here. */
  feed(piece: Uint8Array): NotFetched | null {
    const start = this.bodyBytes;
    this.bodyBytes += piece.length;
    const may_continue = this.count(Math.min(this.bodyBytes, this.longest()) - this.counted);
    const too_large =
      (this.head.encoding === "identity" ? this.tooLargeAsSent(this.bodyBytes) : null) ?? this.tooLargeDecoded();
    if (too_large !== null) return too_large;
    if (!may_continue) return capReached();
    this.keep(piece, start);
    return null;
  }

  /** The whole body, checked and encoded anew. `wire_bytes`: as the browser counted, null where it does not tell. */
  async finish(wire_bytes: number | null): Promise<EncodedBody | NotFetched> {
    const received = wire_bytes ?? this.head.content_length ?? this.bodyBytes;
    const may_continue = this.count(received - this.counted);
    const body = this.buffer.subarray(0, this.bodyBytes);
    const refused =
      this.tooLargeAsSent(received) ??
      this.undecoded(body, wire_bytes) ??
      (expandsTooMuch(body.length, received) ? tooLarge(EXPANDS) : null);
    if (refused !== null) return refused;
    if (!may_continue) return capReached();
    return await encodeBody(body, this.bounds.max_wire_bytes);
  }

  private keep(piece: Uint8Array, start: number): void {
    if (this.bodyBytes > this.buffer.length) {
      const larger = new Uint8Array(Math.max(this.bodyBytes, this.buffer.length * 2));
      larger.set(this.buffer.subarray(0, start));
      this.buffer = larger;
    }
    this.buffer.set(piece, start);
  }

  private count(count: number): boolean {
    this.counted += count;
    return count === 0 || this.countBytes(count) || count < 0;
  }

  private longest(): number {
    return this.head.encoding === "identity" ? Number.POSITIVE_INFINITY : (this.head.content_length ?? this.bodyBytes);
  }

  private tooLargeAsSent(bytes: number): NotFetched | null {
    const { max_wire_bytes } = this.bounds;
    return bytes > max_wire_bytes ? tooLarge(`the body is over ${max_wire_bytes} bytes as sent`) : null;
  }

  private tooLargeDecoded(): NotFetched | null {
    const { max_body_bytes } = this.bounds;
    return this.bodyBytes > max_body_bytes ? tooLarge(`the body is over ${max_body_bytes} bytes once decoded`) : null;
  }

  /** Browsers leave some bodies in the encoding that they came in: Firefox what it did not ask for. */
  private undecoded(body: Bytes, wire_bytes: number | null): NotFetched | null {
    const { encoding } = this.head;
    if (encoding === "identity" || body.length === 0 || wire_bytes !== body.length) return null;
    if (encoding === "gzip" && !GZIP_MAGIC.every((byte, place) => body[place] === byte)) return null;
    return corrupt(`the browser does not decode the body's encoding '${encoding}' here`);
  }
}

/**
 * Encode a body for its record: gzip where that is smaller and a decoder would take it, else as it is. `body_too_large`
 * where neither fits.
 */
export async function encodeBody(body: Bytes, max_wire_bytes: number): Promise<EncodedBody | NotFetched> {
  const packed = await gzip(body);
  const expands = expandsTooMuch(body.length, packed.length);
  const is_packed = packed.length < body.length && !expands;
  const payload = is_packed ? packed : body.slice();
  if (payload.length > max_wire_bytes) {
    return tooLarge(expands ? EXPANDS : `the body is over ${max_wire_bytes} bytes as sent`);
  }
  return {
    content_encoding: is_packed ? "gzip" : "identity",
    payload,
    body_hash: await sha256Hex(body),
    body_bytes: body.length,
  };
}

async function gzip(body: Bytes): Promise<Bytes> {
  const packed = new Blob([body]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

function expandsTooMuch(body_bytes: number, wire_bytes: number): boolean {
  return body_bytes > Math.max(LIMITS.BODY_RATIO_FLOOR_BYTES, wire_bytes * LIMITS.BODY_RATIO);
}

function tooLarge(detail: string): NotFetched {
  return { kind: "failure", reason: "body_too_large", detail };
}

function corrupt(detail: string): NotFetched {
  return { kind: "failure", reason: "body_corrupt", detail };
}

function capReached(): NotFetched {
  const detail = "the owner's limit of bytes a day was reached on the way";
  return { kind: "refusal", reason: "cap_reached", detail };
}
