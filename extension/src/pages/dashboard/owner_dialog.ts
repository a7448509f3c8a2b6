/** Questions that the owner has to answer before anything else, in the browser's own modal dialog. */
import { type Child, element } from "../dom.ts";
import { t } from "../text.ts";

/** A question. `tick`: words that have to be ticked before the answer can be yes. */
export interface Question {
  readonly title: string;
  readonly body: readonly Child[];
  readonly yes: string;
  readonly tick?: string;
  readonly danger?: boolean;
}

/** Ask, and wait for the answer; leaving by Escape is no. Focus goes back to where it was. */
export async function askOwner(question: Question): Promise<boolean> {
  const fault = element("p", { class: "fault", id: "dialog-fault", hidden: true }, t("dashboard_dialog_tick"));
  const tick = element("input", { type: "checkbox", "aria-describedby": "dialog-fault" });
  const accept = (event: Event): void => {
    if (question.tick === undefined || tick.checked) return;
    event.preventDefault();
    fault.hidden = false;
    tick.setAttribute("aria-invalid", "true");
    tick.focus();
  };
  const answer = await showDialog(question.title, [
    ...question.body,
    question.tick !== undefined && element("label", { class: "choice" }, tick, element("span", {}, question.tick)),
    question.tick !== undefined && fault,
    element(
      "div",
      { class: "row dialog-buttons" },
      element("button", { class: "button", value: "no", formnovalidate: true }, t("dashboard_cancel")),
      element(
        "button",
        { class: question.danger ? "button danger" : "button primary", value: "yes", on: { click: accept } },
        question.yes,
      ),
    ),
  ]);
  return answer === "yes";
}

/**
 * Show a modal dialog until one of its submit buttons closes it; resolves to that button's value, or to nothing where it
 * was left. What it showed is gone from the page then.
 */
export function showDialog(title: string, content: readonly Child[]): Promise<string> {
  const dialog = element(
    "dialog",
    { class: "owner-dialog", "aria-labelledby": "dialog-title" },
    element(
      "form",
      { class: "stack", method: "dialog" },
      element("h2", { id: "dialog-title", tabindex: "-1", autofocus: true }, title),
      ...content,
    ),
  );
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
