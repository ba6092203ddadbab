// The first page: sign in, who am I, and my lists. All text is set as text, never as HTML.
"use strict";
const $ = (id) => document.getElementById(id);
const el = (tag, props = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children.filter((c) => c != null));
  return e;
};

let csrf = "", me = null, list = null, events = null, labels = {};

async function api(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  let r;
  try {
    r = await fetch("/api/v1" + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw { code: "offline", message: "网络不通，请检查网络后重试。" };
  }
  const text = await r.text();
  let data = {};
  try { data = text ? JSON.parse(text) : {}; } catch { data = { message: "系统暂时无法访问，请稍后重试。" }; }
  if (!r.ok) throw { status: r.status, ...data };
  return data;
}

const explain = (e) => [e.message || "系统暂时无法访问，请稍后重试。", ...(e.fields || []).map((f) => f.message)].filter((t, i, all) => all.indexOf(t) === i).join(" ");

function submit(form, work) {
  form.addEventListener("submit", async (ev) => {
    ev.preventDefault();
    const error = form.querySelector(".error"), button = form.querySelector("button");
    error.textContent = "";
    button.disabled = true;
    try {
      await work(Object.fromEntries(new FormData(form)));
    } catch (e) {
      error.textContent = explain(e);
    }
    button.disabled = false;
  });
}

submit($("signin"), async (v) => {
  if (!v.otp) delete v.otp;
  try {
    csrf = (await api("POST", "/login", v)).csrf;
  } catch (e) {
    if (e.code === "access.otpRequired") {
      $("otp").hidden = false;
      $("otp").querySelector("input").focus();
    }
    throw e;
  }
  $("signin").reset();
  $("otp").hidden = true;
  await start();
});

submit($("change"), async (v) => {
  if (v.new !== v.again) throw { message: "两次输入的新密码不一致。" };
  await api("POST", "/me/password", { old: v.old, new: v.new });
  $("change").reset();
  await start();
});

if ($("accounts")) $("accounts").addEventListener("click", (ev) => {
  const b = ev.target.closest("button");
  if (!b) return;
  const f = $("signin").elements;
  f.account.value = b.dataset.account;
  f.password.value = b.dataset.password;
  $("signin").requestSubmit();
});

async function start() {
  try {
    me = await api("GET", "/me");
  } catch (e) {
    if (e.status !== 401) $("signin").querySelector(".error").textContent = explain(e);
    return showWelcome(false);
  }
  csrf = me.csrf;
  $("who").replaceChildren(el("b", { textContent: me.name }), el("button", { type: "button", textContent: "退出", onclick: leave }));
  if (me.mustChange) return showWelcome(true);
  $("welcome").hidden = true;
  $("work").hidden = false;
  await showScope();
  showMenu();
  listen();
}

function showWelcome(change) {
  $("work").hidden = true;
  $("welcome").hidden = false;
  $("signin").hidden = change;
  $("change").hidden = !change;
  if (!change) $("who").replaceChildren();
  if (events) events.close();
}

async function leave() {
  try { await api("POST", "/logout"); } catch { /* the login has ended by itself */ }
  location.reload();
}

const admins = { system: "系统管理员", security: "安全管理员", audit: "审计管理员" };

async function showScope() {
  const names = await Promise.all(me.scope.map(async (g) => {
    const where = await Promise.all(g.divisions.slice(0, 3).map(divisionName));
    const lines = await Promise.all(g.lines.map((l) => label("line", l)));
    return [g.unit, where.join("、") + (g.divisions.length > 3 ? "等" : ""), lines.length ? lines.join("、") : ""];
  }));
  const parts = names.map(([unit, where, lines]) => el("span", {}, el("b", { textContent: unit }), where && !admins[me.admin] ? ` 管辖：${where}` : null, lines ? ` 行业：${lines}` : null));
  if (!parts.length) parts.push(el("span", { textContent: "您的账号尚未绑定任职，暂时没有可办理的业务，请联系安全管理员。" }));
  $("scope").replaceChildren(...parts);
}

async function divisionName(code) {
  if (code === "000000000000") return "全国";
  try { return (await api("GET", "/divisions/" + encodeURIComponent(code))).name; } catch { return code; }
}

async function label(dict, code) {
  if (!labels[dict]) {
    labels[dict] = api("GET", `/dicts/${encodeURIComponent(dict)}/items`).then((l) => Object.fromEntries(l.items.map((i) => [i.code, i.label])), () => ({}));
  }
  return (await labels[dict])[code] || code;
}

function showMenu() {
  const items = me.menu.filter((m) => !m.path.includes("{"));
  const todo = items.find((m) => m.path === "/hidden-dangers");
  const nodes = [];
  const entry = (m) => el("button", { type: "button", textContent: m.title, onclick: (ev) => show(m, ev.currentTarget) });
  let first = null;
  if (todo) nodes.push((first = entry({ ...todo, title: "待办", view: "open", sort: "dueAt" })));
  let group = null;
  for (const m of items) {
    if (m.group !== group) nodes.push(el("h3", { textContent: (group = m.group) }));
    const b = entry(m);
    first ||= b;
    nodes.push(b);
  }
  $("menu").replaceChildren(...nodes);
  if (first) return first.click();
  $("title").textContent = "欢迎使用";
  $("search").hidden = true;
  $("rows").replaceChildren(el("p", { className: "empty", textContent: "业务列表在您有相应权限后显示。" }));
}

// Only the columns that a person reads first, those to sort by among them; the export has them all.
const dull = new Set(["id", "version", "origin", "enterpriseId", "division", "recordId", "recordType", "responsibleId", "updatedAt"]);

function readFirst(columns) {
  const able = columns.filter((c) => !c.hidden && !dull.has(c.key));
  const keep = new Set([...able.filter((c) => c.sort), ...able].slice(0, 8));
  return able.filter((c) => keep.has(c));
}

async function show(m, button) {
  for (const b of $("menu").querySelectorAll("button")) b.removeAttribute("aria-current");
  button.setAttribute("aria-current", "page");
  $("title").textContent = m.title;
  $("total").textContent = "";
  $("views").replaceChildren();
  $("more").hidden = true;
  const mine = (list = { path: m.path, view: m.view || "", sort: m.sort || "", q: "" });
  try {
    const meta = await api("GET", m.path + "/columns");
    if (list !== mine) return;
    mine.columns = readFirst(meta.columns);
    $("search").hidden = !meta.search;
    $("search").reset();
    const tabs = [{ key: "", title: "全部" }, ...meta.views].map((v) => el("button", { type: "button", textContent: v.title, onclick: () => { mine.view = v.key; load(); } }));
    tabs.forEach((b, i) => (b.dataset.view = i ? meta.views[i - 1].key : ""));
    if (meta.views.length) $("views").replaceChildren(...tabs);
    await load();
  } catch (e) {
    if (list !== mine) return;
    $("search").hidden = true;
    $("rows").replaceChildren(el("p", { className: "empty", textContent: e.status === 404 ? "此页面暂未提供，可先通过接口办理，见页底“接口文档”。" : explain(e) }));
  }
}

async function load(cursor) {
  const mine = list;
  for (const b of $("views").children) b.setAttribute("aria-pressed", String(b.dataset.view === mine.view));
  const query = new URLSearchParams({ limit: "20" });
  for (const k of ["view", "sort", "q"]) if (mine[k]) query.set(k, mine[k]);
  if (cursor) query.set("cursor", cursor);
  let page;
  try {
    page = await api("GET", mine.path + "?" + query);
  } catch (e) {
    if (e.status === 401) return showWelcome(false);
    return $("rows").replaceChildren(el("p", { className: "empty", textContent: explain(e) }));
  }
  const rows = await Promise.all(page.items.map((r) => Promise.all(mine.columns.map((c) => cell(c, r, mine.view)))));
  if (list !== mine) return;
  const body = rows.map((cells) => el("tr", {}, ...cells));
  if (cursor) $("rows").querySelector("tbody").append(...body);
  else if (!rows.length) $("rows").replaceChildren(el("p", { className: "empty", textContent: "没有符合条件的记录。" }));
  else $("rows").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...mine.columns.map((c) => el("th", { textContent: c.title })))), el("tbody", {}, ...body)));
  if (page.total >= 0) $("total").textContent = `共 ${page.total}${page.totalCapped ? " 条以上" : " 条"}`;
  $("more").hidden = !page.next;
  $("more").onclick = () => load(page.next);
}

