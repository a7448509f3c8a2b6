/// <reference types="vite/client" />
import { describe, expect, test } from "vitest";

const DRAWN = import.meta.glob<string>("../../icons/*.png", { query: "?inline", import: "default", eager: true });
const [source = ""] = Object.values(
  import.meta.glob<string>("../../icons/icon.svg", { query: "?raw", import: "default", eager: true }),
);
const { paint, shapesOf, SIZES } = Object.values(
  import.meta.glob<{
    paint(shapes: unknown, size: number): Uint8Array;
    shapesOf(source: string): unknown;
    SIZES: readonly number[];
  }>("../../draw_icons.mjs", { eager: true }),
)[0] ?? { paint: () => new Uint8Array(), shapesOf: () => null, SIZES: [] };

/** The pixels of a PNG whose rows are unfiltered 8-bit RGBA: one IHDR, one IDAT, one IEND. */
async function pixelsOf(address: string): Promise<{ width: number; height: number; pixels: Uint8Array }> {
  const png = new Uint8Array(await (await fetch(address)).arrayBuffer());
  const view = new DataView(png.buffer);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const packed = new Blob([png.subarray(41, 41 + view.getUint32(33))]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(stream).arrayBuffer());
  const pixels = rows.filter((_, place) => place % (width * 4 + 1) !== 0);
  return { width, height, pixels };
}

test("every size that the manifest names is drawn", () => {
  expect(SIZES).toEqual([16, 32, 48, 128]);
  expect(Object.keys(DRAWN)).toHaveLength(SIZES.length);
});

describe.each(SIZES)("the icon of %d pixels", (size) => {
  const address = DRAWN[`../../icons/${size}.png`] ?? "";

  test("has its size, and is what its source draws", async () => {
    const { width, height, pixels } = await pixelsOf(address);
    expect([width, height]).toEqual([size, size]);
    expect(Object.is(pixels.length, size * size * 4)).toBe(true);
    expect(pixels.findIndex((value, place) => value !== drawn(size)[place])).toBe(-1);
  });

  test("is clear at its corners and green in the middle of its upper edge", async () => {
    const { pixels } = await pixelsOf(address);
    expect(pixels[3]).toBeLessThan(128);
    expect([...pixels.subarray((size / 2) * 4, (size / 2) * 4 + 4)]).toEqual([0x2b, 0x64, 0x33, 255]);
  });
});

const pictures = new Map<number, Uint8Array>();

function drawn(size: number): Uint8Array {
  const picture = pictures.get(size) ?? paint(shapesOf(source), size);
  pictures.set(size, picture);
  return picture;
}
