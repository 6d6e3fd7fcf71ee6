/*
 * The portal's page: shows what the API says (openapi.yaml). Every text from outside becomes a text node, never markup; the QR code, which our server
 * drew, is parsed as SVG and taken over element by element. Keeps the CSRF token in memory only.
 */
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const KINDS = ["iphone", "ipad", "mac", "android", "windows", "other"];
const PAGE = 50, SOON = 30 * 86400e3;
const texts = JSON.parse($("texts").textContent);
let me = null, csrf = "", view = "", tab = "devices", skip = 0;

/* --- texts --- */
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values && name in values ? values[name] : all);
const t = (key, values) => fill(texts[key] || key, values);
const word = (key, other) => key in texts ? texts[key] : other;
const time = (at) => at ? new Date(at).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }) : "";
/* A moment that something ends: said with a word, not by colour alone, when it is near or past. */
const ending = (at, day) => {
	const left = new Date(at) - Date.now();
	const node = el("time", { datetime: at }, day ? new Date(at).toLocaleDateString(document.documentElement.lang, { dateStyle: "medium" }) : time(at));
	return !at ? "" : left < 0 ? el("span", { class: "ended" }, node, " – " + t("has-ended")) :
		left < SOON ? el("span", { class: "soon" }, node, " – " + t("ends-in", { days: Math.floor(left / 86400e3) })) : node;
};
const moment = (at) => at ? el("time", { datetime: at }, time(at)) : "";
const guessKind = () => {
	const ua = navigator.userAgent;
	return /iPhone/.test(ua) ? "iphone" : /iPad/.test(ua) || (/Macintosh/.test(ua) && navigator.maxTouchPoints > 1) ? "ipad" :
		/Android/.test(ua) ? "android" : /Windows/.test(ua) ? "windows" : /Macintosh/.test(ua) ? "mac" : "iphone";
};
/* Whether a session may be there: its cookie is not ours to read, and asking the server would cost who only wants to sign in a round trip. */
const remember = (there) => {
	try { if (there) localStorage.setItem("signed-in", "1"); else localStorage.removeItem("signed-in"); } catch (e) { /* asked each time then */ }
};
const remembers = () => { try { return localStorage.getItem("signed-in") !== null; } catch (e) { return true; } };

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
	if (data.error === "sign-in") { remember(false); if (me) { me = null; csrf = ""; show("sign-in"); } }
	const key = "error-" + data.error;
	throw new Refused(key in texts ? t(key, { minutes: Math.ceil((data.seconds || 60) / 60) }) : t("error-other", { text: data.text || answer.status }));
};
/* Runs an act with its button off meanwhile; says what went wrong. The keyboard stays where it was: a button that is off loses it. */
const act = async (button, what) => {
	const had = button && document.activeElement === button;
	if (button) button.disabled = true;
	try { await what(); } catch (e) {
		if (!(e instanceof Refused)) throw e;
		complain(e.message);
	} finally {
		if (button) button.disabled = false;
		if (had && document.activeElement === document.body && button.checkVisibility?.() !== false) button.focus();
	}
};

/* --- views --- */
const show = (name, quietly) => {
	view = name;
	for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== "view-" + name;
	$("nav").hidden = $("account").hidden = !me;
	for (const b of document.querySelectorAll("nav [data-view]")) {
		if (b.dataset.view === (name === "admin" || name === "device" ? "admin" : "devices")) b.setAttribute("aria-current", "page");
		else b.removeAttribute("aria-current");
	}
	if (!quietly) { $("alert").textContent = ""; $("status").textContent = ""; }
	const head = document.querySelector("#view-" + name + " h1");
	document.title = (head ? head.textContent + " – " : "") + $("title").textContent;
	if (name === "sign-in") $("name").focus(); else if (head) head.focus();
	scrollTo(0, 0);
	if (name === "devices") act(null, listDevices);
	if (name === "admin") openTab(tab);
};
const ask = (head, text, yes) => new Promise((done) => {
	const dialog = $("ask");
	const answer = (yes) => { if (dialog.open) dialog.close(); done(yes); };
	$("ask-head").textContent = head; $("ask-text").textContent = text; $("ask-yes").textContent = yes;
	$("ask-yes").onclick = () => answer(true);
	$("ask-no").onclick = () => answer(false);
	dialog.oncancel = () => answer(false);		/* Escape */
	dialog.showModal();
	$("ask-no").focus();
});

