/*
 * The migration page of administrators, which the portal's page fetches when somebody opens it: how far each group is, its switch, devices, figures of days,
 * and new devices that wait. As there, every text from outside becomes a text node. Draws its graphs as SVG, each with its table.
 */
"use strict";
(() => {
const own =
@@cockpit.en.json
;
const css = `
@@cockpit.css
`;
const { el, act, api, ask, say, table, facts, moment, owner, openTab, PAGE } = window.easgate;
const t = (key, values) => window.easgate.fill(own[key] || key, values);
/* What the API refuses is said by the portal's page. */
for (const key of Object.keys(own)) if (key.startsWith("error-")) window.easgate.texts[key] = own[key];
/* By the CSSOM: no style that came with the page's text is let in. */
const sheet = new CSSStyleSheet();
sheet.replaceSync(css);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
const SVG = "http://www.w3.org/2000/svg";
const DAYS = 90, ASK_AGAIN = 700;
let days = DAYS, group = "", holding = false, skip = 0;

/* --- graphs --- */
const draw = (name, attributes, ...children) => {
	const e = document.createElementNS(SVG, name);
	for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
	e.append(...children);
	return e;
};
const short = (n) => n >= 1e6 ? (n / 1e6).toFixed(n < 1e7 ? 1 : 0) + " M" : n >= 1e4 ? Math.round(n / 1e3) + " k" : String(n);
/* The next of 1, 2, 5, 10, 20 ... */
const ceiling = (n) => { const e = 10 ** Math.floor(Math.log10(Math.max(n, 1))); return [1, 2, 5, 10].map((f) => f * e).find((c) => c >= n); };
/* Lines differ by colour, by dashes and by the sign at their end. */
const DASHES = ["", "6 4", "2 3"], SIGNS = ["●", "■", "▲"];
const narrow = matchMedia("(max-width: 37rem)");
const H = 220, LEFT = 48, RIGHT = 20, TOP = 12, BOTTOM = 26;
const graph = (name, rows, fields) => {
	const W = narrow.matches ? 340 : 640;		/* so that its words are as large on a phone */
	const top = ceiling(Math.max(...rows.flatMap((r) => fields.map((f) => r[f])))), step = (W - LEFT - RIGHT) / Math.max(rows.length - 1, 1);
	const x = (i) => rows.length > 1 ? LEFT + i * step : (LEFT + W - RIGHT) / 2, y = (n) => H - BOTTOM - n / top * (H - TOP - BOTTOM);
	const parts = [0, 0.5, 1].filter((f) => top > 1 || f !== 0.5).map((f) => [draw("line", { x1: LEFT, x2: W - RIGHT, y1: y(f * top), y2: y(f * top), class: "grid" }),
		draw("text", { x: LEFT - 6, y: y(f * top) + 4, "text-anchor": "end" }, short(f * top))]).flat();
	const marks = rows.length > 1 ? [0, Math.floor((rows.length - 1) / 2), rows.length - 1] : [0];
	marks.filter((m, i) => marks.indexOf(m) === i).forEach((m) => parts.push(draw("text", { x: x(m), y: H - 6, "text-anchor": m === 0 && rows.length > 1 ? "start" : m === rows.length - 1 && m > 0 ? "end" : "middle" }, rows[m].day)));
	fields.forEach((f, k) => {
		const last = rows[rows.length - 1];
		parts.push(draw("polyline", { points: rows.map((r, i) => x(i).toFixed(1) + "," + y(r[f]).toFixed(1)).join(" "), class: "line line-" + k, "stroke-dasharray": DASHES[k] || "none" }),
			draw("text", { x: x(rows.length - 1), y: y(last[f]) + 4, class: "ink-" + k, "text-anchor": "middle" }, SIGNS[k]));
	});
	const sum = fields.map((f) => t(f) + ": " + rows.reduce((a, r) => a + r[f], 0)).join(", ");
	const svg = draw("svg", { viewBox: "0 0 " + W + " " + H, role: "img", "aria-label": t("graph-" + name) + ". " + sum }, ...parts);
	const legend = el("ul", { class: "legend" }, ...fields.map((f, k) => el("li", {}, el("span", { class: "ink-" + k, "aria-hidden": "true" }, SIGNS[k] + " "), t(f))));
	const head = el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("day")), ...fields.map((f) => el("th", { scope: "col" }, t(f)))));
	const body = el("tbody", {}, ...rows.slice().reverse().map((r) => el("tr", {}, el("th", { scope: "row" }, r.day), ...fields.map((f) => el("td", { class: "number" }, r[f].toLocaleString())))));
	return el("figure", { class: "card graph" }, el("figcaption", {}, t("graph-" + name)), svg, legend,
		el("details", {}, el("summary", {}, t("as-table")), el("div", { class: "scroll" }, el("table", {}, el("caption", {}, t("graph-" + name)), head, body))));
};
const graphs = async () => {
	const rows = (await api("GET", "/api/admin/migration/days?days=" + days)).days;
	const choice = el("select", { id: "days" }, ...[30, 90, 400].map((n) => { const o = el("option", { value: n }, t("days-" + n)); o.selected = n === days; return o; }));
	choice.addEventListener("change", () => { days = Number(choice.value); act(null, async () => { $("graphs").replaceChildren(...await graphs()); $("days").focus(); }); });
	const head = el("div", { class: "head" }, el("h2", {}, t("graphs")), el("label", { class: "check" }, t("days"), choice));
	return rows.length === 0 ? [head, el("p", { class: "card empty" }, t("no-days"))] : [head, el("div", { class: "graphs" },
		graph("requests", rows, ["requests_certificate", "requests_password", "requests_bearer"]),
		graph("devices", rows, ["seen_certificate", "seen_password", "seen_bearer"]),
		graph("guard", rows, ["stale_absorbed", "lockouts_prevented"]))];
};
const $ = (id) => document.getElementById(id);

