/** The page through which the test speaks to the worker. */

import { CHANNEL, type Errand, type Report } from "./errand.ts";

const channel = new BroadcastChannel(CHANNEL);
const waiting = new Map<number, (report: Report) => void>();

channel.onmessage = ({ data }: MessageEvent<Report>) => {
  waiting.get(data.id)?.(data);
  waiting.delete(data.id);
};

async function run(errands: readonly Errand[]): Promise<readonly Report[]> {
  const reports = errands.map((errand) => new Promise<Report>((resolve) => waiting.set(errand.id, resolve)));
  for (const errand of errands) channel.postMessage(errand);
  return await Promise.all(reports);
}

Object.assign(globalThis, { run });
