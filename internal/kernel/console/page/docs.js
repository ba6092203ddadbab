// The API's documentation, drawn from its OpenAPI document. All text is set as text.
"use strict";
const el = (tag, props = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children.filter((c) => c != null && c !== ""));
  return e;
};
let doc;

const resolve = (s) => (s && s.$ref ? doc.components.schemas[s.$ref.split("/").pop()] || {} : s || {});
const typeOf = (s) => {
  const name = s.$ref ? s.$ref.split("/").pop() : "";
  s = resolve(s);
  const t = [].concat(s.type || []).filter((x) => x !== "null");
  if (t[0] === "array") return "列表：" + typeOf(s.items || {});
  if (t[0] === "object") return "对象" + (name ? " " + name : "");
  return ({ string: s.format === "date" ? "日期" : s.format === "date-time" ? "时间" : "文字", integer: "整数", number: "数字", boolean: "是否" }[t[0]] || "任意") + (s.enum ? "：" + s.enum.map((v) => (v === "" ? "（空）" : v)).join("、") : "");
};
const limits = (s) => [s.maxLength && `最多 ${s.maxLength} 字`, s.minimum !== undefined && `≥ ${s.minimum}`, s.maximum !== undefined && `≤ ${s.maximum}`, s.maxItems && `最多 ${s.maxItems} 项`, s.default !== undefined && `默认 ${s.default}`].filter(Boolean).join("，");

function table(rows) {
  if (!rows.length) return null;
  return el("table", {}, el("thead", {}, el("tr", {}, ...["名称", "类型", "说明"].map((t) => el("th", { textContent: t })))),
    el("tbody", {}, ...rows.map(([name, need, schema, text]) => el("tr", {}, el("td", { className: "nowrap" }, el("code", { textContent: name }), need ? " 必填" : ""), el("td", { textContent: typeOf(schema) }),
      el("td", { textContent: [text, limits(resolve(schema))].filter(Boolean).join("；") })))));
}

// fields lists an object's fields, those of inner objects behind their path, three levels deep.
function fields(schema, prefix = "", depth = 0) {
  const s = resolve(schema);
  if ([].concat(s.type || []).includes("array") && depth < 3) return fields(s.items, prefix + "[]", depth + (prefix ? 1 : 0));
  const out = [];
  for (const [name, p] of Object.entries(s.properties || {})) {
    const path = (prefix ? prefix + "." : "") + name;
    out.push([path, (s.required || []).includes(name), p, p.description || resolve(p).description]);
    if (depth < 2) out.push(...fields(p, path, depth + 1).filter(() => resolve(p).properties || resolve(p).items));
  }
  return out;
}

const bodyOf = (o) => o && o.content && Object.values(o.content)[0] && Object.values(o.content)[0].schema;

function operation(path, verb, op) {
  const d = el("details", { id: op.operationId }, el("summary", {}, el("span", { className: "verb " + verb, textContent: verb }), el("code", { textContent: path }), el("b", { textContent: op.summary }), el("span", { className: "dim", textContent: (op.security || [0]).length === 0 ? "无须登录" : op["x-permission"] ? "权限 " + op["x-permission"] : "登录即可" })));
  d.addEventListener("toggle", () => {
    if (d.childElementCount > 1) return;
    const params = table((op.parameters || []).map((p) => [p.name, p.required, p.schema, p.description]));
    const send = bodyOf(op.requestBody), ok = Object.entries(op.responses || {}).find(([code]) => code[0] === "2");
    const reply = ok && bodyOf(ok[1]);
    d.append(op.description ? el("p", { textContent: op.description }) : "", params ? el("h4", { textContent: "参数" }) : "", params || "", send ? el("h4", { textContent: "请求内容" }) : "", (send && table(fields(send))) || "",
      el("h4", { textContent: "成功答复" + (ok ? " " + ok[0] : "") }), (reply && table(fields(reply))) || el("p", { className: "dim", textContent: reply ? typeOf(reply) : "没有内容，或为文件。" }));
  });
  return d;
}

function draw(q) {
  const groups = new Map();
  for (const [path, item] of Object.entries(doc.paths)) for (const [verb, op] of Object.entries(item)) {
    if (!op.operationId) continue;
    const full = "/api/v1" + path;
    if (q && !(full + op.summary + op.operationId).toLowerCase().includes(q)) continue;
    const tag = (op.tags || ["其他"])[0];
    if (!groups.has(tag)) groups.set(tag, []);
    groups.get(tag).push([full, verb.toUpperCase(), op]);
  }
  const toc = [], body = q ? [] : [el("h2", { textContent: "约定" }), el("p", { textContent: doc.info.description }), el("pre", { textContent: 'POST /api/v1/login  {"account":"…","password":"…"}\n→ {"token":"…"}   以后每次请求：Authorization: Bearer …' })];
  for (const [tag, ops] of groups) {
    toc.push(el("h3", { textContent: tag }), ...ops.map(([, , op]) => el("a", { href: "#" + op.operationId, textContent: op.summary })));
    body.push(el("h2", { textContent: tag }), ...ops.map((o) => operation(...o)));
  }
  if (!groups.size) body.push(el("p", { className: "empty", textContent: "没有符合的接口。" }));
  document.getElementById("toc").replaceChildren(...toc);
  document.getElementById("body").replaceChildren(...body);
}

function unfold() {
  const d = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (d) { d.open = true; d.scrollIntoView(); }
}

fetch("/api/v1/openapi.json").then((r) => r.json()).then((d) => {
  doc = d;
  draw("");
  unfold();
  addEventListener("hashchange", unfold);
  document.getElementById("q").addEventListener("input", (ev) => draw(ev.target.value.trim().toLowerCase()));
}).catch(() => document.getElementById("body").replaceChildren(el("p", { className: "empty", textContent: "接口说明读取失败，请刷新重试。" })));
