/**
 * Runs the shared vectors (`tests/vectors/*.json` at the repository's root, see its README) against this
 * implementation, in any JavaScript runtime with WebCrypto: tests call it under Node, and inside real browsers.
 */
import { checkAddress, checkAnswer } from "../../src/protocol/addresses.ts";
import { fromBase64url, toBase64url } from "../../src/protocol/base64url.ts";
import { type Bytes, toHex, toUtf8 } from "../../src/protocol/bytes.ts";
import { decodeCanonical } from "../../src/protocol/canonical.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { openCertificate, openJob } from "../../src/protocol/job.ts";
import { sha256Hex } from "../../src/protocol/keys.ts";
import { decodeFromDispatcher, decodeFromNode, encodeMessage } from "../../src/protocol/messages.ts";
import { askedBy, checkAnswers, openRecord } from "../../src/protocol/record.ts";
import { openChallenge, openHello } from "../../src/protocol/session.ts";
import {
  digest,
  type KindName,
  openStatement,
  parse,
  payloadOf,
  split,
  toBytes,
} from "../../src/protocol/statements.ts";
import { type AllowedUrl, checkUrl, isRefusal, joinUrl, type UrlRefusal } from "../../src/protocol/urls.ts";
import { isUuid7, uuid7, uuid7TimeMs } from "../../src/protocol/uuid7.ts";

import differences from "./differences.json";

/** What came of one question of one vector. It agrees where `got` is `expected`. */
export interface VectorResult {
  readonly file: string;
  readonly case: string;
  readonly got: string;
  readonly expected: string;
}

/** Where it runs: parsers of URLs are not all alike. */
export type Runtime = "node" | "chromium" | "firefox";

/** The union of the vectors' members; a case has those its file's README names. */
interface Case {
  readonly expect: string;
  readonly expect_answers: string;
  readonly name: string;
  readonly frame_hex: string;
  readonly kind: KindName;
  readonly public: string;
  readonly payload: string;
  readonly attachment_hex: string;
  readonly statement_hex: string;
  readonly certificate_hex: string;
  readonly job_hex: string;
  readonly hello_hex?: string;
  readonly now_ms: number;
  readonly root_key: string | null;
  readonly node_key: string;
  readonly challenge: string;
  readonly audience: string;
  readonly from: "dispatcher" | "node";
  readonly text: string;
  readonly pad?: number;
  readonly hex: string;
  readonly time_ms: number;
  readonly random_hex: string;
  readonly leaf: string;
  readonly content: string;
  readonly url: string;
  readonly href: string;
  readonly page: string;
  readonly reference: string;
  readonly address: string;
}

interface Attacks {
  readonly urls: readonly { readonly url: string; readonly reason: string }[];
  readonly answers: readonly { readonly name: string; readonly answers: readonly string[]; readonly reason: string }[];
  readonly allowed: readonly { readonly url: string; readonly href: string }[];
}

type Question = (vector: Case, ask: Ask) => Promise<void>;
type Ask = (what: string, expected: string, got: () => string | Promise<string>) => Promise<void>;

/** When the fixed certificate of `jobs.json` is valid, UTC ms. */
const CERTIFIED_MS = 1_800_000_000_000;
const LABEL_CHARS = 80;

const QUESTIONS: ReadonlyMap<string, Question> = new Map([
  ["statements", askStatement],
  ["certificates", askCertificate],
  ["jobs", askJob],
  ["records", askRecord],
  ["handshake", askHandshake],
  ["messages", askMessage],
  ["base64url", askBase64url],
  ["uuid7", askUuid7],
  ["rows", askRow],
  ["urls", askUrl],
  ["joins", askJoin],
  ["addresses", askAddress],
]);

/**
 * Run vectors: `files` holds the parsed content of each file under its name without `.json`. Returns every question's
 * result, those that agree too; TypeError for a file that is not known.
 */
