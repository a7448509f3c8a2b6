import { describe, expect, it } from "vitest";
import type { LogEntry } from "../../src/node/journal.ts";
import { CSV_HEADER, csvFile, csvLine, csvName, csvRow, timeText } from "../../src/pages/dashboard/log_csv.ts";

const ENTRY: LogEntry = {
  job_id: "01a3185c-5000-7000-8000-000000000001",
  lease: 7,
  started_ms: Date.UTC(2026, 10, 22, 8, 30, 15, 999),
  finished_ms: Date.UTC(2026, 10, 22, 8, 30, 17),
  url: "https://example.org/a,b?q=%22",
  host: "example.org",
  final_url: "https://www.example.org/",
  hops: ["https://example.org/1", "https://example.org/2"],
  purpose: "research",
  status: 200,
  received_bytes: 1234,
  sent_bytes: 900,
  outcome: "stored",
  reason: "",
  detail: "",
  reward: 408,
  log_index: 99,
};

/** Reads RFC 4180 back, character by character: shares nothing with the writer. */
function readCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text.charAt(at + 1) === '"') {
        cell += '"';
        at += 1;
      } else quoted = false;
    } else if (character === '"' && cell === "") quoted = true;
    else if (character === ",") {
      row.push(cell);
      cell = "";
    } else if (text.startsWith("\r\n", at)) {
      rows.push([...row, cell]);
      row = [];
      cell = "";
      at += 1;
    } else cell += character;
  }
  expect([cell, row, quoted]).toEqual(["", [], false]);
  return rows;
}

describe("a line", () => {
  it.each([
    ["plain", "plain"],
    ['say "hi"', '"say ""hi"""'],
    ["a,b", '"a,b"'],
    ["a\nb", '"a\nb"'],
    ["a\rb", '"a\rb"'],
    ["", ""],
  ])("quotes %j as RFC 4180 says", (cell, written) => {
    expect(csvLine([cell, "x"])).toBe(`${written},x\r\n`);
  });

  it.each(["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", '=HYPERLINK("http://x","y")'])(
    "gives no formula for %j",
    (cell) => {
      expect(readCsv(csvLine([cell]))).toEqual([[`'${cell}`]]);
    },
  );

  it("leaves signs inside of text alone", () => {
    expect(csvLine(["a=b", "https://x/-1", " =1"])).toBe("a=b,https://x/-1, =1\r\n");
  });

  it("writes numbers as they are and nothing for null", () => {
    expect(csvLine([0, null, 9_007_199_254_740_991])).toBe("0,,9007199254740991\r\n");
  });
});

describe("a row", () => {
  it("has a cell for each name of the header, which read back is the entry", () => {
    const [row = []] = readCsv(csvRow(ENTRY));
    expect(row).toHaveLength(CSV_HEADER.length);
    expect(Object.fromEntries(CSV_HEADER.map((name, index) => [name, row[index]]))).toEqual({
      started: "2026-11-22T08:30:15Z",
      finished: "2026-11-22T08:30:17Z",
      url: "https://example.org/a,b?q=%22",
      final_url: "https://www.example.org/",
      hops: "https://example.org/1 https://example.org/2",
      purpose: "research",
      status: "200",
      received_bytes: "1234",
      sent_bytes: "900",
      outcome: "stored",
      reason: "",
      detail: "",
      reward: "408",
      log_index: "99",
      job_id: ENTRY.job_id,
      lease: "7",
    });
  });

  it("keeps hostile words of the network in their cell", () => {
    const detail = '=cmd|" /C calc"!A0\r\n"owned",1';
    const [row = [], ...more] = readCsv(csvRow({ ...ENTRY, detail }));
    expect(more).toEqual([]);
    expect(row[CSV_HEADER.indexOf("detail")]).toBe(`'${detail}`);
  });
});

describe("the file", () => {
  it("holds every entry of a large log, in order", async () => {
    const count = 20_000;
    function* entries(): Iterable<LogEntry> {
      for (let lease = 0; lease < count; lease += 1) yield { ...ENTRY, lease };
    }
    const told: number[] = [];
    const file = await csvFile(entries(), (written) => told.push(written));
    const rows = readCsv(await file.text());
    expect(rows[0]).toEqual([...CSV_HEADER]);
    expect(rows.slice(1).map((row) => Number(row[15]))).toEqual(Array.from({ length: count }, (_, lease) => lease));
    expect(told.length).toBeGreaterThan(2);
    expect(told.at(-1)).toBe(count);
    expect(file.type).toBe("text/csv;charset=utf-8");
  });

  it("has its header where the log is empty", async () => {
    expect(await (await csvFile([])).text()).toBe(`${CSV_HEADER.join(",")}\r\n`);
  });

  it("rejects where the log cannot be read to its end", async () => {
    async function* broken(): AsyncIterable<LogEntry> {
      yield ENTRY;
      throw new Error("the store closed");
    }
    await expect(csvFile(broken())).rejects.toThrow("the store closed");
  });

  it("is named by the local date", () => {
    expect(csvName(new Date(2026, 0, 5, 23, 59))).toBe("meadow-log-2026-01-05.csv");
  });
});

it("writes times to the second", () => {
  expect(timeText(0)).toBe("1970-01-01T00:00:00Z");
});