/* --- signing in --- */
const welcome = (data) => {
	me = data.user; csrf = data.csrf;
	if (data.site.title) $("title").textContent = data.site.title;
	$("who").textContent = $("who").title = me.display_name || me.upn || me.name;
	remember(true);
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
	remember(false);
	$("name").value = ""; $("search").value = "";
	for (const id of ["devices", "admin-body", "device-body", "steps", "values", "qr"]) $(id).replaceChildren();
	$("secret-text").textContent = "";
	$("download").removeAttribute("href");
	show("sign-in");
	say(t("signed-out"));
}));

/* --- own devices --- */
const state = (name) => el("span", { class: "state state-" + name }, word("state-" + name, name));
const card = (d) => {
	const live = (d.certificates || []).filter((c) => c.state === "live").pop(), held = (d.certificates || []).some((c) => c.state === "hold");
	const buttons = el("div", { class: "row" });
	if (d.state === "active" && !held) buttons.append(el("button", { type: "button", class: live ? null : "main", "aria-label": t(live ? "set-up-again" : "set-up") + ": " + d.name,
		on: (e) => act(e.currentTarget, () => install(d)) }, t(live ? "set-up-again" : "set-up")));
	if (d.state !== "revoked") buttons.append(el("button", { type: "button", class: "danger", "aria-label": t("revoke") + ": " + d.name,
		on: (e) => revoke(e.currentTarget, d) }, t("revoke")));
	const line = (...content) => el("div", { class: "small" }, ...content);
	return el("li", { class: d.state === "revoked" ? "card gone" : "card" }, el("h2", {}, d.name), el("div", {}, word("kind-" + d.kind, d.kind), " · ", state(held ? "hold" : d.state)),
		d.last_sync ? line(t("last-sync", { time: time(d.last_sync) })) : live ? line(t("last-sync-never")) : null,
		d.state === "revoked" ? null : live ? line(t("certificate-ends"), " ", ending(live.not_after, true)) : held ? null : line(t("certificate-none")),
		line(t("added", { time: time(d.created) })),
		d.state === "waiting" ? el("p", {}, t("waiting")) : held ? el("p", {}, t("held-why")) : null, d.state === "revoked" ? null : buttons);
};
const listDevices = async () => {
	const { devices } = await api("GET", "/api/devices");
	const shown = devices.filter((d) => d.state !== "revoked").concat(devices.filter((d) => d.state === "revoked"));
	$("devices").replaceChildren(...shown.map(card));
	$("devices-none").hidden = devices.length > 0;
};
const revoke = async (button, d) => {
	if (!await ask(t("revoke-head", { name: d.name }), t("revoke-text"), t("revoke"))) { button.focus(); return; }
	act(button, async () => {
		await api("POST", "/api/devices/" + d.id + "/revoke", { reason: "lost" });
		await listDevices();
		say(t("revoked", { name: d.name }));
		$("h-devices").focus();
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
const table = (columns, rows, word = t) => rows.length ? el("table", { class: "rows", role: "table" },
	el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...columns.map((c) => el("th", { scope: "col", role: "columnheader" }, word("col-" + c))))),
	el("tbody", { role: "rowgroup" }, ...rows.map((r) => el("tr", { role: "row" },
		...r.map((c, i) => el("td", { role: "cell", "data-label": word("col-" + columns[i]) }, c)))))) : el("p", { class: "card empty" }, t("none"));
const facts = (head, rows) => el("table", { class: "facts" }, head ? el("caption", {}, head) : null, el("tbody", {},
	...rows.filter(([, v]) => v !== null && v !== undefined && v !== "").map(([k, v]) => el("tr", {}, el("th", { scope: "row" }, t(k)), el("td", {}, v)))));
const owner = (d) => d.owner.display_name ? d.owner.display_name + " (" + (d.owner.upn || d.owner.name) + ")" : d.owner.upn || d.owner.name;
/* What may be done to a device; `after` shows what is true then. */
const acts = (d, after) => {
	const button = (name, asks) => el("button", { type: "button", class: name === "revoke" || name === "reject" ? "danger" : null, "aria-label": t(name) + ": " + d.name,
		on: async (event) => {
			const b = event.currentTarget;
			if (asks && !await ask(t(name + "-head", { name: d.name }), t(name + "-text"), t(name))) { b.focus(); return; }
			act(b, async () => {
				await api("POST", "/api/admin/devices/" + d.id + "/" + name, {});
				await after();
				say(t("done-" + name, { name: d.name }));
			});
		} }, t(name));
	return el("div", { class: "row" }, ...(d.state === "waiting" ? [button("approve"), button("reject", true)] : d.state === "active" ?
		[d.live ? button("hold", true) : null, d.held ? button("release") : null, button("revoke", true)].filter(Boolean) : []));
};
const openDevice = async (id) => {
	const { device: d } = await api("GET", "/api/admin/devices/" + id);
	const about = ["device " + id, ...d.certificates.slice(-8).map((c) => "certificate " + c.serial)];
	const found = await Promise.all(about.map((object) => api("GET", "/api/admin/audit?object=" + encodeURIComponent(object))));
	const entries = found.flatMap((f) => f.entries).sort((a, b) => b.n - a.n);
	const known = (name) => d.certificates.some((c) => c.state === name);
	$("h-device").textContent = d.name;
	if (view !== "device") show("device");
	$("device-body").replaceChildren(
		facts("", [["col-owner", owner(d)], ["col-kind", word("kind-" + d.kind, d.kind)], ["col-state", state(known("hold") ? "hold" : d.state)], ["col-created", moment(d.created)],
			["col-eas", d.eas_device_id], ["col-sync", moment(d.last_sync)], ["col-id", el("span", { class: "mono" }, d.id)],
			["col-acts", d.state === "revoked" ? "" : acts({ ...d, live: known("live"), held: known("hold") }, () => openDevice(id))]]),
		el("h2", {}, t("certificates-head")), table(["serial", "profile", "state", "from", "until"], d.certificates.map((c) => [el("span", { class: "mono" }, c.serial),
			c.profile, state(c.state), moment(c.not_before), c.state === "live" ? ending(c.not_after) : moment(c.not_after)])),
		el("h2", {}, t("history-head")), auditTable(entries));
};
$("device-back").addEventListener("click", () => show("admin"));
const auditTable = (entries) => table(["n", "at", "actor", "action", "object", "detail"], entries.map((e) => [String(e.n), moment(e.at),
	e.actor_name ? el("span", { title: e.actor }, e.actor.split(" ")[0] + " " + e.actor_name) : e.actor, e.action,
	e.object_name ? el("span", { title: e.object }, e.object.includes(" ") ? e.object.split(" ")[0] + " " + e.object_name : e.object_name) : e.object, e.detail]));
const TABS = {
	devices: async (text) => {
		const { devices } = await api("GET", "/api/admin/devices?limit=" + PAGE + "&skip=" + skip + "&text=" + encodeURIComponent(text) + ($("only-waiting").checked ? "&state=waiting" : ""));
		api("GET", "/api/admin/state").then((s) => { $("waiting-text").textContent = t("only-waiting", { n: s.facts.waiting }); }, () => 0);
		return [devices.length, table(["name", "owner", "kind", "state", "created", "sync", "acts"], devices.map((d) => [
			el("button", { type: "button", class: "link", on: (e) => act(e.currentTarget, () => openDevice(d.id)) }, d.name), owner(d),
			word("kind-" + d.kind, d.kind), state(d.held ? "hold" : d.state), moment(d.created), moment(d.last_sync), d.state === "revoked" ? "" : acts(d, () => openTab("devices"))]))];
	},
	accounts: async (text) => {
		const { accounts } = await api("GET", "/api/admin/accounts?limit=" + PAGE + "&skip=" + skip + "&text=" + encodeURIComponent(text));
		const called = (a) => a.display_name || a.upn || a.name;
		return [accounts.length, table(["person", "upn", "mail", "seen", "acts"], accounts.map((a) => [called(a), a.upn, a.mail, moment(a.last_seen), el("div", { class: "row" },
			el("button", { type: "button", "aria-label": t("devices-of", { name: called(a) }), on: () => { $("search").value = a.upn || a.name; openTab("devices"); } }, t("admin-devices")),
			el("button", { type: "button", class: "danger", "aria-label": t("revoke-all") + ": " + called(a), on: async (event) => {
				const b = event.currentTarget;
				if (!await ask(t("revoke-all-head", { name: called(a) }), t("revoke-all-text"), t("revoke-all"))) { b.focus(); return; }
				act(b, async () => {
					const { certificates } = await api("POST", "/api/admin/accounts/" + a.sid + "/revoke", {});
					say(t("done-revoke-all", { name: called(a), n: certificates }));
				});
			} }, t("revoke-all")))]))];
	},
	migration: async () => { await cockpit(); return [0, el("div", { id: "cockpit" })]; },
	secrets: async () => { await cockpit(); return window.easgate.secrets(skip); },
	audit: async (text) => {
		const { entries } = await api("GET", "/api/admin/audit?limit=" + PAGE + "&skip=" + skip + "&object=" + encodeURIComponent(text));
		return [entries.length, auditTable(entries)];
	},
	state: async () => {
		const s = await api("GET", "/api/admin/state");
		return [0, el("div", {}, s.facts.problem ? el("p", { class: "card ended", role: "alert" }, s.facts.problem) : null, el("h2", {}, t("ca-head")),
			table(["ca", "subject", "ends"], s.ca.map((c) => [word("ca-" + c.kind.replace(" ", "-"), c.kind), c.subject, ending(c.not_after)])), el("h2", {}, t("facts-head")),
			facts("", Object.entries(s.facts).filter(([k]) => k !== "problem").map(([k, v]) => ["fact-" + k, k === "list_ends" ? ending(v) : v === null ? "" : String(v)])))];
	},
};
/* Fetched when it is needed: few people ever open it. */
let fetched = null;
const cockpit = () => fetched ||= new Promise((done, fail) => {
	window.easgate = { el, act, api, ask, say, table, facts, moment, owner, fill, openTab, texts, PAGE };
	const script = el("script", { src: "/cockpit.js" });
	script.onload = done;
	script.onerror = () => { fetched = null; script.remove(); fail(new Refused(t("error-network"))); };
	document.head.append(script);
});
const openTab = (name, more) => act(null, async () => {
	tab = name;
	skip = more ? skip + PAGE : 0;
	for (const b of document.querySelectorAll("[data-tab]")) {
		b.setAttribute("aria-selected", String(b.dataset.tab === name));
		b.tabIndex = b.dataset.tab === name ? 0 : -1;
	}
	$("form-search").hidden = name === "state" || name === "secrets";
	$("waiting-label").hidden = name !== "devices";
	$("search-label").textContent = t("search-" + name);
	$("admin-panel").setAttribute("aria-labelledby", "tab-" + name);
	const [n, body] = await TABS[name]($("search").value.trim());
	if (tab !== name) return;		/* another was opened meanwhile */
	if (!more) $("admin-body").replaceChildren(body);
	else if (n) $("admin-body").append(body);
	$("more").hidden = n < PAGE;
	if (name === "migration") await window.easgate.cockpit(body, () => body.isConnected && view === "admin");
});
const openAnew = (name) => { $("search").value = ""; $("only-waiting").checked = false; openTab(name); };
$("form-search").addEventListener("submit", (event) => { event.preventDefault(); if (tab === "migration") act(event.submitter, window.easgate.search); else openTab(tab); });
$("only-waiting").addEventListener("change", () => openTab(tab));
$("more").addEventListener("click", () => openTab(tab, true));
document.querySelector(".tabs").addEventListener("keydown", (event) => {
	const all = [...document.querySelectorAll("[data-tab]")], at = all.indexOf(document.activeElement);
	const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
	if (at < 0 || next === undefined) return;
	event.preventDefault();
	const b = all[(next + all.length) % all.length];
	b.focus(); openAnew(b.dataset.tab);
});

/* --- the start --- */
document.addEventListener("click", (event) => {
	const b = event.target.closest("[data-view]"), c = event.target.closest("[data-tab]");
	if (b) show(b.dataset.view);
	if (c) openAnew(c.dataset.tab);
});
(async () => {
	document.documentElement.lang = texts.lang;
	for (const e of document.querySelectorAll("[data-text]")) e.textContent = t(e.dataset.text);
	for (const e of document.querySelectorAll("[data-label]")) e.setAttribute("aria-label", t(e.dataset.label));
	$("waiting-text").textContent = t("only-waiting", { n: "…" });
	const guess = guessKind();
	$("kinds").append(...KINDS.map((k) => {
		const input = el("input", { type: "radio", name: "kind", value: k, required: "" });
		input.checked = k === guess;
		return el("label", {}, input, t("kind-" + k));
	}));
	if (!remembers()) { show("sign-in", true); return; }
	const answer = await fetch("/api/me", { credentials: "same-origin", cache: "no-store" }).catch(() => null);
	if (answer && answer.ok) welcome(await answer.json());
	else { remember(false); show("sign-in", true); }
})();
})();
