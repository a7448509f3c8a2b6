/** The words people see: read from `_locales`, in the browser's language or in English, and put into a page. */
import type messages from "../../_locales/en/messages.json";
import { messageText, uiLanguages } from "../adapters/browser.ts";
import { type Fact, Formats } from "./format.ts";

export { isolate } from "./format.ts";

/** The name of a message in `_locales/en/messages.json`. */
export type MessageKey = keyof typeof messages;

/** The stems of messages that come as `STEM_one` and `STEM_other` (and `_many`, `_few` where a language has them). */
export type CountedKey = MessageKey extends infer Key ? (Key extends `${infer Stem}_other` ? Stem : never) : never;

/** A message and what is put into it; `counted` messages choose their form by the first fact. */
export type Phrase =
  | { readonly key: MessageKey; readonly facts: readonly Fact[] }
  | { readonly counted: CountedKey; readonly count: number; readonly facts: readonly Fact[] };

/** The words of a message. Throws where there is no such message: a defect of this program. */
export function t(key: MessageKey, ...substitutions: readonly string[]): string {
  const words = messageText(key, substitutions);
  if (words === "") throw new RangeError(`no message is named ${key}`);
  return words;
}

/** The words of a message that names a number: in the form which the language has for that many. `$1` is the number. */
export function tCount(stem: CountedKey, count: number, ...substitutions: readonly string[]): string {
  const shown = formats.number(count);
  const form = new Intl.PluralRules(formats.locale).select(count);
  return messageText(`${stem}_${form}`, [shown, ...substitutions]) || t(`${stem}_other`, shown, ...substitutions);
}

/** A phrase in words. Text from the network is set apart, so that it cannot turn the direction of the words around it. */
export function say(phrase: Phrase, now: Date): string {
  const facts = phrase.facts.map((fact) => formats.fact(fact, now));
  return "key" in phrase ? t(phrase.key, ...facts) : tCount(phrase.counted, phrase.count, ...facts);
}

/** Where the words of an attribute go. */
const PLACES: readonly (readonly [string, (element: Element, words: string) => void])[] = [
  [
    "data-text",
    (element, words) => {
      element.textContent = words;
    },
  ],
  ["data-label", (element, words) => element.setAttribute("aria-label", words)],
  ["data-hint", (element, words) => element.setAttribute("placeholder", words)],
];

/**
 * Fill a page with words: `data-text="KEY"` is an element's text, `data-label="KEY"` its name for screen readers,
 * `data-hint="KEY"` its placeholder. The document gets its language, direction and title (`data-text` of `title`).
 */
export function applyText(root: Document | Element): void {
  if (root instanceof Document) {
    root.documentElement.lang = t("language_tag");
    root.documentElement.dir = t("language_direction");
  }
  for (const [attribute, put] of PLACES) {
    for (const element of root.querySelectorAll(`[${attribute}]`)) {
      put(element, t(element.getAttribute(attribute) as MessageKey));
    }
  }
}

/** Numbers, sizes and times in the language of the words, as written where the browser's owner lives. */
export const formats = new Formats(regionalTag(t("language_tag"), uiLanguages()));

/** The owner's first tag of the same language as the words (`en-GB` for `en`), or the words' own. */
export function regionalTag(words: string, languages: readonly string[]): string {
  const language = new Intl.Locale(words).maximize();
  const same = (tag: string): boolean => {
    const other = new Intl.Locale(tag).maximize();
    return other.language === language.language && other.script === language.script;
  };
  return languages.find((tag) => isTag(tag) && same(tag)) ?? words;
}

function isTag(tag: string): boolean {
  try {
    return Intl.getCanonicalLocales(tag).length === 1;
  } catch {
    return false;
  }
}