/* --- groups and their switch --- */
/* CN=EAS-Sales,OU=... is EAS-Sales for people; the whole name stands below. */
const called = (dn) => { const m = /^CN=((?:[^,\\]|\\.)+)/i.exec(dn); return m ? m[1].replace(/\\(.)/g, "$1") : dn; };
const flip = (g, again) => async (event) => {
	const b = event.currentTarget, back = g.switched;
	const shut = g.holding + unknown;
	const text = back ? t("back-text") : shut > 0 ? t("switch-shuts", { n: shut, users: g.unready }) : t("switch-ready", { n: g.users });
	if (!await ask(t(back ? "back-head" : "switch-head", { group: called(g.group) }), text, t(back ? "back" : "switch"))) { b.focus(); return; }
	act(b, async () => {
		await api("POST", "/api/admin/migration/switch", { group: g.group, to: back ? "back" : "certificate", accept: shut });
		await again();
		say(t(back ? "done-back" : "done-switch", { group: called(g.group) }));
		$("h-groups").focus();
	});
};
let unknown = 0;
const groupCard = (g, again) => el("li", { class: "card" }, el("h3", {}, called(g.group)), el("div", { class: "small mono" }, g.group),
	el("p", {}, g.switched ? el("span", { class: "state state-active" }, "✔ " + (g.since ? t("switched-since", { time: new Date(g.since).toLocaleDateString() }) : t("switched"))) :
		g.users === 0 ? el("span", { class: "state" }, t("nobody")) : g.unready === 0 ? el("span", { class: "state state-active" }, "✔ " + t("all-ready")) :
		el("span", { class: "state state-waiting" }, t("not-ready", { n: g.unready }))),
	g.users > 0 ? el("progress", { max: g.users, value: g.ready, "aria-label": t("ready-of", { ready: g.ready, users: g.users }) }) : null,
	el("p", { class: "small" }, [t("ready-of", { ready: g.ready, users: g.users }), g.holding ? t("holding-n", { n: g.holding }) : null,
		g.without === undefined ? t("without-not") : g.without ? t("without-n", { n: g.without.toLocaleString() }) : null].filter(Boolean).join(" · ")),
	el("div", { class: "row" }, g.switchable ? el("button", { type: "button", class: g.switched ? null : g.unready ? "danger" : "main", "aria-label": t(g.switched ? "back" : "switch") + ": " + called(g.group), on: flip(g, again) },
		t(g.switched ? "back" : "switch")) : el("span", { class: "small" }, t("no-rule")),
		g.holding ? el("button", { type: "button", "aria-label": t("show-holding") + ": " + called(g.group), on: (e) => act(e.currentTarget, async () => { group = g.group; holding = true; await devices(); $("h-seen").focus(); }) }, t("show-holding")) : null,
		g.without ? el("button", { type: "button", "aria-label": t("show-without") + ": " + called(g.group), on: (e) => act(e.currentTarget, async () => { group = g.group; holding = false; await people(); $("h-seen").focus(); }) }, t("show-without")) : null));
