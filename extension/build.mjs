// Builds meadow-chrome.zip and meadow-firefox.zip into dist/, or into another folder: `node build.mjs [FOLDER]`.
// The same sources give the same bytes: entries are sorted, carry no time of day, and are deflated by a pinned library.
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import zopfli from "@gfx/zopfli";
import { build, transform } from "esbuild";
import { Zip, ZipPassThrough } from "fflate";
import { BROWSERS, manifestFor } from "./manifest.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const DIST = resolve(process.argv[2] ?? join(HERE, "dist"));
const LARGEST_ZIP_BYTES = 120_000;
const ITERATIONS = 15;
const ENTRY_POINTS = {
  background: "src/background.ts",
  offscreen: "src/pages/offscreen/offscreen.ts",
  consent: "src/pages/consent/consent.ts",
  popup: "src/pages/popup/popup.ts",
  dashboard: "src/pages/dashboard/dashboard.ts",
};
const STATIC = ["icons"];

// A node needs no rows of datasets, and what the schema says to people stays out of the bundle.
const bareSchema = {
  name: "bare-schema",
  setup(within) {
    within.onLoad({ filter: /meadow-v1\.json$/ }, async ({ path }) => {
      const { $defs } = JSON.parse(await readFile(path, "utf8"));
      const kept = Object.entries($defs).filter(([name]) => !/^(Row|DatasetStatement)/.test(name));
      const isForPeople = (name, value) => (name === "description" || name === "title") && typeof value === "string";
      const contents = JSON.stringify({ $defs: Object.fromEntries(kept) }, (name, value) =>
        isForPeople(name, value) ? undefined : value,
      );
      return { loader: "json", contents };
    });
  },
};

// A page is hidden until its script has put in the words of the browser's language.
function bareHtml(html) {
  return html
    .replace(/(data-text="[^"]+"[^<>]*>)[^<]+</g, "$1<")
    .replace(/>\s+</g, (between) => (between.includes("\n") ? ">\n<" : between));
}

async function buildUnpacked(browser) {
  const folder = join(DIST, browser);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await build({
    absWorkingDir: HERE,
    entryPoints: ENTRY_POINTS,
    outdir: folder,
    bundle: true,
    splitting: true,
    chunkNames: "shared-[hash]",
    minify: true,
    plugins: [bareSchema],
    charset: "utf8",
    format: "esm",
    target: browser === "chrome" ? "chrome142" : "firefox142",
    define: { __BROWSER__: JSON.stringify(browser) },
    legalComments: "none",
    logLevel: "warning",
  });
  for (const name of STATIC) await cp(join(HERE, name), join(folder, name), { recursive: true });
  for (const language of await readdir(join(HERE, "_locales"))) await writeMessages(folder, language);
  for (const path of await filesBelow(join(HERE, "src", "pages"))) {
    const name = join(folder, path.split("/").at(-1));
    if (path.endsWith(".html")) await writeFile(name, bareHtml(await readFile(path, "utf8")));
    if (path.endsWith(".css"))
      await writeFile(name, (await transform(await readFile(path), { loader: "css", minify: true })).code);
  }
  await writeFile(join(folder, "manifest.json"), `${JSON.stringify(await manifestFor(browser), null, 2)}\n`);
  return folder;
}

// Descriptions and names of placeholders are for translators; a browser takes `$1` for the first substitution as well.
async function writeMessages(folder, language) {
  const place = join("_locales", language, "messages.json");
  const messages = JSON.parse(await readFile(join(HERE, place), "utf8"));
  const bare = Object.entries(messages).map(([key, { message, placeholders = {} }]) => {
    const inlined = message.replace(
      /\$([a-z0-9_@]+)\$/gi,
      (whole, name) => placeholders[name.toLowerCase()]?.content ?? whole,
    );
    return [key, { message: inlined }];
  });
  await mkdir(dirname(join(folder, place)), { recursive: true });
  await writeFile(join(folder, place), JSON.stringify(Object.fromEntries(bare)));
}

async function filesBelow(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function zip(folder) {
  const pieces = [];
  const archive = new Zip((error, piece) => {
    if (error) throw error;
    pieces.push(piece);
  });
  for (const path of await filesBelow(folder)) {
    const content = await readFile(path);
    const entry = new Deflated(relative(folder, path), content);
    archive.add(entry);
    entry.ondata(null, await zopfli.deflateAsync(content, { numiterations: ITERATIONS }), true);
  }
  archive.end();
  return Buffer.concat(pieces);
}

// An entry that is compressed already; fflate counts and sums what would have been stored. DOS times are local: the same
// wall clock everywhere.
class Deflated extends ZipPassThrough {
  mtime = new Date(1980, 0, 1, 12);

  constructor(filename, content) {
    super(filename);
    this.ondata = () => undefined;
    this.push(content, true);
    this.compression = 8;
  }
}

await mkdir(DIST, { recursive: true });
for (const browser of BROWSERS) {
  const folder = await buildUnpacked(browser);
  const bytes = await zip(folder);
  if (bytes.length > LARGEST_ZIP_BYTES) {
    throw new Error(`meadow-${browser}.zip has ${bytes.length} bytes; at most ${LARGEST_ZIP_BYTES} are allowed`);
  }
  await writeFile(join(DIST, `meadow-${browser}.zip`), bytes);
  const digest = createHash("sha256").update(bytes).digest("hex");
  console.log(`${digest}  meadow-${browser}.zip  ${bytes.length} bytes`);
}
