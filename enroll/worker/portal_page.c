/*
 * portal_page: the page, its style, script and texts, as they stand in portal/, built into the program. Knows no person. Worker of easenroll.
 */
#include <openssl/sha.h>

#include "common/text.h"
#include "enroll/worker/portal.h"

/* The assembler reads the files: paths are from where make runs. */
#define BUILT_IN(symbol, file)                                                             \
	__asm__(".pushsection .rodata\n.global " #symbol "\n" #symbol ":\n.incbin \"" file \
		"\"\n.global " #symbol "_end\n" #symbol "_end:\n.byte 0\n.popsection\n");  \
	extern const char symbol[], symbol##_end[]

BUILT_IN(easgate_portal_html, "enroll/worker/portal/index.html");
BUILT_IN(easgate_portal_css, "enroll/worker/portal/portal.css");
BUILT_IN(easgate_portal_js, "enroll/worker/portal/portal.js");
BUILT_IN(easgate_portal_texts, "enroll/worker/portal/texts.en.json");

static void give(struct http_request *r, const char *type, const char *bytes, const char *end)
{
	struct strv body = { bytes, (size_t)(end - bytes) };
	uint8_t hash[SHA256_SIZE];
	char tag[2 * 16 + 3] = "\"";

	SHA256((const uint8_t *)body.p, body.n, hash);
	text_hex(tag + 1, hash, 16);
	tag[sizeof(tag) - 2] = '"';
	tag[sizeof(tag) - 1] = '\0';
	http_reply_field(r, "Cache-Control", "no-cache");
	http_reply_field(r, "ETag", "%s", tag);
	if (strv_eq(http_request_field(r, "If-None-Match"), strv_from(tag)))
		http_reply(r, 304, NULL, (struct strv){ NULL, 0 });
	else
		http_reply(r, 200, type, body);
}

static void serve_html(struct enroll_worker *w, struct http_request *r)
{
	(void)w;
	give(r, "text/html; charset=utf-8", easgate_portal_html, easgate_portal_html_end);
}

static void serve_css(struct enroll_worker *w, struct http_request *r)
{
	(void)w;
	give(r, "text/css; charset=utf-8", easgate_portal_css, easgate_portal_css_end);
}

static void serve_js(struct enroll_worker *w, struct http_request *r)
{
	(void)w;
	give(r, "text/javascript; charset=utf-8", easgate_portal_js, easgate_portal_js_end);
}

static void serve_texts(struct enroll_worker *w, struct http_request *r)
{
	(void)w;
	give(r, "application/json", easgate_portal_texts, easgate_portal_texts_end);
}

#define PAGE (ROUTE_PAGE | ROUTE_CACHED)
const struct route portal_page_routes[] = {
	{ "GET", "/", HTTP_WAY_TLS, PAGE, ROUTE_OPEN, serve_html },
	{ "GET", "/portal.css", HTTP_WAY_TLS, PAGE, ROUTE_OPEN, serve_css },
	{ "GET", "/portal.js", HTTP_WAY_TLS, PAGE, ROUTE_OPEN, serve_js },
	{ "GET", "/texts.en.json", HTTP_WAY_TLS, PAGE, ROUTE_OPEN, serve_texts },
	{ .methods = NULL },
};
