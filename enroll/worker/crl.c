/*
 * crl: files of state_dir/crl over HTTP. Each is mapped, not read, and kept until the file is another one: a list of a million entries has
 * 40 MB, and is neither copied nor parsed here. The signer replaces files by rename: what is mapped never changes. Worker of easenroll.
 */
#include "enroll/worker/crl.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/chain.h"

#define FILES_MAX 32	/* issuers of all ages, base and delta */
#define TAG_BYTES 4096
#define AGE_MAX	  3600	/* seconds that anybody may keep a list, however long it holds: a revocation makes a new one at once */

struct crl_file {
	char name[96];			/* "<issuer>.crl" */
	struct stat st;
	struct http_shared *map;	/* the file's bytes; a reference. NULL: nothing usable */
	char tag[2 * SHA256_SIZE + 1];
	int64_t next_update;
};

struct crl_keeper {
	struct enroll_worker *worker;
	struct crl_file files[FILES_MAX];
	unsigned n;
};

/* --- dates --- */

static void print_date(time_t t, char out[32])
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm = { 0 };

	gmtime_r(&t, &tm);
	snprintf(out, 32, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Only the form that we send ourselves: another one is answered with the whole. */
static bool is_our_date(struct strv given, time_t t)
{
	char text[32];

	print_date(t, text);
	return strv_eq(given, strv_from(text));
}

/* --- files --- */

static void unmap(struct http_shared *shared)
{
	munmap((void *)(uintptr_t)shared->bytes.p, shared->bytes.n);
	free(shared);
}

static void file_clear(struct crl_file *f)
{
	http_shared_drop(f->map);
	f->map = NULL;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	    a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Steps into the SEQUENCE at *p, or over the value there; NULL: it is none, or goes beyond `end`. */
static const unsigned char *der_step(const unsigned char **p, const unsigned char *end, bool into, int *tag)
{
	const unsigned char *at = *p;
	int class;
	long n;

	if (at >= end || (ASN1_get_object(&at, &n, tag, &class, end - at) & 0x81) != 0 || class != V_ASN1_UNIVERSAL)
		return NULL;
	*p = into ? at : at + n;
	return at + n;
}

/*
 * When it ends; 0: it is no CRL. Only what stands before the entries is looked at (RFC 5280 section 5.1): version, algorithm, issuer, thisUpdate,
 * nextUpdate.
 */
static int64_t end_of(struct strv bytes)
{
	const unsigned char *p = (const unsigned char *)bytes.p, *end = p + bytes.n;
	ASN1_TIME *time;
	struct tm tm = { 0 };
	int64_t when = 0;
	int tag = 0;

	ERR_clear_error();
	if (der_step(&p, end, true, &tag) != end || tag != V_ASN1_SEQUENCE || (end = der_step(&p, end, true, &tag)) == NULL || tag != V_ASN1_SEQUENCE)
		return 0;
	for (int i = 0; i < 4; i++)
		if (der_step(&p, end, false, &tag) == NULL)
			return 0;
	time = d2i_ASN1_TIME(NULL, &p, end - p);
	if (time != NULL && ASN1_TIME_to_tm(time, &tm) == 1)
		when = timegm(&tm);
	ASN1_TIME_free(time);
	ERR_clear_error();
	return when;
}

/* The end of a list is its signature, which is another one with every other content. */
static bool make_tag(struct strv bytes, char out[2 * SHA256_SIZE + 1])
{
	size_t n = bytes.n < TAG_BYTES ? bytes.n : TAG_BYTES;
	uint8_t hash[SHA256_SIZE];

	if (EVP_Digest(bytes.p + bytes.n - n, n, hash, NULL, EVP_sha256(), NULL) != 1)
		return false;
	text_hex(out, hash, sizeof(hash));
	return true;
}

/* Takes what stands in the opened file. The one before stays when that fails. */
static int load(struct crl_file *f, int fd, const struct stat *st)
{
	char tag[sizeof(f->tag)];
	struct http_shared *map;
	struct strv bytes;
	int64_t end;

	if (!S_ISREG(st->st_mode) || st->st_size <= 0 || st->st_size > (off_t)CRL_FILE_MAX)
		return -1;
	bytes.n = (size_t)st->st_size;
	bytes.p = mmap(NULL, bytes.n, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes.p == MAP_FAILED)
		return -1;
	end = end_of(bytes);
	map = end != 0 && make_tag(bytes, tag) ? malloc(sizeof(*map)) : NULL;
	if (map == NULL) {
		munmap((void *)(uintptr_t)bytes.p, bytes.n);
		return -1;
	}
	*map = (struct http_shared){ .bytes = bytes, .refs = 1, .free = unmap };
	file_clear(f);
	f->map = map;
	f->st = *st;
	f->next_update = end;
	memcpy(f->tag, tag, sizeof(tag));
	return 0;
}

static struct crl_file *slot_of(struct crl_keeper *k, const char *name)
{
	for (unsigned i = 0; i < k->n; i++) {
		if (strcmp(k->files[i].name, name) == 0)
			return &k->files[i];
	}
	if (k->n == FILES_MAX)
		return NULL;
	snprintf(k->files[k->n].name, sizeof(k->files[k->n].name), "%s", name);
	return &k->files[k->n++];
}

/* What is served now under that name; NULL: there is none. */
static const struct crl_file *look(struct crl_keeper *k, const char *name)
{
	char path[4400];
	struct crl_file *f;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/crl/%s", k->worker->settings->common.state_dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	f = slot_of(k, name);
	if (f != NULL && fstat(fd, &st) == 0 && (f->map == NULL || !is_same_file(&f->st, &st)) && load(f, fd, &st) < 0)
		log_say(LOG_ERROR, "list_unusable", "%s is no CRL: revoke or wait until the next one is made", path);
	close(fd);
	return f != NULL && f->map != NULL ? f : NULL;
}

/* --- answering --- */

/* "<64 hex>.crl" or "<64 hex>.delta.crl": nothing else reaches the file system. */
static bool is_list_name(struct strv name)
{
	uint8_t hash[SHA256_SIZE];
	struct strv hex = { name.p, 64 };

	if (name.n <= 64 || text_unhex(hash, sizeof(hash), hex) < 0)
		return false;
	for (size_t i = 0; i < 64; i++) {
		if (name.p[i] >= 'A' && name.p[i] <= 'F')
			return false;
	}
	name.p += 64;
	name.n -= 64;
	return strv_eq(name, STRV(".crl")) || strv_eq(name, STRV(".delta.crl"));
}

/* RFC 9110 section 13.2.2: If-None-Match decides where it is there. */
static bool is_unchanged(const struct http_request *r, const struct crl_file *f)
{
	struct strv since = http_request_field(r, "If-Modified-Since");

	if (http_request_field(r, "If-None-Match").p != NULL)
		return http_request_has_tag(r, f->tag);
	return since.p != NULL && is_our_date(since, f->st.st_mtim.tv_sec);
}

static void serve_list(struct enroll_worker *w, struct http_request *r)
{
	struct strv rest = route_rest(r, "/crl/");
	const struct crl_file *f = NULL;
	char name[96], date[32];
	int64_t left;

	if (is_list_name(rest) && rest.n < sizeof(name)) {
		memcpy(name, rest.p, rest.n);
		name[rest.n] = '\0';
		if (chain_issuer(w->chain, (struct strv){ name, 64 }) != NULL)
			f = look(w->crl, name);
	}
	if (f == NULL) {
		http_reply_field(r, "Cache-Control", "no-store");
		http_reply_text(r, 404, "there is no such list\n");
		return;
	}
	left = f->next_update - loop_wall(w->loop);
	print_date(f->st.st_mtim.tv_sec, date);
	http_reply_field(r, "ETag", "\"%s\"", f->tag);
	http_reply_field(r, "Last-Modified", "%s", date);
	http_reply_field(r, "Cache-Control", "public, max-age=%lld, must-revalidate", (long long)(left < 0 ? 0 : left > AGE_MAX ? AGE_MAX : left));
	print_date((time_t)f->next_update, date);
	http_reply_field(r, "Expires", "%s", date);
	if (is_unchanged(r, f))
		http_reply(r, 304, NULL, (struct strv){ NULL, 0 });
	else
		http_reply_shared(r, 200, "application/pkix-crl", f->map);
}

static void serve_issuer(struct enroll_worker *w, struct http_request *r)
{
	struct strv rest = route_rest(r, "/ca/");
	const struct chain_entry *e = NULL;

	if (rest.n == 68 && (memcmp(rest.p + 64, ".cer", 4) == 0 || memcmp(rest.p + 64, ".crt", 4) == 0))
		e = chain_issuer(w->chain, (struct strv){ rest.p, 64 });
	if (e == NULL) {
		http_reply_field(r, "Cache-Control", "no-store");
		http_reply_text(r, 404, "there is no such issuer\n");
		return;
	}
	http_reply_field(r, "Cache-Control", "public, max-age=%d", AGE_MAX);
	http_reply(r, 200, "application/pkix-cert", e->der);
}

#define EVERYWHERE (HTTP_WAY_TLS | HTTP_WAY_PLAIN)

const struct route crl_routes[] = {
	{ "GET", "/crl/", EVERYWHERE, ROUTE_PREFIX | ROUTE_CACHED, ROUTE_OPEN, serve_list },
	{ "GET", "/ca/", EVERYWHERE, ROUTE_PREFIX | ROUTE_CACHED, ROUTE_OPEN, serve_issuer },
	{ NULL, NULL, 0, 0, ROUTE_OPEN, NULL },
};

struct crl_keeper *crl_keeper_new(struct enroll_worker *w)
{
	struct crl_keeper *k = calloc(1, sizeof(*k));

	if (k != NULL)
		k->worker = w;
	return k;
}

void crl_keeper_free(struct crl_keeper *k)
{
	if (k == NULL)
		return;
	for (unsigned i = 0; i < k->n; i++)
		file_clear(&k->files[i]);
	free(k);
}
