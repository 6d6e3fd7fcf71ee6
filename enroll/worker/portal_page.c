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

#define HASH_TEXT (4 * ((SHA256_SIZE + 2) / 3) + 1) /* base64 with NUL */

static struct {
	char tag[2 * 16 + 3];
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

static void prepare(void)
{
	uint8_t hash[SHA256_SIZE];

	if (page.tag[0] != '\0')
		return;
	SHA256((const uint8_t *)easgate_portal_page, (size_t)(easgate_portal_page_end - easgate_portal_page), hash);
	page.tag[0] = '"';
	text_hex(page.tag + 1, hash, 16);
	page.tag[sizeof(page.tag) - 2] = '"';
	page.tag[sizeof(page.tag) - 1] = '\0';
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

static void serve_page(struct enroll_worker *w, struct http_request *r)
{
	struct strv known = http_request_field(r, "If-None-Match");
	bool small = takes_gzip(r);
	const char *p = small ? easgate_portal_page_gz : easgate_portal_page, *end = small ? easgate_portal_page_gz_end : easgate_portal_page_end;

	(void)w;
	prepare();
	http_reply_field(r, "Content-Security-Policy",
	    "default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
	    "base-uri 'none'; frame-ancestors 'none'", page.script, page.style);
	http_reply_field(r, "Cache-Control", "no-cache");
	http_reply_field(r, "Vary", "Accept-Encoding");
	http_reply_field(r, "ETag", "%s%s", small ? "W/" : "", page.tag);
	if (known.n > 0 && memmem(known.p, known.n, page.tag, strlen(page.tag)) != NULL) {
		http_reply(r, 304, NULL, (struct strv){ NULL, 0 });
		return;
	}
	if (small)
		http_reply_field(r, "Content-Encoding", "gzip");
	http_reply(r, 200, "text/html; charset=utf-8", (struct strv){ p, (size_t)(end - p) });
}

const struct route portal_page_routes[] = {
	{ "GET", "/", HTTP_WAY_TLS, ROUTE_PAGE | ROUTE_CACHED, ROUTE_OPEN, serve_page },
	{ .methods = NULL },
};
