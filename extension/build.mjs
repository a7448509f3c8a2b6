// Builds extension/dist/meadow-chrome.zip and meadow-firefox.zip: `npm run build [-- --unpacked-only]`.
// The same sources give the same bytes: entries are sorted, carry no time of day, and are deflated by one pinned library.
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { zipSync } from "fflate";
import { BROWSERS, manifestFor } from "./manifest.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const DIST = join(HERE, "dist");
const LARGEST_ZIP_BYTES = 120_000;
const ENTRY_POINTS = {
  background: "src/background.ts",
  offscreen: "src/pages/offscreen/offscreen.ts",
  consent: "src/pages/consent/consent.ts",
  popup: "src/pages/popup/popup.ts",
  dashboard: "src/pages/dashboard/dashboard.ts",
};
const STATIC = ["_locales", "icons"];

async function buildUnpacked(browser) {
  const folder = join(DIST, browser);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await build({
    absWorkingDir: HERE,
    entryPoints: ENTRY_POINTS,
    outdir: folder,
    bundle: true,
    minifySyntax: true,
    minifyWhitespace: true,
    charset: "utf8",
    format: "esm",
    target: browser === "chrome" ? "chrome142" : "firefox140",
    define: { __BROWSER__: JSON.stringify(browser) },
    legalComments: "none",
    logLevel: "warning",
  });
  for (const name of STATIC) await cp(join(HERE, name), join(folder, name), { recursive: true });
  for (const path of await filesBelow(join(HERE, "src", "pages"))) {
    if (/\.(html|css)$/.test(path)) await cp(path, join(folder, path.split("/").at(-1)));
  }
  await writeFile(join(folder, "manifest.json"), `${JSON.stringify(await manifestFor(browser), null, 2)}\n`);
  return folder;
}

async function filesBelow(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function zip(folder) {
  const entries = {};
  for (const path of await filesBelow(folder)) {
    entries[relative(folder, path)] = [await readFile(path), { mtime: zipTime(), level: 9 }];
  }
  return zipSync(entries);
}

// DOS times are local: the same wall clock everywhere.
function zipTime() {
  return new Date(1980, 0, 1, 12);
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
