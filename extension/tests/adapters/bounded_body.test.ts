import { describe, expect, test } from "vitest";
import { type BodyHead, BoundedBody, encodeBody, readBodyHead } from "../../src/adapters/bounded_body.ts";
import type { NotFetched } from "../../src/node/fetching.ts";
import { sha256Hex } from "../../src/protocol/keys.ts";

const BOUNDS = { max_wire_bytes: 5_242_880, max_body_bytes: 20_971_520 };
const IDENTITY: BodyHead = { encoding: "identity", content_length: null };
const GZIP: BodyHead = { encoding: "gzip", content_length: null };

function noise(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let start = 0; start < size; start += 65_536) crypto.getRandomValues(bytes.subarray(start, start + 65_536));
  return bytes;
}

function text(size: number): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode("the meadow and the river ".repeat(Math.ceil(size / 25)).slice(0, size));
}

async function unpacked(payload: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([payload]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Feed a body in pieces; what came of it, and what was counted. */
async function fed(
  body: Uint8Array,
  given: {
    head?: BodyHead;
    bounds?: Partial<typeof BOUNDS>;
    wire_bytes?: number;
    daily_bytes?: number;
    piece?: number;
  },
) {
  const counted: number[] = [];
  let sum = 0;
  const bounded = new BoundedBody(given.head ?? IDENTITY, { ...BOUNDS, ...given.bounds }, (count) => {
    counted.push(count);
    sum += count;
    return sum <= (given.daily_bytes ?? Number.POSITIVE_INFINITY);
  });
  let refused = bounded.begin();
  const step = given.piece ?? 1_000;
  let taken = 0;
  for (let start = 0; refused === null && start < body.length; start += step) {
    const piece = body.subarray(start, start + step);
    taken += piece.length;
    refused = bounded.feed(piece);
  }
  return { outcome: refused ?? (await bounded.finish(given.wire_bytes ?? null)), counted, taken };
}

function tooLarge(detail: string): NotFetched {
  return { kind: "failure", reason: "body_too_large", detail };
}

describe("the head of a body", () => {
  const read = (headers: Record<string, string>, status = 200) =>
    readBodyHead({ headers: new Headers(headers), status });

  test.each([
    [{}, { encoding: "identity", content_length: null }],
    [{ "content-encoding": "" }, { encoding: "identity", content_length: null }],
    [{ "content-encoding": "identity, ,IDENTITY" }, { encoding: "identity", content_length: null }],
    [
      { "content-encoding": " GZip ", "content-length": "12" },
      { encoding: "gzip", content_length: 12 },
    ],
    [{ "content-encoding": "x-gzip" }, { encoding: "gzip", content_length: null }],
    [{ "content-encoding": "br, identity" }, { encoding: "br", content_length: null }],
    [
      { "content-encoding": "zstd", "content-length": "-1" },
      { encoding: "zstd", content_length: null },
    ],
    [
      { "content-encoding": "deflate", "content-length": "12, 12" },
      { encoding: "deflate", content_length: null },
    ],
  ])("%j", (headers, expected) => {
    expect(read(headers)).toEqual(expected);
  });

  test("has one layer of a known encoding", () => {
    expect(read({ "content-encoding": "gzip, br" })).toEqual({
      kind: "failure",
      reason: "body_corrupt",
      detail: "the body has 2 layers of encoding; one is accepted",
    });
    expect(read({ "content-encoding": "r".repeat(300) })).toEqual({
      kind: "failure",
      reason: "body_corrupt",
      detail: `the body's encoding '${"r".repeat(40)}' is not one of gzip, deflate, br, zstd`,
    });
  });

  test.each([204, 205, 304])("of status %d says no length", (status) => {
    expect(read({ "content-length": "6000000" }, status)).toEqual({ encoding: "identity", content_length: 0 });
  });
});

describe("a body", () => {
  test.each([1, 7, 1_000, 65_536, 1 << 20])("is the same in pieces of %d bytes", async (piece) => {
    const body = text(200_000);
    const { outcome, counted } = await fed(body, { piece });
    expect(outcome).toMatchObject({ content_encoding: "gzip", body_bytes: 200_000, body_hash: await sha256Hex(body) });
    expect(counted.reduce((sum, one) => sum + one, 0)).toBe(200_000);
    const { payload } = outcome as { payload: Uint8Array<ArrayBuffer> };
    expect(await sha256Hex(await unpacked(payload))).toBe(await sha256Hex(body));
  });

  test("stops at the first byte too many as sent", async () => {
    const bounds = { max_wire_bytes: 2_000 };
    expect(await fed(text(2_000), { bounds })).toMatchObject({ outcome: { body_bytes: 2_000 } });
    const over = await fed(text(900_000), { bounds });
    expect(over).toMatchObject({ outcome: tooLarge("the body is over 2000 bytes as sent"), taken: 3_000 });
  });

  test("stops at the first byte too many once decoded", async () => {
    const bounds = { max_body_bytes: 2_000 };
    expect(await fed(text(2_000), { bounds, head: GZIP, wire_bytes: 90 })).toMatchObject({
      outcome: { body_bytes: 2_000 },
    });
    const over = await fed(text(900_000), { bounds, head: GZIP });
    expect(over).toMatchObject({ outcome: tooLarge("the body is over 2000 bytes once decoded"), taken: 3_000 });
  });

  test("that says it is too large is not begun", async () => {
    const head = { encoding: "br", content_length: 5_242_881 };
    expect(await fed(text(10), { head })).toEqual({
      outcome: tooLarge("the body is over 5242880 bytes as sent"),
      counted: [],
      taken: 0,
    });
  });

  test("that was too large as sent is refused at its end", async () => {
    const { outcome } = await fed(text(10_000), { head: GZIP, wire_bytes: 5_242_881 });
    expect(outcome).toEqual(tooLarge("the body is over 5242880 bytes as sent"));
  });

  test("may expand 200-fold, or to 1 MiB", async () => {
    const expanding = (size: number, wire_bytes: number) => fed(noise(size), { head: GZIP, wire_bytes, piece: 65_536 });
    expect((await expanding(1_048_576, 10)).outcome).toMatchObject({ body_bytes: 1_048_576 });
    expect((await expanding(2_000_000, 10_000)).outcome).toMatchObject({ body_bytes: 2_000_000 });
    expect((await expanding(2_000_001, 10_000)).outcome).toEqual(tooLarge("the body expands more than 200-fold"));
  });

  test.each([
    ["br", text(300), "the browser does not decode the body's encoding 'br' here"],
    ["gzip", Uint8Array.of(0x1f, 0x8b, 8, 0), "the browser does not decode the body's encoding 'gzip' here"],
  ])("still in its %s is no page", async (encoding, body, detail) => {
    const { outcome } = await fed(body, { head: { encoding, content_length: null }, wire_bytes: body.length });
    expect(outcome).toEqual({ kind: "failure", reason: "body_corrupt", detail });
  });

  test("may be as long as it was when packed", async () => {
    expect((await fed(text(70), { head: GZIP, wire_bytes: 70 })).outcome).toMatchObject({ body_bytes: 70 });
    expect((await fed(new Uint8Array(), { head: GZIP, wire_bytes: 0 })).outcome).toMatchObject({ body_bytes: 0 });
  });
});

describe("the owner's limit", () => {
  test("counts an identity body as it comes", async () => {
    const { counted } = await fed(text(2_500), {});
    expect(counted).toEqual([1_000, 1_000, 500]);
  });

  test("counts an encoded body as decoded until its end, then as sent", async () => {
    const { counted } = await fed(text(2_500), { head: GZIP, wire_bytes: 100 });
    expect(counted).toEqual([1_000, 1_000, 500, -2_400]);
  });

  test("counts no more than the Content-Length", async () => {
    const head = { encoding: "gzip", content_length: 1_200 };
    expect((await fed(text(2_500), { head, wire_bytes: 1_200 })).counted).toEqual([1_000, 200]);
    expect((await fed(text(2_500), { head })).counted).toEqual([1_000, 200]);
  });

  test("ends a running download, and one that turns out larger", async () => {
    const detail = "the owner's limit of bytes a day was reached on the way";
    const reached = { kind: "refusal", reason: "cap_reached", detail };
    expect(await fed(text(9_000), { daily_bytes: 2_000 })).toMatchObject({ outcome: reached, taken: 3_000 });
    const late = await fed(text(100), { head: GZIP, wire_bytes: 3_000, daily_bytes: 2_000 });
    expect(late).toMatchObject({ outcome: reached, counted: [100, 2_900] });
    const spared = await fed(text(900), { head: GZIP, wire_bytes: 100, daily_bytes: 900 });
    expect(spared).toMatchObject({ outcome: { body_bytes: 900 }, counted: [900, -800] });
  });
});

describe("the encoding of a record", () => {
  test("is gzip where that is smaller", async () => {
    expect(await encodeBody(text(5_000), 5_000)).toMatchObject({ content_encoding: "gzip", body_bytes: 5_000 });
    for (const body of [new Uint8Array(), text(1), noise(5_000)]) {
      expect(await encodeBody(body, 5_000)).toMatchObject({ content_encoding: "identity", payload: body });
    }
  });

  test("is none where gzip would expand too much", async () => {
    const zeros = new Uint8Array(2_000_000);
    const whole = await encodeBody(zeros, 2_000_000);
    expect(whole).toMatchObject({ content_encoding: "identity", body_bytes: 2_000_000 });
    expect("payload" in whole && (await sha256Hex(whole.payload))).toBe(await sha256Hex(zeros));
    expect(await encodeBody(zeros, 1_999_999)).toEqual(tooLarge("the body expands more than 200-fold"));
    expect(await encodeBody(new Uint8Array(1_048_576), 50_000)).toMatchObject({ content_encoding: "gzip" });
  });

  test("fits the job's bound", async () => {
    expect(await encodeBody(noise(5_000), 4_999)).toEqual(tooLarge("the body is over 4999 bytes as sent"));
  });

  test("is the same every time", async () => {
    const [one, other] = await Promise.all([encodeBody(text(99_999), 99_999), encodeBody(text(99_999), 99_999)]);
    expect(one).toEqual(other);
  });
});
