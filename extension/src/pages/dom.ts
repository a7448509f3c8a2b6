/** Building pages: typed elements whose text is always text, never markup. */

/** What an element may hold: elements, and strings that become text nodes. null and false are left out. */
export type Child = Node | string | null | false;

/**
 * Attributes and listeners of an element. `class`, `id`, `type`, `aria-*`, `data-*` and the like are attributes: true is
 * an attribute without value, false and null leave it out. `on` are listeners by event name.
 */
export interface Attributes {
  readonly on?: { readonly [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void };
  readonly [name: string]: string | number | boolean | null | object | undefined;
}

/** Make an HTML element. Throws TypeError for an attribute that would carry code (`on...`, `style`). */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  setAttributes(made, attributes);
  made.append(...children.filter(isShown));
  return made;
}

/** Make an SVG element; otherwise as `element`. */
export function svgElement<Name extends keyof SVGElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[Name] {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  setAttributes(made, attributes);
  made.append(...children.filter(isShown));
  return made;
}

/** The element of the page with an id. Throws where it is missing or of another type: page and program disagree. */
export function byId<Type extends HTMLElement>(id: string, type: new () => Type): Type {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`the page has no ${type.name} with the id ${id}`);
  return found;
}

/** Replace what an element holds. */
export function fill(parent: Element, ...children: readonly Child[]): void {
  parent.replaceChildren(...children.filter(isShown));
}

/** Set an element's text where it differs: a live region that is set again would be read out again. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

function isShown(child: Child): child is Node | string {
  return child !== null && child !== false;
}

function setAttributes(target: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") continue;
    if (name === "style" || name.startsWith("on")) throw new TypeError(`${name} is no attribute for a page of ours`);
    if (value === false || value === null || value === undefined) continue;
    target.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [name, listener] of Object.entries(attributes.on ?? {})) {
    target.addEventListener(name, listener as EventListener);
  }
}
