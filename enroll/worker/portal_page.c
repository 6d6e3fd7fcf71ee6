/*
 * portal_page: the page with its style, script and texts in it: one request, and compressed small enough for the first flight of a new connection.
 * Made of portal/ when the program is built (Makefile), plain and gzipped. Its Content-Security-Policy names its own script and style by their
 * hashes, so that nothing else runs. Knows no person. Worker of easenroll.
 */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#include "common/text.h"
#include "enroll/worker/portal.h"

/* The assembler reads the files: paths are from where make runs. */
#define BUILT_IN(symbol, file)                                                             \
	__asm__(".pushsection .rodata\n.global " #symbol "\n" #symbol ":\n.incbin \"" file \
		"\"\n.global " #symbol "_end\n" #symbol "_end:\n.byte 0\n.popsection\n");  \
	extern const char symbol[], symbol##_end[]

BUILT_IN(easgate_portal_page, EASGATE_MADE "/enroll/worker/portal/page.html");
BUILT_IN(easgate_portal_page_gz, EASGATE_MADE "/enroll/worker/portal/page.html.gz");

BUILT_IN(easgate_portal_cockpit, EASGATE_MADE "/enroll/worker/portal/cockpit.js");
BUILT_IN(easgate_portal_cockpit_gz, EASGATE_MADE "/enroll/worker/portal/cockpit.js.gz");

#define TAG_TEXT  (2 * 16 + 3)
#define HASH_TEXT (4 * ((SHA256_SIZE + 2) / 3) + 1) /* base64 with NUL */

static struct {
	char tag[TAG_TEXT], cockpit_tag[TAG_TEXT];
	char script[HASH_TEXT], style[HASH_TEXT];
} page; /* made once, at the first request */

/* SHA-256 in base64 of what stands between the first `begins` and the next `ends`; "" where there is none: the browser then refuses it. */
static void hash_between(const char *begins, const char *ends, char out[HASH_TEXT])
{
	size_t n = (size_t)(easgate_portal_page_end - easgate_portal_page);
	const char *p = memmem(easgate_portal_page, n, begins, strlen(begins)), *end;
	uint8_t hash[SHA256_SIZE];

	out[0] = '\0';
	if (p == NULL)
		return;
	p += strlen(begins);
	end = memmem(p, (size_t)(easgate_portal_page_end - p), ends, strlen(ends));
	if (end == NULL)
		return;
	SHA256((const uint8_t *)p, (size_t)(end - p), hash);
	EVP_EncodeBlock((unsigned char *)out, hash, SHA256_SIZE);
}

static void make_tag(const char *begin, const char *end, char tag[TAG_TEXT])
{
	uint8_t hash[SHA256_SIZE];

	SHA256((const uint8_t *)begin, (size_t)(end - begin), hash);
	tag[0] = '"';
	text_hex(tag + 1, hash, 16);
	tag[TAG_TEXT - 2] = '"';
	tag[TAG_TEXT - 1] = '\0';
}

static void prepare(void)
{
	if (page.tag[0] != '\0')
		return;
	make_tag(easgate_portal_cockpit, easgate_portal_cockpit_end, page.cockpit_tag);
	make_tag(easgate_portal_page, easgate_portal_page_end, page.tag);
	hash_between("<script>", "</script>", page.script);
	hash_between("<style>", "</style>", page.style);
}

/* "q=0", "q=0.000" */
static bool is_zero(struct strv weight)
{
	if (!text_starts_nocase(weight, STRV("q=0")))
		return false;
	for (size_t i = 3; i < weight.n; i++) {
		if (weight.p[i] != '0' && weight.p[i] != '.')
			return false;
	}
	return true;
}

/* Whether gzip is among the codings that the client names, and not with a weight of nothing (RFC 9110 section 12.5.3). */
static bool takes_gzip(const struct http_request *r)
{
	struct strv rest = http_request_field(r, "Accept-Encoding");

	while (rest.p != NULL) {
		struct strv weight = text_split(&rest, ','), coding = text_trim(text_split(&weight, ';'));
		if (!text_eq_nocase(coding, STRV("gzip")))
			continue;
		return !is_zero(text_trim(weight));
	}
	return false;
}

/* One thing that is built in, plain and compressed. */
struct asset {
	struct strv plain, small;
	const char *type, *tag;
};

static void serve_asset(struct http_request *r, const struct asset *a)
{
	struct strv known = http_request_field(r, "If-None-Match");
	bool small = takes_gzip(r);

	http_reply_field(r, "Cache-Control", "no-cache");
	http_reply_field(r, "Vary", "Accept-Encoding");
	http_reply_field(r, "ETag", "%s%s", small ? "W/" : "", a->tag);
	if (known.n > 0 && memmem(known.p, known.n, a->tag, strlen(a->tag)) != NULL) {
		http_reply(r, 304, NULL, (struct strv){ NULL, 0 });
		return;
	}
	if (small)
		http_reply_field(r, "Content-Encoding", "gzip");
	http_reply(r, 200, a->type, small ? a->small : a->plain);
}

#define VIEW(symbol) { symbol, (size_t)(symbol##_end - symbol) }

static void serve_page(struct enroll_worker *w, struct http_request *r)
{
	const struct asset asset = { VIEW(easgate_portal_page), VIEW(easgate_portal_page_gz), "text/html; charset=utf-8", page.tag };

	(void)w;
	prepare();
	/* strict-dynamic: what the page's own script asks for (cockpit.js) may run; nothing that was put into the page may */
	http_reply_field(r, "Content-Security-Policy",
	    "default-src 'none'; script-src 'sha256-%s' 'strict-dynamic'; style-src 'sha256-%s'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
	    "base-uri 'none'; frame-ancestors 'none'", page.script, page.style);
	serve_asset(r, &asset);
}

/* The administrators' page of the migration: no secret, and of no use to anybody else. */
static void serve_cockpit(struct enroll_worker *w, struct http_request *r)
{
	const struct asset asset = { VIEW(easgate_portal_cockpit), VIEW(easgate_portal_cockpit_gz), "text/javascript; charset=utf-8", page.cockpit_tag };

	(void)w;
	prepare();
	serve_asset(r, &asset);
}

const struct route portal_page_routes[] = {
	{ "GET", "/", HTTP_WAY_TLS, ROUTE_PAGE | ROUTE_CACHED, ROUTE_OPEN, serve_page },
	{ "GET", "/cockpit.js", HTTP_WAY_TLS, ROUTE_CACHED, ROUTE_OPEN, serve_cockpit },
	{ .methods = NULL },
};
