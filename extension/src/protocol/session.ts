/** The session's state table and the handshake, without IO (PROTOCOL.md, section 6). */

import rules from "../../schema/rules-v1.json";
import { fromBase64url } from "./base64url.ts";
import { Expired, NotForMe, SessionViolation, UnsupportedVersion } from "./errors.ts";
import { checkValidity, openCertificate } from "./job.ts";
import type { Signer } from "./keys.ts";
import { LIMITS } from "./limits.ts";
import { openSelfSigned, parse, type Statement, sign } from "./statements.ts";
import type { Certificate, Challenge, Hello } from "./types.ts";

/** Where a session stands; the same word on both sides. */
export type State = "opened" | "challenged" | "greeted" | "ready" | "draining" | "closed";
/** Who sent a message. */
export type Side = "dispatcher" | "node";

/** The bytes of a challenge's nonce. */
export const NONCE_BYTES = 32;

const TRANSITIONS = new Map(
  (rules.transitions as [State, Side, string, State][]).map(([state, sender, name, following]) => [
    `${state} ${sender} ${name}`,
    following,
  ]),
);

/** One side's view of a session: feeds on what is sent and received, and knows what may come next. */
export class Session {
  private current: State = "opened";

  get state(): State {
    return this.current;
  }

  /** Take note of a message or statement by its name; SessionViolation where the state does not admit it. */
  on(sender: Side, name: string): State {
    const following = TRANSITIONS.get(`${this.current} ${sender} ${name}`);
    if (following === undefined) {
      throw new SessionViolation(`a ${sender} sends no ${name} while the session is ${this.current}`);
    }
    this.current = following;
    return following;
  }
}

/** Check version, audience, time and certificate; return the certificate of the key that signs jobs. */
export async function openChallenge(
  challenge: Challenge,
  {
    audience,
    root_key,
    now_ms,
  }: { readonly audience: string; readonly root_key: string | null; readonly now_ms: number },
): Promise<Certificate> {
  if (challenge.v !== 1) {
    throw new UnsupportedVersion(`the dispatcher speaks protocol ${challenge.v}; this node speaks 1: update it`);
  }
  if (challenge.audience !== audience) {
    throw new NotForMe(`the challenge is meant for ${challenge.audience.slice(0, 200)}, this node dialled ${audience}`);
  }
  if (fromBase64url(challenge.nonce).length !== NONCE_BYTES) {
    throw new NotForMe(`the challenge's nonce does not have ${NONCE_BYTES} bytes`);
  }
  if (challenge.expires_ms - challenge.time_ms > LIMITS.CHALLENGE_LIFETIME_MS) {
    throw new Expired(`the challenge lasts longer than ${LIMITS.CHALLENGE_LIFETIME_MS} ms`);
  }
  const skew_ms = LIMITS.CLOCK_SKEW_MS;
  checkValidity("challenge", challenge.time_ms - skew_ms, challenge.expires_ms + skew_ms, now_ms);
  return openCertificate(parse(fromBase64url(challenge.certificate)), { now_ms, root_key });
}

/** Sign a hello that answers a challenge; NotForMe unless it repeats nonce, audience and expiry. */
export async function answerChallenge(challenge: Challenge, hello: Hello, signer: Signer): Promise<Statement> {
  checkAnswer(hello, challenge);
  return sign("hello", hello, signer);
}

/** On the dispatcher: verify that a hello answers this challenge, in time, signed by the key it names. */
export async function openHello(statement: Statement, challenge: Challenge, now_ms: number): Promise<Hello> {
  const hello = await openSelfSigned(statement, "hello", "node_key");
  checkAnswer(hello, challenge);
  checkValidity("challenge", challenge.time_ms - LIMITS.CLOCK_SKEW_MS, challenge.expires_ms, now_ms);
  return hello;
}

function checkAnswer(hello: Hello, challenge: Challenge): void {
  if (hello.nonce !== challenge.nonce) throw new NotForMe("the hello answers another challenge");
  if (hello.audience !== challenge.audience || hello.expires_ms !== challenge.expires_ms) {
    throw new NotForMe("the hello's audience or expiry is not the challenge's");
  }
}