export async function runVectors(files: Readonly<Record<string, unknown>>): Promise<VectorResult[]> {
  const results: VectorResult[] = [];
  const asking = (file: string, label: string): Ask => {
    return async (what, expected, got) => {
      const name = what === "" ? label : `${label}: ${what}`;
      results.push({ file, case: name, got: await outcome(got), expected });
    };
  };
  for (const [file, content] of Object.entries(files)) {
    if (file === "attack_urls") {
      await askAttacks(content as Attacks, (label) => asking(file, label));
      continue;
    }
    const question = QUESTIONS.get(file);
    if (question === undefined) throw new TypeError(`no question is known for the vectors ${file}`);
    for (const vector of content as readonly Case[]) await question(vector, asking(file, labelOf(vector)));
  }
  return results;
}

/**
 * The results that do not agree, but for those that `differences.json` lists of this runtime. Each listed one is closed:
 * nothing is fetched that the vector refuses.
 */
export function unexplained(results: readonly VectorResult[], runtime: Runtime): VectorResult[] {
  const listed = differences.filter((one) => one.runtime === runtime);
  return results.filter(
    (result) =>
      result.got !== result.expected &&
      !listed.some((one) => one.file === result.file && one.case === result.case && one.got === result.got),
  );
}

async function outcome(got: () => string | Promise<string>): Promise<string> {
  try {
    return await got();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    return String(error);
  }
}

function labelOf(vector: Case): string {
  return vector.name ?? shown(vector.url ?? vector.reference ?? vector.address ?? vector.text);
}

/** A text that a report can show, whatever it holds. */
function shown(text: string): string {
  return JSON.stringify(text)
    .replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .slice(0, LABEL_CHARS);
}

async function askStatement(vector: Case, ask: Ask): Promise<void> {
  const frame = fromHex(vector.frame_hex);
  await ask("", vector.expect, async () => {
    const { statement, attachment } =
      vector.kind === "record" ? split(frame) : { statement: parse(frame), attachment: new Uint8Array() };
    await openStatement(statement, vector.kind, vector.public);
    const payload = new TextDecoder().decode(statement.payload);
    const same =
      payload === vector.payload &&
      toHex(attachment) === vector.attachment_hex &&
      toHex(toBytes(statement)) + vector.attachment_hex === vector.frame_hex;
    return same ? "ok" : "another payload or attachment";
  });
}

async function askCertificate({ statement_hex, now_ms, root_key, expect }: Case, ask: Ask): Promise<void> {
  await ask("", expect, async () => {
    await openCertificate(parse(fromHex(statement_hex)), { now_ms, root_key });
    return "ok";
  });
}

async function askJob(vector: Case, ask: Ask): Promise<void> {
  const { node_key, now_ms } = vector;
  const certified = { now_ms: CERTIFIED_MS, root_key: null };
  const certificate = await openCertificate(parse(fromHex(vector.certificate_hex)), certified);
  await ask("", vector.expect, async () => {
    await openJob(parse(fromHex(vector.statement_hex)), { certificate, node_key, now_ms });
    return "ok";
  });
}

async function askRecord(vector: Case, ask: Ask): Promise<void> {
  const statement = parse(fromHex(vector.statement_hex));
  await ask("", vector.expect, async () => {
    await openRecord(statement);
    return "ok";
  });
  if (vector.expect !== "ok") return;
  await ask("answers the job", vector.expect_answers, async () => {
    const job = parse(fromHex(vector.job_hex));
    checkAnswers(await openRecord(statement), askedBy(payloadOf(job, "job"), await digest(job)));
    return "ok";
  });
}

async function askHandshake(vector: Case, ask: Ask): Promise<void> {
  const { hello_hex, now_ms, audience, root_key } = vector;
  await ask("", vector.expect, async () => {
    const challenge = decodeFromDispatcher(vector.challenge);
    if (challenge.type !== "challenge") return "no challenge";
    if (hello_hex !== undefined) await openHello(parse(fromHex(hello_hex)), challenge, now_ms);
    else await openChallenge(challenge, { audience, root_key, now_ms });
    return "ok";
  });
}

