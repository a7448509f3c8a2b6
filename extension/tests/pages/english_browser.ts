/** A browser that speaks English: what text.ts asks of it, answered from `_locales/en` as chrome.i18n does. */
import english from "../../_locales/en/messages.json";

export interface Message {
  readonly message: string;
  readonly description?: string;
  readonly placeholders?: { readonly [name: string]: { readonly content: string; readonly example?: string } };
}

export type Messages = { readonly [key: string]: Message };

export const ENGLISH: Messages = english;

function getMessage(key: string, substitutions: readonly string[] = []): string {
  const found = ENGLISH[key];
  if (found === undefined) return "";
  const named = found.message.replace(/\$(\w+)\$/g, (_, name: string) => found.placeholders?.[name]?.content ?? "");
  return named.replace(/\$(\d)/g, (_, place: string) => substitutions[Number(place) - 1] ?? "");
}

Object.assign(globalThis, {
  __BROWSER__: "chrome",
  chrome: { i18n: { getMessage, getUILanguage: () => "en-GB" } },
  navigator: { languages: ["en-GB", "en"] },
});
