/*
 * The portal's page: shows what the API says (openapi.yaml). Every text from outside becomes a text node, never markup; the QR code, which our server
 * drew, is parsed as SVG and taken over element by element. Keeps the CSRF token in memory only.
 */
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const KINDS = ["iphone", "ipad", "mac", "android", "windows", "other"];
const PAGE = 50;
let texts = {}, me = null, csrf = "", view = "", tab = "devices", skip = 0;

/* --- texts --- */
const t = (key, values) => (texts[key] || key).replace(/\{(\w+)\}/g, (all, name) => values && name in values ? values[name] : all);
const time = (at) => at ? new Date(at).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }) : "";
const guessKind = () => {
	const ua = navigator.userAgent;
	return /iPhone/.test(ua) ? "iphone" : /iPad/.test(ua) || (/Macintosh/.test(ua) && navigator.maxTouchPoints > 1) ? "ipad" :
		/Android/.test(ua) ? "android" : /Windows/.test(ua) ? "windows" : /Macintosh/.test(ua) ? "mac" : "iphone";
};

/* el("p", {class: "small"}, "text", node, ...) */
const el = (name, attributes, ...children) => {
	const e = document.createElement(name);
	for (const [key, value] of Object.entries(attributes || {})) {
		if (key === "on") e.addEventListener("click", value);
		else if (value !== undefined && value !== null) e.setAttribute(key, value);
	}
	e.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
	return e;
};
const say = (text) => { $("alert").textContent = ""; $("status").textContent = text; };
const complain = (text) => { $("status").textContent = ""; $("alert").textContent = text; };

/* --- the API --- */
class Refused extends Error {}
const api = async (method, path, body) => {
	const headers = {};
	if (body !== undefined) headers["Content-Type"] = "application/json";
	if (method !== "GET" && csrf) headers["X-Easgate-Csrf"] = csrf;
	let answer;
	try {
		answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin", cache: "no-store" });
	} catch (e) {
		throw new Refused(t("error-network"));
	}
	if (answer.status === 204) return {};
	let data = {};
	try { data = await answer.json(); } catch (e) { /* said below */ }
	if (answer.ok) return data;
	if (data.error === "sign-in" && me) { me = null; csrf = ""; show("sign-in"); }
	const key = "error-" + data.error;
	throw new Refused(key in texts ? t(key, { minutes: Math.ceil((data.seconds || 60) / 60) }) : t("error-other", { text: data.text || answer.status }));
};
/* Runs an act with its button off meanwhile; says what went wrong. */
const act = async (button, what) => {
	if (button) button.disabled = true;
	try { await what(); } catch (e) {
		if (!(e instanceof Refused)) throw e;
		complain(e.message);
	} finally { if (button) button.disabled = false; }
};

/* --- views --- */
const show = (name, quietly) => {
	view = name;
	for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== "view-" + name;
	$("nav").hidden = !me;
	for (const b of document.querySelectorAll("nav [data-view]")) {
		if (b.dataset.view === (name === "admin" ? "admin" : "devices")) b.setAttribute("aria-current", "page");
		else b.removeAttribute("aria-current");
	}
	if (!quietly) { $("alert").textContent = ""; $("status").textContent = ""; }
	const head = document.querySelector("#view-" + name + " h1");
	document.title = (head ? head.textContent + " – " : "") + $("title").textContent;
	if (name === "sign-in") $("name").focus(); else $("main").focus();
	if (name === "devices") act(null, listDevices);
	if (name === "admin") openTab(tab);
};
const ask = (head, text, yes) => new Promise((done) => {
	const dialog = $("ask");
	let answer = false;
	$("ask-head").textContent = head; $("ask-text").textContent = text; $("ask-yes").textContent = yes;
	$("ask-yes").onclick = () => { answer = true; dialog.close(); };
	$("ask-no").onclick = () => dialog.close();
	dialog.onclose = () => done(answer);
	dialog.showModal();
	$("ask-no").focus();
});

/* --- signing in --- */
const welcome = (data) => {
	me = data.user; csrf = data.csrf;
	if (data.site.title) $("title").textContent = data.site.title;
	$("who").textContent = me.display_name || me.upn || me.name;
	$("nav-admin").hidden = !data.admin;
	show("devices");
};
$("form-sign-in").addEventListener("submit", (event) => {
	event.preventDefault();
	const password = $("password");
	act(event.submitter, async () => {
		const body = { name: $("name").value.trim(), password: password.value };
		password.value = "";
		say("");
		welcome(await api("POST", "/api/session", body));
	}).then(() => { if (!me) password.focus(); });
});
$("sign-out").addEventListener("click", (event) => act(event.currentTarget, async () => {
	await api("DELETE", "/api/session");
	me = null; csrf = "";
	show("sign-in");
	say(t("signed-out"));
}));

