/*
 * ca_show: what is in the CA's folder, for people and for programs. Reads certificates only.
 */
#include <jansson.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/certificate.h"
#include "common/text.h"
#include "enroll/cli/ca_parts.h"
#include "enroll/signer/authority_build.h"

struct shown {
	char subject[256], until[32], from[32], spki[2 * SHA256_SIZE + 1],
	    sha256[2 * SHA256_SIZE + 1];
	long days;
	const char *key;
};

static void format_time(const ASN1_TIME *t, char out[32], int64_t *seconds)
{
	time_t when;
	struct tm tm;

	snprintf(out, 32, "?");
	*seconds = 0;
	if (authority_time(t, seconds) < 0)
		return;
	when = (time_t)*seconds;
	if (gmtime_r(&when, &tm) != NULL)
		strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void describe(const struct ca_entry *e, struct shown *s)
{
	int64_t when;

	memset(s, 0, sizeof(*s));
	s->key = e->key[0] == '\0' ? "elsewhere" : key_is_token(e->key) ? "token" : "file";
	if (e->certificate == NULL)
		return;
	cert_name_for_log(X509_get_subject_name(e->certificate), s->subject, sizeof(s->subject));
	format_time(X509_get0_notBefore(e->certificate), s->from, &when);
	format_time(X509_get0_notAfter(e->certificate), s->until, &when);
	s->days = (long)((when - (int64_t)time(NULL)) / 86400);
	text_hex(s->spki, e->spki_sha256, SHA256_SIZE);
	text_hex(s->sha256, e->sha256, SHA256_SIZE);
}

static int show_json(const struct ca_files *f, struct refusal *r)
{
	json_t *rows = json_array(), *root;
	char *text;

	for (size_t i = 0; i < f->n; i++) {
		const struct ca_entry *e = &f->entries[i];
		struct shown s;

		describe(e, &s);
		json_array_append_new(rows,
		    json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:I,s:s,s:s,s:s}", "kind",
			ca_kind_name(e->kind), "state", ca_state_name(e->state), "generation",
			(json_int_t)e->generation, "subject", s.subject, "not_before", s.from,
			"not_after", s.until, "days_left", (json_int_t)s.days, "spki_sha256",
			s.spki, "sha256", s.sha256, "key", s.key));
	}
	root = json_pack(
	    "{s:s,s:s,s:o}", "name", f->name, "folder", f->folder, "certificates", rows);
	text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
	json_decref(root);
	if (text == NULL)
		return refuse(r, SIGNER_BROKEN, "out of memory");
	puts(text);
	free(text);
	return 0;
}

int ca_show(const struct ca_options *o, struct refusal *r)
{
	struct ca_files *f = calloc(1, sizeof(*f));
	int rc = -1;

	if (f == NULL)
		return refuse(r, SIGNER_BROKEN, "out of memory");
	if (!ca_files_exist(o->folder)) {
		refuse(r, SIGNER_NONE,
		    "%s holds no CA (or it may not be read by you): easenroll ca init makes one",
		    o->folder);
		goto out;
	}
	if (ca_files_load(f, o->folder, r) < 0)
		goto out;
	if (o->json) {
		rc = show_json(f, r);
		goto out;
	}
	printf("%s: %s\n%-8s %-8s %3s  %-9s %6s  %s\n", f->folder, f->name, "kind", "state", "gen",
	    "key", "days", "subject");
	for (size_t i = 0; i < f->n; i++) {
		const struct ca_entry *e = &f->entries[i];
		struct shown s;

		describe(e, &s);
		printf("%-8s %-8s %3u  %-9s %6ld  %s\n", ca_kind_name(e->kind),
		    ca_state_name(e->state), e->generation, s.key, s.days,
		    e->certificate != NULL ?
			s.subject :
			"(its certificate has not come back yet: easenroll ca import)");
	}
	rc = 0;
out:
	ca_files_clear(f);
	free(f);
	return rc;
}
