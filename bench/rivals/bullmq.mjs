// BullMQ on a Redis-protocol server, no-op jobs: `node bullmq.mjs PORT JOBS CONCURRENT BULKS`. Prints one JSON line.
// Jobs are added in bulks of 100, BULKS of them at once, and removed when completed, which is the cheapest way BullMQ
// knows.
import { Queue, Worker } from "bullmq";
import IORedis from "ioredis";

const [port, jobs, concurrent, bulks] = process.argv.slice(2).map(Number);
const connect = () => new IORedis(port, "127.0.0.1", { maxRetriesPerRequest: null });
const used = (since) => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
};
const queue = new Queue("rival", { connection: connect() });
await queue.waitUntilReady();

const cpu = process.cpuUsage();
let started = performance.now();
let next = 0;
async function add() {
  while (next < jobs) {
    const first = next;
    next += 100;
    const bulk = [];
    for (let number = first; number < Math.min(jobs, first + 100); number++) {
      bulk.push({
        name: "page",
        data: { url: `https://site${number % 1000}.example/page/${number}` },
        opts: { removeOnComplete: true, removeOnFail: true },
      });
    }
    await queue.addBulk(bulk);
  }
}
await Promise.all(Array.from({ length: bulks }, add));
const added_s = (performance.now() - started) / 1000;

started = performance.now();
let done = 0;
await new Promise((resolve, reject) => {
  const worker = new Worker("rival", async () => {}, { connection: connect(), concurrency: concurrent });
  worker.on("completed", () => {
    if (++done === jobs) resolve();
  });
  worker.on("error", reject);
});
const worked_s = (performance.now() - started) / 1000;
console.log(JSON.stringify({ jobs, added_s, worked_s, cpu_s: used(cpu) }));
process.exit(0);