const overview = (o, again) => [
	facts("", [["users", o.users], ["without", o.without], ["seen", o.devices.certificate + o.devices.password + o.devices.bearer + o.devices.unknown + o.devices.moved], ["by-certificate", o.devices.certificate],
		["by-other", o.devices.password + o.devices.bearer + o.devices.unknown], ["absorbed", o.absorbed], ["prevented", o.prevented]].map(([k, v]) => [t(k), v.toLocaleString()])),
	...[[o.unknown_users, "unknown-users"], [o.other_switches, "other-switches"], [o.survey.at && !o.survey.whole ? 1 : 0, "not-whole"]].filter(([n]) => n).map(([n, k]) => el("p", { class: "card soon" }, t(k, { n }))),
	el("h2", { id: "h-groups", tabindex: "-1" }, t("groups")),
	o.groups.length ? el("ul", { class: "cards" }, ...o.groups.map((g) => groupCard(g, again))) : el("p", { class: "card empty" }, t("no-groups"))];

/* --- devices --- */
const seen = (d) => [d.upn || d.sid, el("span", {}, d.device, d.device_type ? el("span", { class: "small" }, " " + d.device_type) : null), word("method-" + d.method, d.method), moment(d.last_seen),
	el("span", { class: "state" + (d.holds_back ? " state-waiting" : d.verdict === "certificate" ? " state-active" : d.verdict === "blocked" ? " state-revoked" : "") }, word("verdict-" + d.verdict, d.verdict)),
	d.absorbed ? d.absorbed.toLocaleString() : "", d.prevented ? d.prevented.toLocaleString() : "", d.state === "blocked" ? recordActs(d, ["release"]) : recordActs(d, ["block"])];
const word = (key, other) => key in own ? own[key] : other;
const COLUMNS = ["person", "device", "method", "seen", "verdict", "absorbed", "prevented", "acts"];
const devices = async (more) => {
	skip = more ? skip + PAGE : 0;
	const got = await api("GET", "/api/admin/migration/devices?limit=" + PAGE + "&skip=" + skip + "&text=" + encodeURIComponent($("search").value.trim()) +
		(group ? "&group=" + encodeURIComponent(group) : "") + (holding ? "&holding=true" : ""));
	const box = el("input", { type: "checkbox", id: "only-holding" });
	box.checked = holding;
	box.addEventListener("change", () => act(null, async () => { holding = box.checked; await devices(); $("only-holding").focus(); }));
	const all = group ? el("button", { type: "button", on: (e) => act(e.currentTarget, async () => { group = ""; await devices(); $("h-seen").focus(); }) }, t("all-groups")) : null;
	const head = [el("h2", { id: "h-seen", tabindex: "-1" }, group ? t("devices-of", { group: called(group) }) : t("devices")),
		el("div", { class: "row" }, el("label", { class: "check" }, box, t("only-holding")), all, el("span", { class: "small" }, t("found", { n: got.total.toLocaleString() })))];
	const rows = table(COLUMNS, got.devices.map(seen), t);
	const next = skip + got.devices.length < got.total ? el("button", { type: "button", on: (e) => act(e.currentTarget, () => devices(true)) }, t("more")) : null;
	if (!more) { $("seen").replaceChildren(...head, el("div", { class: "scroll" }, rows), ...(next ? [next] : [])); return; }
	$("seen").lastElementChild.remove();
	$("seen").append(el("div", { class: "scroll" }, rows), ...(next ? [next] : []));
};

/* Members of a group that nobody has seen sync: whom a switch finds without a certificate, and who is to be invited. */
const people = async (more) => {
	skip = more ? skip + PAGE : 0;
	const got = await api("GET", "/api/admin/migration/without?limit=" + PAGE + "&skip=" + skip + "&text=" + encodeURIComponent($("search").value.trim()) +
		(group ? "&group=" + encodeURIComponent(group) : ""));
	const rows = el("div", { class: "scroll" }, table(["person", "groups", "old"], got.people.map((p) => [p.upn || p.sid, p.groups.map(called).join(", "), p.old || ""]), t));
	const next = skip + got.people.length < got.total ? [el("button", { type: "button", on: (e) => act(e.currentTarget, () => people(true)) }, t("more"))] : [];
	if (more) { $("seen").lastElementChild.remove(); $("seen").append(rows, ...next); return; }
	const back = el("button", { type: "button", on: (e) => act(e.currentTarget, async () => { group = ""; await devices(); $("h-seen").focus(); }) }, t("back-to-devices"));
	$("seen").replaceChildren(el("h2", { id: "h-seen", tabindex: "-1" }, group ? t("people-of", { group: called(group) }) : t("people")),
		el("div", { class: "row" }, back, el("span", { class: "small" }, t("found-people", { n: got.total.toLocaleString() }))), rows, ...next);
};