async function askMessage(vector: Case, ask: Ask): Promise<void> {
  const decode = vector.from === "node" ? decodeFromNode : decodeFromDispatcher;
  const text = vector.text + " ".repeat(vector.pad ?? 0);
  await ask("", vector.expect, () => {
    const message = decode(text);
    const again = decode(encodeMessage(message));
    return JSON.stringify(again) === JSON.stringify(message) ? "ok" : "another message once encoded";
  });
}

async function askBase64url(vector: Case, ask: Ask): Promise<void> {
  await ask("", vector.expect, () => {
    const same = toHex(fromBase64url(vector.text)) === vector.hex && toBase64url(fromHex(vector.hex)) === vector.text;
    return same ? "ok" : "other bytes";
  });
}

async function askUuid7(vector: Case, ask: Ask): Promise<void> {
  await ask("", vector.expect, () => (isUuid7(vector.text) ? "ok" : "malformed_message"));
  if (vector.expect !== "ok") return;
  await ask("made", vector.text, () => uuid7(vector.time_ms, fromHex(vector.random_hex)));
  await ask("time", String(vector.time_ms), () => String(uuid7TimeMs(vector.text)));
}

async function askRow(vector: Case, ask: Ask): Promise<void> {
  await ask("", vector.expect, async () => {
    const { provenance, ...content } = decodeCanonical("Row", toUtf8(vector.leaf));
    const text = JSON.stringify(content);
    if ((await sha256Hex(toUtf8(text))) !== provenance.content_hash) return "hash_mismatch";
    return text === vector.content ? "ok" : "another content";
  });
}

async function askUrl({ url, href, expect }: Case, ask: Ask): Promise<void> {
  await ask("", wanted(expect, href), () => seen(checkUrl(url)));
  await askAsJobs(ask, url, href);
}

async function askJoin(vector: Case, ask: Ask): Promise<void> {
  const page = checkUrl(vector.page);
  await ask("", wanted(vector.expect, vector.href), () => {
    return isRefusal(page) ? "the page is refused" : seen(joinUrl(page, vector.reference));
  });
}

async function askAddress({ address, expect }: Case, ask: Ask): Promise<void> {
  await ask("", expect, () => checkAddress(address)?.reason ?? "ok");
}

async function askAttacks({ urls, answers, allowed }: Attacks, about: (label: string) => Ask): Promise<void> {
  for (const { url, reason } of urls) {
    const ask = about(shown(url));
    await ask("", reason, () => seen(checkUrl(url)));
    await askAsJobs(ask, url);
  }
  for (const attack of answers) {
    await about(attack.name)("", attack.reason, () => checkAnswer(attack.answers)?.reason ?? "ok");
  }
  for (const { url, href } of allowed) {
    const ask = about(shown(url));
    await ask("", wanted("ok", href), () => seen(checkUrl(url)));
    await askAsJobs(ask, url, href);
  }
}

/** A job is fetched only where its URL is written as this runtime writes it, else it `differs`. */
async function askAsJobs(ask: Ask, url: string, href?: string): Promise<void> {
  const given = href ?? url;
  await ask("as a job's", href === undefined ? "not fetched" : `ok ${href}`, () => {
    const checked = checkUrl(given);
    if (href === undefined) return isRefusal(checked) || checked.href !== given ? "not fetched" : "fetched";
    return isRefusal(checked) || checked.href === given ? seen(checked) : "differs";
  });
}

function wanted(expect: string, href: string | undefined): string {
  return expect === "ok" ? `ok ${href}` : expect;
}

function seen(checked: AllowedUrl | UrlRefusal): string {
  return isRefusal(checked) ? checked.reason : `ok ${checked.href}`;
}

function fromHex(text: string): Bytes {
  const bytes = new Uint8Array(text.length / 2);
  for (const place of bytes.keys()) bytes[place] = Number.parseInt(text.slice(2 * place, 2 * place + 2), 16);
  return bytes;
}
