// Draws openapi.json: every operation with its parameters, its body, its answers, and a command to try it with.
"use strict";

/** Make an element; text is always text, never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A schema's words for its type, as `array of string` or `integer or null`. */
function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return schema.items ? `array of ${typeOf(schema.items)}` : "array";
  return [schema.type ?? "anything"].flat().join(" or ");
}

/** The bounds a schema sets, in words. */
function boundsOf(schema) {
  const words = [];
  if ("minimum" in schema || "maximum" in schema) words.push(`${schema.minimum ?? ""} to ${schema.maximum ?? ""}`);
  if ("maxLength" in schema) words.push(`at most ${schema.maxLength} characters`);
  if ("maxItems" in schema) words.push(`at most ${schema.maxItems} items`);
  if ("default" in schema) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.length ? `, ${words.join(", ")}` : "";
}

function fieldsOf(schema, api) {
  const found = schema.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema;
  if (!found.properties) return element("p", {}, typeOf(found));
  const list = element("dl");
  for (const [name, field] of Object.entries(found.properties)) {
    const must = found.required?.includes(name) ? ", required" : "";
    list.append(element("dt", {}, element("code", {}, name), ` ${typeOf(field)}${boundsOf(field)}${must}`));
    if (field.description) list.append(element("dd", {}, field.description));
  }
  return list;
}

function details(title, content) {
  const made = element("details", {}, element("summary", {}, title));
  made.append(content);
  return made;
}

function command(method, path, operation, api) {
  const address = `${api.servers[0].url.replace(/\/$/, "")}${path}`;
  const lines = [`curl -X ${method.toUpperCase()} '${address}'`];
  if (!(operation.security && operation.security.length === 0)) lines.push("  -H \"Authorization: Bearer $MEADOW_API_KEY\"");
  if (operation.requestBody) lines.push("  -H 'Content-Type: application/json' -d '{}'");
  return element("pre", {}, element("code", {}, lines.join(" \\\n")));
}

function operationOf(method, path, operation, api) {
  const made = element("article", { id: operation.operationId });
  made.append(
    element("h3", {}, element("span", { class: "method" }, method.toUpperCase()), element("code", {}, path)),
    element("p", {}, operation.description),
    command(method, path, operation, api),
  );
  if (operation.parameters.length) {
    const list = element("dl");
    for (const each of operation.parameters) {
      const must = each.required ? ", required" : "";
      list.append(element("dt", {}, element("code", {}, each.name), ` in ${each.in}: ${typeOf(each.schema)}${boundsOf(each.schema)}${must}`));
      if (each.description) list.append(element("dd", {}, each.description));
    }
    made.append(element("h4", {}, "Parameters"), list);
  }
  if (operation.requestBody) {
    const { schema } = operation.requestBody.content["application/json"];
    made.append(details("Body", fieldsOf(schema, api)));
  }
  for (const [status, answer] of Object.entries(operation.responses)) {
    const media = Object.values(answer.content ?? {})[0];
    const content = element("div", {}, element("p", {}, answer.description));
    if (media?.schema && status < 300) content.append(fieldsOf(media.schema, api));
    made.append(details(`${status} ${status < 300 ? "answer" : "refusal"}`, content));
  }
  return made;
}

async function draw() {
  const main = document.getElementById("operations");
  const answer = await fetch("/openapi.json");
  if (!answer.ok) {
    main.append(element("p", { role: "alert" }, `openapi.json cannot be read: HTTP ${answer.status}`));
    return;
  }
  const api = await answer.json();
  document.getElementById("summary").textContent = `${api.info.summary} Version ${api.info.version}.`;
  const contents = element("ul");
  for (const { name } of api.tags) {
    main.append(element("h2", {}, name));
    contents.append(element("li", {}, element("strong", {}, name)));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (!operation.tags.includes(name)) continue;
        main.append(operationOf(method, path, operation, api));
        contents.append(element("li", {}, element("a", { href: `#${operation.operationId}` }, operation.summary)));
      }
    }
  }
  document.getElementById("contents").append(contents);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

draw();