const moment = new Intl.DateTimeFormat("zh-CN", { timeZone: "Asia/Shanghai", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hour12: false });

// A period in days ends with the day: midnight is 24:00 of the day before (民法典 第二百零三条).
const dayEnd = (s) => {
  const t = new Date(s), text = moment.format(t).replaceAll("/", "-");
  return / (00|24):00$/.test(text) ? moment.format(new Date(t - 60000)).replaceAll("/", "-").slice(0, 10) + " 24:00" : text;
};

async function cell(c, row, view) {
  let v = row[c.key];
  const td = el("td");
  td.dataset.title = c.title;
  if (v === undefined || v === null || v === "" || v === "0001-01-01T00:00:00Z") return td;
  if (c.kind === "time") {
    td.className = "nowrap";
    if (c.key === "dueAt" && ["open", "overdue", "running"].includes(view) && new Date(v) < Date.now()) td.className += " late";
    v = c.key === "dueAt" ? dayEnd(v) : moment.format(new Date(v)).replaceAll("/", "-");
  } else if (c.kind === "bool") v = v ? "是" : "否";
  else if (c.dict) {
    td.append(el("span", { className: "tag" + (v === "major" ? " major" : ""), textContent: await label(c.dict, String(v)) }));
    return td;
  }
  td.append(Array.isArray(v) ? v.join("、") : String(v));
  return td;
}

$("search").addEventListener("submit", (ev) => {
  ev.preventDefault();
  list.q = new FormData(ev.target).get("q").trim();
  load();
});

// What others do shows by itself, at most once in two seconds and only while the first page is on screen.
function listen() {
  if (events) events.close();
  events = new EventSource("/api/v1/live");
  let due = 0;
  const again = () => {
    clearTimeout(due);
    due = setTimeout(() => { if (list && list.columns && $("rows").querySelectorAll("tbody tr").length <= 20) load(); }, 2000);
  };
  events.addEventListener("change", again);
  events.addEventListener("lost", again);
  events.addEventListener("end", () => { showWelcome(false); $("signin").querySelector(".error").textContent = "登录已结束，请重新登录。"; });
}

start();