/* --- own devices --- */
const state = (word) => el("span", { class: "state state-" + word }, t("state-" + word) === "state-" + word ? word : t("state-" + word));
const listDevices = async () => {
	const { devices } = await api("GET", "/api/devices");
	const list = $("devices");
	list.replaceChildren();
	const shown = devices.filter((d) => d.state !== "revoked").concat(devices.filter((d) => d.state === "revoked"));
	for (const d of shown) {
		const live = (d.certificates || []).filter((c) => c.state === "live");
		const buttons = el("div", { class: "row" });
		if (d.state === "active") buttons.append(el("button", { type: "button", class: live.length ? null : "main", on: (e) => act(e.currentTarget, () => install(d)) },
			t(live.length ? "set-up-again" : "set-up")));
		if (d.state !== "revoked") buttons.append(el("button", { type: "button", class: "danger", "aria-label": t("revoke") + ": " + d.name,
			on: (e) => { const b = e.currentTarget; revoke(b, d); } }, t("revoke")));
		list.append(el("li", { class: "card" }, el("h2", {}, d.name), el("div", {}, t("kind-" + d.kind), " · ", state(d.state)),
			el("div", { class: "small" }, d.last_sync ? t("last-sync", { time: time(d.last_sync) }) : t("last-sync-never")),
			el("div", { class: "small" }, live.length ? t("certificate-ends", { time: time(live[live.length - 1].not_after) }) : t("certificate-none")),
			el("div", { class: "small" }, t("added", { time: time(d.created) })), d.state === "waiting" ? el("p", {}, t("waiting")) : null, buttons));
	}
	$("devices-none").hidden = devices.length > 0;
};
const revoke = async (button, d) => {
	if (!await ask(t("revoke-head", { name: d.name }), t("revoke-text"), t("revoke"))) { button.focus(); return; }
	act(button, async () => {
		await api("POST", "/api/devices/" + d.id + "/revoke", { reason: "lost" });
		await listDevices();
		say(t("revoked", { name: d.name }));
		$("main").focus();
	});
};
$("form-add").addEventListener("submit", (event) => {
	event.preventDefault();
	act(event.submitter, async () => {
		const kind = document.querySelector("#kinds input:checked").value;
		const { device } = await api("POST", "/api/devices", { name: $("device-name").value.trim(), kind });
		$("device-name").value = "";
		if (device.state === "active") await install(device);
		else { show("devices"); say(t("waiting")); }
	});
});

/* --- setting one up --- */
const drawing = (svg) => {
	const parsed = new DOMParser().parseFromString(svg || "", "image/svg+xml").documentElement;
	return parsed.nodeName === "svg" && !parsed.querySelector("script, foreignObject, a, image, use") ? document.importNode(parsed, true) : null;
};
const install = async (d) => {
	const it = await api("POST", "/api/devices/" + d.id + "/delivery", {});
	$("h-install").textContent = t("install-head", { name: d.name });
	show("install");
	$("install-ends").textContent = t("install-ends", { time: time(it.ends) });
	$("steps").replaceChildren(...(it.help.steps || []).map((s) => el("li", {}, t("step-" + s))));
	$("secret").hidden = !it.password;
	$("secret-text").textContent = it.password || "";
	$("download").textContent = t(it.help.delivery === "profile" ? "download-profile" : "download-pkcs12");
	$("download").setAttribute("href", it.path);
	const qr = drawing(it.qr);
	$("qr").replaceChildren(...(qr ? [qr] : []));
	$("qr-card").hidden = !qr;
	$("values").replaceChildren(...["mail", "user", "host", "server", "est"].filter((k) => it.help.values && it.help.values[k])
		.map((k) => el("tr", {}, el("th", { scope: "row" }, t("value-" + k)), el("td", {}, it.help.values[k]))));
};
$("copy").addEventListener("click", async () => {
	try { await navigator.clipboard.writeText($("secret-text").textContent); say(t("copied")); } catch (e) { getSelection().selectAllChildren($("secret-text")); }
});

/* --- administration --- */
/* The roles are said because narrow screens show rows as blocks. */
const table = (columns, rows) => rows.length ? el("table", { class: "rows", role: "table" },
	el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...columns.map((c) => el("th", { scope: "col", role: "columnheader" }, t("col-" + c))))),
	el("tbody", { role: "rowgroup" }, ...rows.map((r) => el("tr", { role: "row" },
		...r.map((c, i) => el("td", { role: "cell", "data-label": t("col-" + columns[i]) }, c)))))) : el("p", {}, t("none"));
const adminAct = (d, word, needsAsking) => el("button", { type: "button", class: word === "revoke" ? "danger" : null, "aria-label": t(word) + ": " + d.name,
	on: async (event) => {
		const button = event.currentTarget;
		if (needsAsking && !await ask(t(word + "-head", { name: d.name }), t(word + "-text"), t(word))) return;
		act(button, async () => {
			await api("POST", "/api/admin/devices/" + d.id + "/" + word, {});
			await openTab("devices");
			say(t(word === "revoke" ? "revoked" : "done-" + word, { name: d.name }));
		});
	} }, t(word));
