// Builds the probe of tests/extension/test_fetch_adapter.py: `node build.mjs FOLDER` writes FOLDER/chrome, FOLDER/firefox.
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { BROWSERS, manifestFor } from "../../manifest.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const LEFT_OUT = ["action", "default_locale", "icons", "optional_host_permissions", "options_ui", "short_name"];

for (const browser of BROWSERS) {
  const folder = join(process.argv[2], browser);
  await mkdir(folder, { recursive: true });
  await build({
    absWorkingDir: HERE,
    entryPoints: { background: "worker.ts", panel: "panel.ts" },
    outdir: folder,
    bundle: true,
    format: "esm",
    charset: "utf8",
    define: { __BROWSER__: JSON.stringify(browser) },
    logLevel: "warning",
  });
  await copyFile(join(HERE, "panel.html"), join(folder, "panel.html"));
  const shipped = Object.entries(await manifestFor(browser)).filter(([key]) => !LEFT_OUT.includes(key));
  const manifest = { ...Object.fromEntries(shipped), name: "Probe", description: "", host_permissions: ["<all_urls>"] };
  await writeFile(join(folder, "manifest.json"), JSON.stringify(manifest));
}
