/** What the toolbar icon says: a few characters, a colour, and the state with its reason in words. */
import type { OwnerState } from "../node/owner_state.ts";
import { explain, type Tone } from "./explain.ts";
import { say, t } from "./text.ts";

/** `text` has at most four characters and stands in white on `colour`; empty text shows the icon alone. */
export interface Badge {
  readonly text: string;
  readonly colour: string;
  readonly title: string;
}

/** Dark enough for white text at 4.5:1 (WCAG 2.2, 1.4.3). */
export const COLOURS: { readonly [Name in Tone]: string } = {
  working: "#25602e",
  ready: "#25602e",
  waiting: "#76500a",
  resting: "#4a5568",
  attention: "#a02c22",
};

/**
 * The badge of a state: the number of pages in hand while working, nothing while all is well, `!` where the owner is
 * needed, `…` while connecting, `off` when switched off, `II` while it rests.
 */
export function badgeFor(state: OwnerState, now: Date = new Date()): Badge {
  const { headline, reason, tone } = explain(state, null, now);
  return {
    text: textOf(tone, state),
    colour: COLOURS[tone],
    title: t("badge_title", say(headline, now), say(reason, now)),
  };
}

function textOf(tone: Tone, { rules, standing }: OwnerState): string {
  switch (tone) {
    case "working":
      return String(standing.jobs_in_hand);
    case "ready":
      return "";
    case "waiting":
      return "…";
    case "resting":
      return rules.pause?.until_ms === null ? t("badge_off") : "II";
    case "attention":
      return "!";
  }
}