const TABS = {
	devices: async (text) => {
		const { devices } = await api("GET", "/api/admin/devices?limit=" + PAGE + "&skip=" + skip + "&text=" + encodeURIComponent(text));
		return [devices.length, table(["name", "owner", "kind", "state", "created", "acts"], devices.map((d) => [d.name, d.owner.upn || d.owner.name,
			t("kind-" + d.kind), d.held ? el("span", { class: "state state-hold" }, t("held")) : state(d.state), time(d.created), el("div", { class: "row" }, ...(d.state === "revoked" ? [] : [
				d.state === "waiting" ? adminAct(d, "approve") : null, d.live ? adminAct(d, "hold", true) : null, d.held ? adminAct(d, "release") : null,
				adminAct(d, "revoke", true)]).filter(Boolean))]))];
	},
	accounts: async (text) => {
		const { accounts } = await api("GET", "/api/admin/accounts?limit=" + PAGE + "&skip=" + skip + "&text=" + encodeURIComponent(text));
		return [accounts.length, table(["name", "upn", "mail", "seen"], accounts.map((a) => [a.display_name || a.name, a.upn, a.mail, time(a.last_seen)]))];
	},
	audit: async (text) => {
		const { entries } = await api("GET", "/api/admin/audit?limit=" + PAGE + "&skip=" + skip + "&object=" + encodeURIComponent(text));
		return [entries.length, table(["n", "at", "actor", "action", "object", "detail"],
			entries.map((e) => [String(e.n), time(e.at), e.actor, e.action, e.object, e.detail]))];
	},
	state: async () => {
		const s = await api("GET", "/api/admin/state");
		const facts = Object.entries(s.facts).filter(([, v]) => v !== null && v !== "");
		return [0, el("div", {}, el("table", { class: "facts" }, el("tbody", {}, ...facts.map(([k, v]) => el("tr", {}, el("th", { scope: "row" }, t("fact-" + k)),
			el("td", {}, k === "list_ends" ? time(v) : String(v)))))), el("table", {}, el("caption", {}, t("ca-head")), el("thead", {}, el("tr", {},
			el("th", { scope: "col" }, t("col-kind")), el("th", { scope: "col" }, t("ca-subject")), el("th", { scope: "col" }, t("ca-ends")))),
			el("tbody", {}, ...s.ca.map((c) => el("tr", {}, el("td", {}, c.kind), el("td", {}, c.subject), el("td", {}, time(c.not_after)))))))];
	},
};
const openTab = (name, more) => act(null, async () => {
	tab = name;
	skip = more ? skip + PAGE : 0;
	for (const b of document.querySelectorAll("[data-tab]")) {
		b.setAttribute("aria-selected", String(b.dataset.tab === name));
		b.tabIndex = b.dataset.tab === name ? 0 : -1;
	}
	$("form-search").hidden = name === "state";
	$("admin-body").setAttribute("aria-labelledby", "tab-" + name);
	const [n, body] = await TABS[name]($("search").value.trim());
	if (!more) $("admin-body").replaceChildren(body);
	else if (n) $("admin-body").append(body);
	$("more").hidden = n < PAGE;
});
$("form-search").addEventListener("submit", (event) => { event.preventDefault(); openTab(tab); });
$("more").addEventListener("click", () => openTab(tab, true));
document.querySelector(".tabs").addEventListener("keydown", (event) => {
	const all = [...document.querySelectorAll("[data-tab]")], at = all.indexOf(document.activeElement);
	const next = event.key === "ArrowRight" ? at + 1 : event.key === "ArrowLeft" ? at - 1 : -1;
	if (at < 0 || (event.key !== "ArrowRight" && event.key !== "ArrowLeft")) return;
	const b = all[(next + all.length) % all.length];
	b.focus(); $("search").value = ""; openTab(b.dataset.tab);
});

/* --- the start --- */
document.addEventListener("click", (event) => {
	const b = event.target.closest("[data-view]"), c = event.target.closest("[data-tab]");
	if (b) show(b.dataset.view);
	if (c) { $("search").value = ""; openTab(c.dataset.tab); }
});
(async () => {
	const known = fetch("/api/me", { credentials: "same-origin", cache: "no-store" }).catch(() => null);
	texts = await (await fetch("/texts.en.json")).json();
	document.documentElement.lang = texts.lang;
	for (const e of document.querySelectorAll("[data-text]")) e.textContent = t(e.dataset.text);
	const guess = guessKind();
	$("kinds").append(...KINDS.map((k) => {
		const input = el("input", { type: "radio", name: "kind", value: k, required: "" });
		input.checked = k === guess;
		return el("label", {}, input, t("kind-" + k));
	}));
	const answer = await known;
	if (answer && answer.ok) welcome(await answer.json()); else show("sign-in", true);
})();
})();