/* --- records of proxies: let in, block --- */
let reload = async () => {};
const recordActs = (d, names) => el("div", { class: "row" }, ...names.map((name) => el("button", { type: "button", class: name === "release" ? null : "danger", "aria-label": t(name) + ": " + (d.device || d.key),
	on: async (event) => {
		const b = event.currentTarget, who = { device: d.device || d.key, user: d.upn || d.sid };
		if (!await ask(t(name + "-head", who), t(name + "-text", who), t(name))) { b.focus(); return; }
		act(b, async () => {
			await api("POST", "/api/admin/records/" + d.key + "/" + name, {});
			await reload();
			say(t("done-" + name, who));
		});
	} }, t(name))));
const waiting = async (n) => {
	if (!n) return [];
	const { records } = await api("GET", "/api/admin/records?limit=100");
	return [el("h2", {}, t("waiting", { n })), el("div", { class: "scroll" }, table(["person", "device", "method", "first", "client", "acts"], records.map((d) => [d.upn || d.sid,
		el("span", {}, d.device, d.device_type ? el("span", { class: "small" }, " " + d.device_type) : null), word("method-" + d.method, d.method), moment(d.first_seen), d.client,
		recordActs(d, ["release", "block"])]), t))];
};

/* --- one-time secrets --- */
const end = (s) => async (event) => {
	const b = event.currentTarget, name = owner(s);
	if (!await ask(t("end-head", { name }), t("end-text"), t("end"))) { b.focus(); return; }
	act(b, async () => { await api("POST", "/api/admin/secrets/" + s.id + "/revoke", {}); await openTab("secrets"); say(t("done-end")); });
};
window.easgate.secrets = async (from) => {
	const { secrets } = await api("GET", "/api/admin/secrets?limit=" + PAGE + "&skip=" + from);
	return [secrets.length, table(["owner", "for", "profile", "state", "made", "ends", "acts"], secrets.map((s) => [owner(s), s.purpose, s.profile,
		el("span", { class: "state" + (s.state === "open" ? " state-waiting" : "") }, t("secret-" + s.state)), moment(s.made), moment(s.ends),
		s.state === "open" ? el("button", { type: "button", class: "danger", "aria-label": t("end") + ": " + owner(s), on: end(s) }, t("end")) : ""]), t)];
};

/* --- the page --- */
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
/* Until the devices have been gone through; `tell` is told how far that is. */
const survey = async (fresh, tell, wanted) => {
	let o = await api("GET", "/api/admin/migration" + (fresh ? "?fresh=true" : ""));
	while (o.survey.running && wanted()) {
		tell(t("running", { n: o.survey.looked_at.toLocaleString() }));
		await pause(ASK_AGAIN);
		o = await api("GET", "/api/admin/migration");
	}
	return o;
};
/* body: where it goes; wanted(): whether the page is still open. */
window.easgate.cockpit = async (body, wanted) => {
	const parts = Object.fromEntries(["progress", "overview", "wait", "seen", "graphs"].map((id) => [id, el("div", { id: id === "progress" || id === "wait" ? "cockpit-" + id : id })]));
	const again = el("button", { type: "button", on: (e) => act(e.currentTarget, () => fill(true)) }, t("again"));
	body.replaceChildren(el("div", { class: "head" }, parts.progress, again), parts.overview, parts.wait, parts.seen, parts.graphs);
	parts.progress.setAttribute("role", "status");
	const fill = async (fresh) => {
		const o = await survey(fresh, (text) => { parts.progress.textContent = text; }, wanted);
		if (!wanted()) return;
		unknown = o.unknown_holding;
		parts.progress.replaceChildren(o.survey.problem ? el("span", { class: "ended" }, t("problem", { text: o.survey.problem })) : el("span", { class: "small" }, t("as-of", { time: new Date(o.survey.at).toLocaleTimeString(), days: o.days })));
		parts.overview.replaceChildren(...overview(o, () => fill(true)));
		parts.wait.replaceChildren(...await waiting(o.quarantined));
		if (o.survey.at) await devices();
	};
	reload = () => fill(true);
	await fill(false);
	if (wanted()) parts.graphs.replaceChildren(...await graphs());
};
window.easgate.search = async () => { await devices(); $("h-seen").focus(); };
narrow.addEventListener("change", () => { if ($("graphs")) act(null, async () => $("graphs").replaceChildren(...await graphs())); });
})();
