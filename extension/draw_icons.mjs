// Draws icons/16.png to 128.png from icons/icon.svg: `node draw_icons.mjs`. The pictures are committed.
// Reads the part of SVG that the icon is made of: <path fill="#rrggbb" d="..."> with absolute M, L, C and Z.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { deflateSync } from "node:zlib";

const FOLDER = new URL("icons/", import.meta.url);
export const SIZES = [16, 32, 48, 128];
const VIEW_BOX = 16;
const SAMPLES = 8;
const CURVE_STEPS = 16;

/** The closed polygon of a path's data, curves cut into short lines. */
function polygonOf(data) {
  const points = [];
  for (const [, command, rest] of data.matchAll(/([MLCZ])([^MLCZ]*)/g)) {
    const numbers = rest
      .trim()
      .split(/[\s,]+/)
      .filter(Boolean)
      .map(Number);
    if (command === "M" || command === "L") points.push(numbers);
    if (command === "C") points.push(...curve(points.at(-1), numbers));
  }
  return points;
}

/** The points of a cubic Bezier curve after its first. */
function curve([x0, y0], [x1, y1, x2, y2, x3, y3]) {
  return Array.from({ length: CURVE_STEPS }, (_, step) => {
    const t = (step + 1) / CURVE_STEPS;
    const [a, b, c, d] = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t ** 2 * (1 - t), t ** 3];
    return [a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3];
  });
}

/** Whether a point lies within a polygon, by the even-odd rule. */
function isInside(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/** The picture as rows of RGBA, each pixel the mean of SAMPLES x SAMPLES points. */
export function paint(shapes, size) {
  const pixels = new Uint8Array(size * size * 4);
  const step = VIEW_BOX / size / SAMPLES;
  for (let place = 0; place < size * size; place++) {
    const [left, top] = [(place % size) * SAMPLES, Math.floor(place / size) * SAMPLES];
    const [red, green, blue, covered] = meanOf(shapes, left, top, step);
    if (covered > 0) pixels.set([red, green, blue, Math.round((255 * covered) / SAMPLES ** 2)], place * 4);
  }
  return pixels;
}

/** The mean colour of a pixel's points that lie in a shape, and how many do. The uppermost shape counts. */
function meanOf(shapes, left, top, step) {
  const near = shapes.filter(({ box }) => box.reaches(left * step, top * step, SAMPLES * step));
  const sum = [0, 0, 0];
  let covered = 0;
  for (let sample = 0; sample < SAMPLES * SAMPLES; sample++) {
    const x = (left + (sample % SAMPLES) + 0.5) * step;
    const y = (top + Math.floor(sample / SAMPLES) + 0.5) * step;
    const shape = near.findLast(({ polygon }) => isInside(polygon, x, y));
    if (shape === undefined) continue;
    for (const channel of [0, 1, 2]) sum[channel] += shape.colour[channel];
    covered += 1;
  }
  return [...sum.map((total) => Math.round(total / covered)), covered];
}

/** The rectangle around a polygon. */
function boxOf(polygon) {
  const [xs, ys] = [polygon.map(([x]) => x), polygon.map(([, y]) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return { reaches: (x, y, side) => x + side >= left && x <= right && y + side >= top && y <= bottom };
}

/** A PNG (ISO/IEC 15948) of 8-bit RGBA, its rows unfiltered. */
function png(pixels, size) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 6, 0, 0, 0], 8);
  const rows = Buffer.alloc(size * (size * 4 + 1));
  for (let y = 0; y < size; y++) rows.set(pixels.subarray(y * size * 4, (y + 1) * size * 4), y * (size * 4 + 1) + 1);
  const chunks = [
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ];
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), ...chunks]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** The shapes of the icon's source, the first the lowest. */
export function shapesOf(source) {
  return [...source.matchAll(/<path fill="#([0-9a-f]{6})" d="([^"]+)"\/>/g)].map(([, digits, data]) => {
    const colour = [0, 2, 4].map((start) => Number.parseInt(digits.slice(start, start + 2), 16));
    const polygon = polygonOf(data);
    return { colour, polygon, box: boxOf(polygon) };
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const shapes = shapesOf(await readFile(new URL("icon.svg", FOLDER), "utf8"));
  for (const size of SIZES) await writeFile(new URL(`${size}.png`, FOLDER), png(paint(shapes, size), size));
}
