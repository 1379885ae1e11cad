// Shows /api/admin/openapi.json. Text from the document only ever becomes text nodes.
const KEY = "kiroproxy-admin-key";
const byId = (id) => document.getElementById(id);

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// A schema as an example-like value: what each field is, references followed a few levels deep.
function outline(spec, schema, depth = 0) {
  if (!schema) return null;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 4 ? name : outline(spec, spec.components.schemas[name], depth + 1);
  }
  if (schema.allOf) return outline(spec, schema.allOf[0], depth);
  if (schema.type === "array") return [outline(spec, schema.items, depth + 1)];
  if (schema.properties) {
    const needed = new Set(schema.required ?? []);
    return Object.fromEntries(Object.entries(schema.properties).map(
      ([name, one]) => [needed.has(name) ? name : `${name}?`, outline(spec, one, depth + 1)],
    ));
  }
  return schema.enum ? schema.enum.join(" | ") : schema.type ?? "any";
}

function body(spec, title, content) {
  const parts = [];
  for (const [type, one] of Object.entries(content ?? {})) {
    const shown = outline(spec, one.schema);
    parts.push(element("p", `${title} (${type})`));
    if (shown !== null) parts.push(element("pre", JSON.stringify(shown, null, 2)));
  }
  return parts;
}

function operation(spec, method, path, one) {
  const made = element("article", "");
  made.id = `${method}${path}`.replaceAll(/[^a-z_]+/gi, "-");
  const name = element("span", method.toUpperCase());
  name.className = "method";
  made.append(element("h3", "", name, element("code", path)), element("p", one.summary));
  if (one.description) made.append(element("p", one.description));
  const queries = (one.parameters ?? []).filter((given) => given.in === "query");
  if (queries.length) {
    const list = element("ul", "");
    for (const given of queries) {
      const kind = JSON.stringify(outline(spec, given.schema));
      list.append(element("li", "", element("code", given.name), ` ${kind}`));
    }
    made.append(element("p", "Query"), list);
  }
  made.append(...body(spec, "Request", one.requestBody?.content));
  for (const [status, answer] of Object.entries(one.responses ?? {})) {
    if (status !== "default") made.append(...body(spec, `Answer ${status}`, answer.content));
  }
  const refusals = Object.keys(one.responses ?? {}).filter((status) => status >= "400" && status !== "default");
  if (refusals.length) made.append(element("p", `Errors: ${refusals.join(", ")}`));
  return made;
}

function show(spec) {
  const operations = byId("operations");
  const contents = element("ul", "");
  operations.replaceChildren();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, one] of Object.entries(methods)) {
      if (method === "parameters") continue;
      const made = operation(spec, method, path, one);
      const link = element("a", `${method.toUpperCase()} ${path.replace("/api/admin", "")}`);
      link.href = `#${made.id}`;
      contents.append(element("li", "", link));
      operations.append(made);
    }
  }
  byId("contents").replaceChildren(contents);
  byId("message").textContent = `${spec.info.title} ${spec.info.version}`;
}

async function load(key) {
  const answer = await fetch(new URL("../openapi.json", import.meta.url), { headers: { "x-api-key": key } });
  const told = await answer.json();
  if (!answer.ok) {
    byId("message").textContent = told.error?.message ?? answer.statusText;
    return;
  }
  sessionStorage.setItem(KEY, key);
  show(told);
}

byId("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  load(byId("key").value.trim());
});
const known = sessionStorage.getItem(KEY);
if (known) load(known);
