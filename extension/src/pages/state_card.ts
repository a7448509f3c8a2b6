/** A state as a card: a sign that differs in shape and colour, headline, reason, and the one thing to do about it. */
import { element, fill, setText, svgElement } from "./dom.ts";
import type { Action, Explanation, Tone } from "./explain.ts";
import { say, t } from "./text.ts";

/** What each sign shows within its disc of 24 by 24: arrow, tick, dots, bars, exclamation mark. */
const SIGNS: { readonly [Name in Tone]: string } = {
  working: "M12 6v9m-4-4 4 4 4-4M8 18h8",
  ready: "m7 12.5 3.5 3.5L17 9",
  waiting: "M7 12h.01M12 12h.01M17 12h.01",
  resting: "M9.5 8v8M14.5 8v8",
  attention: "M12 6.5v7M12 17.2h.01",
};

/** The sign of a tone. It says nothing that the words beside it do not say. */
export function toneSign(tone: Tone): SVGSVGElement {
  return svgElement(
    "svg",
    { class: "sign", viewBox: "0 0 24 24", "aria-hidden": "true", "data-tone": tone },
    svgElement("circle", { class: "sign-disc", cx: 12, cy: 12, r: 11 }),
    svgElement("path", { class: "sign-mark", d: SIGNS[tone] }),
  );
}

/**
 * Shows states in one place of a page. The live region is told when headline or reason become others, not when only a
 * time in them moves on, so that a screen reader is not made to count seconds.
 */
export class StateCard {
  readonly #sign = element("div", { class: "state-sign" });
  readonly #headline = element("p", { class: "state-headline" });
  readonly #reason = element("p", { class: "state-reason" });
  readonly #button: HTMLButtonElement;
  readonly #said = [element("p"), element("p")] as const;
  readonly #live = element("div", { class: "visually-hidden", role: "status" }, ...this.#said);
  #action: Action | null = null;
  #shown = "";

  /** Take over `place`; `act` is called when the owner presses the button. */
  constructor(
    private readonly place: HTMLElement,
    act: (action: Action) => void,
  ) {
    this.#button = element("button", {
      type: "button",
      class: "button primary",
      on: { click: () => this.#action !== null && act(this.#action) },
    });
    this.#button.hidden = true;
    const words = element("div", { class: "state-words" }, this.#headline, this.#reason, this.#button);
    place.classList.add("state");
    fill(place, this.#sign, words, this.#live);
  }

  /** Go to the button, where there is one. */
  focus(): void {
    this.#button.focus();
  }

  /** Show a state as it is at `now`. */
  show(explanation: Explanation, now: Date): void {
    const { headline, reason, tone, action } = explanation;
    if (this.place.getAttribute("data-tone") !== tone) {
      this.place.setAttribute("data-tone", tone);
      fill(this.#sign, toneSign(tone));
    }
    setText(this.#headline, say(headline, now));
    setText(this.#reason, say(reason, now));
    const identity = JSON.stringify([headline, nameOf(reason)]);
    if (identity !== this.#shown) {
      this.#shown = identity;
      setText(this.#said[0], say(headline, now));
      setText(this.#said[1], say(reason, now));
    }
    this.#action = action;
    if (action !== null) setText(this.#button, t(action.label));
    this.#button.hidden = action === null;
  }
}

function nameOf(reason: Explanation["reason"]): string {
  return "key" in reason ? reason.key : reason.counted;
}
