/** The message beside a field that holds something wrong (WAI-ARIA 1.2, aria-invalid; WCAG 2.2, 3.3.1). */
import { setText } from "../dom.ts";

/** Say what is wrong with a field, or with null that nothing is. `place` is named by the field's aria-describedby. */
export function setFault(field: HTMLInputElement, place: HTMLElement, words: string | null): void {
  place.hidden = words === null;
  setText(place, words ?? "");
  if (words === null) field.removeAttribute("aria-invalid");
  else field.setAttribute("aria-invalid", "true");
}
