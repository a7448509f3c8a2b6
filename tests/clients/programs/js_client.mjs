// Calls of the published npm client `firecrawl` against a dispatcher: `js_client.mjs API_URL API_KEY SITE_URL [CHECK...]`.
// Prints a JSON line for each check: its name, how many calls of the client it made, and what went wrong, if anything.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import Firecrawl from "firecrawl";

const PAGES = 120;
const [apiUrl, apiKey, site, ...names] = process.argv.slice(2);

/** The client behind a face that counts its calls. */
function counting(inner) {
  const counter = { calls: 0 };
  const client = new Proxy(inner, {
    get(target, name) {
      const found = Reflect.get(target, name);
      if (typeof found !== "function") return found;
      return (...given) => {
        counter.calls += 1;
        return found.apply(target, given);
      };
    },
  });
  return { client, counter };
}

async function refused(call) {
  try {
    await call();
  } catch (error) {
    return String(error.message);
  }
  throw new Error("the call was to be refused");
}

async function until(what, ask, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(200);
  }
}

const pages = (count) => Array.from({ length: count }, (_, number) => `${site}/p/${number + 1}`);

const checks = {
  async scrape_bare(client) {
    const document = await client.scrape(`${site}/p/3`);
    assert.match(document.markdown, /Page 3/);
    assert.equal(document.metadata.statusCode, 200);
    assert.ok(document.metadata.provenance.recordId);
  },
  async scrape_every_format(client) {
    const formats = ["markdown", "html", "rawHtml", "links", "images"];
    const document = await client.scrape(`${site}/product`, { formats, onlyMainContent: false });
    assert.match(document.markdown, /Scythe No. 7/);
    assert.match(document.html, /<h1/);
    assert.match(document.rawHtml, /ld\+json/);
    assert.ok(document.links.includes(`${site}/p/1`));
    assert.ok(document.images.includes(`${site}/scythe.png`));
  },
  async scrape_attributes(client) {
    const selectors = [{ selector: "a.more", attribute: "href" }];
    const document = await client.scrape(`${site}/product`, { formats: [{ type: "attributes", selectors }] });
    assert.deepEqual(document.attributes.map(({ values }) => values), [["/p/1"]]);
  },
  async scrape_json(client) {
    const schema = { type: "object", properties: { name: { type: "string" }, price: { type: "number" } } };
    const document = await client.scrape(`${site}/product`, { formats: [{ type: "json", schema }] });
    assert.deepEqual(document.json, { name: "Scythe No. 7", price: 49.9 });
  },
  async scrape_screenshot(client) {
    const document = await client.scrape(`${site}/p/1`, { formats: [{ type: "screenshot", quality: 70 }] });
    const answer = await fetch(document.screenshot, { headers: { Authorization: `Bearer ${apiKey}` } });
    assert.equal(answer.headers.get("content-type"), "image/jpeg");
    assert.deepEqual([...new Uint8Array(await answer.arrayBuffer())].slice(0, 3), [0xff, 0xd8, 0xff]);
  },
  async scrape_refusals(client) {
    assert.match(await refused(() => client.scrape(`${site}/private/1`)), /robots/i);
    assert.match(await refused(() => client.scrape(`${site}/p/1`, { mobile: true })), /mobile/);
  },
  async wrong_key() {
    const stranger = new Firecrawl({ apiKey: "fc-0123456789abcdef", apiUrl });
    assert.match(await refused(() => stranger.scrape(`${site}/p/1`)), /key/i);
  },
  async batch_past_a_hundred(client) {
    const job = await client.batchScrape(pages(PAGES), { pollInterval: 1 });
    assert.equal(job.status, "completed");
    assert.equal(job.data.length, PAGES);
    assert.equal(new Set(job.data.map(({ metadata }) => metadata.sourceURL)).size, PAGES);
  },
  async batch_errors(client) {
    const urls = [`${site}/p/1`, `${site}/private/1`, "http://nonsense/"];
    const started = await client.startBatchScrape(urls, { ignoreInvalidURLs: true });
    assert.deepEqual(started.invalidURLs, ["http://nonsense/"]);
    await until("it has ended", async () => (await client.getBatchScrapeStatus(started.id)).status !== "scraping");
    const errors = await client.getBatchScrapeErrors(started.id);
    assert.deepEqual(errors.robotsBlocked, [`${site}/private/1`]);
  },
  async batch_cancel(client) {
    const slow = Array.from({ length: 60 }, (_, number) => `${site}/slow/1/${number}`);
    const started = await client.startBatchScrape(slow);
    assert.ok(await client.cancelBatchScrape(started.id));
    const status = await client.getBatchScrapeStatus(started.id, { autoPaginate: false });
    assert.equal(status.status, "cancelled");
  },
  async batch_appended(client) {
    const started = await client.startBatchScrape([`${site}/p/1`]);
    const again = await client.startBatchScrape([`${site}/p/2`], { appendToId: started.id });
    assert.equal(again.id, started.id);
    await until("both are there", async () => (await client.getBatchScrapeStatus(started.id)).completed === 2);
  },
  async idempotent_replay(client) {
    const idempotencyKey = randomUUID();
    const first = await client.startBatchScrape([`${site}/p/1`], { idempotencyKey });
    const second = await client.startBatchScrape([`${site}/p/1`], { idempotencyKey });
    assert.equal(first.id, second.id);
  },
  async crawl(client) {
    const job = await client.crawl(site, { limit: 25, sitemap: "skip", pollInterval: 1 });
    assert.equal(job.status, "completed");
    assert.equal(new Set(job.data.map(({ metadata }) => metadata.sourceURL)).size, 25);
  },
  async crawl_cancel(client) {
    const started = await client.startCrawl(site, { limit: 100, delay: 1 });
    const { crawls } = await client.getActiveCrawls();
    assert.ok(crawls.some(({ id }) => id === started.id));
    assert.ok(await client.cancelCrawl(started.id));
    assert.equal((await client.getCrawlStatus(started.id, { autoPaginate: false })).status, "cancelled");
    assert.deepEqual((await client.getCrawlErrors(started.id)).errors, []);
  },
  async map_site(client) {
    const found = await client.map(site);
    assert.ok(found.links.length >= 150);
  },
  async account(client) {
    const { concurrency, maxConcurrency } = await client.getConcurrency();
    assert.ok(concurrency <= maxConcurrency);
    assert.equal(typeof (await client.getCreditUsage()).remainingCredits, "number");
    assert.equal(typeof (await client.getQueueStatus()).jobsInQueue, "number");
    assert.ok((await client.getCreditUsageHistorical()).success);
  },
  async watch_batch(client) {
    const slow = Array.from({ length: 12 }, (_, number) => `${site}/slow/0.2/${number}`);
    const started = await client.startBatchScrape(slow);
    await watched(client, started.id, "batch", 12);
  },
  async watch_crawl(client) {
    const started = await client.startCrawl(site, { limit: 10, sitemap: "skip" });
    await watched(client, started.id, "crawl", 10);
  },
};

/** Watch a job to its end; every document is told of once. */
async function watched(client, id, kind, count) {
  const watcher = client.watcher(id, { kind, pollInterval: 1, timeout: 60 });
  const documents = [];
  watcher.on("document", (document) => documents.push(document));
  const end = new Promise((resolve, reject) => {
    watcher.on("done", resolve);
    watcher.on("error", (error) => reject(new Error(JSON.stringify(error))));
  });
  await watcher.start();
  const done = await end;
  watcher.close();
  assert.equal(done.status, "completed");
  assert.equal(documents.length, count);
}

for (const [name, check] of Object.entries(checks)) {
  if (names.length && !names.includes(name)) continue;
  const { client, counter } = counting(new Firecrawl({ apiKey, apiUrl }));
  const began = Date.now();
  let problem = "";
  try {
    await Promise.race([
      check(client),
      sleep(90_000, undefined, { ref: false }).then(() => Promise.reject(new Error("not within 90 s"))),
    ]);
  } catch (error) {
    problem = `${error.stack}`;
  }
  const seconds = (Date.now() - began) / 1000;
  console.log(JSON.stringify({ check: name, calls: counter.calls, seconds, problem }));
}
process.exit(0);
