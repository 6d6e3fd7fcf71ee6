/*
 * revoke_older: a registry that was put back from a copy knows less than the list that it had published since. What the list says of its certificates is
 * taken over, so that nobody who was revoked is good again. Only more is ever revoked by it. Worker process.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/der.h"
#include "common/log.h"
#include "enroll/worker/revoke_parts.h"

#define MARGIN	 86400	/* seconds: clocks */
#define LIST_MAX (128u << 20)
#define REMOVED	 8	/* removeFromCRL */

/* What is looked at of a list (RFC 5280 section 5.1), borrowed from its bytes. */
struct published {
	struct strv entries;
	uint64_t number;
};

struct entry {
	uint8_t serial[REGISTRY_SERIAL];
	int64_t at;
	int reason;
};

/* Whether the extension on top of *rest has this identifier; its value. Takes it off. 0 or -1. */
static int take_extension(struct strv *rest, struct strv oid, bool *is_it, struct strv *value)
{
	struct strv inside, id, critical;

	if (der_take(rest, DER_SEQUENCE, &inside, NULL) < 0 || der_take(&inside, DER_OID, &id, NULL) < 0 ||
	    (der_peek(inside) == DER_BOOLEAN && der_take(&inside, DER_BOOLEAN, &critical, NULL) < 0) || der_take(&inside, DER_OCTETS, value, NULL) < 0)
		return -1;
	*is_it = strv_eq(id, oid);
	return 0;
}

static int take_number(struct strv extensions, uint64_t *number)
{
	static const char crl_number[] = { 0x55, 0x1d, 0x14 };
	struct strv value, inside, digits;
	bool is_it;

	while (extensions.n > 0) {
		if (take_extension(&extensions, (struct strv){ crl_number, sizeof(crl_number) }, &is_it, &value) < 0)
			return -1;
		if (!is_it)
			continue;
		if (der_take(&value, DER_INTEGER, &inside, NULL) < 0 || der_unsigned(inside, &digits) < 0 || digits.n > sizeof(*number))
			return -1;
		for (*number = 0; digits.n > 0; digits.p++, digits.n--)
			*number = *number << 8 | (uint8_t)digits.p[0];
		return 0;
	}
	return -1;
}

static int read_list(struct strv der, struct published *out)
{
	struct strv whole, tbs, part, extensions;

	*out = (struct published){ .number = 0 };
	if (der_take(&der, DER_SEQUENCE, &whole, NULL) < 0 || der_take(&whole, DER_SEQUENCE, &tbs, NULL) < 0 || der_take(&tbs, DER_INTEGER, &part, NULL) < 0 ||
	    der_take(&tbs, DER_SEQUENCE, &part, NULL) < 0 || der_take(&tbs, DER_SEQUENCE, &part, NULL) < 0)
		return -1;
	while (der_peek(tbs) == DER_UTC_TIME || der_peek(tbs) == DER_TIME)
		if (der_take(&tbs, der_peek(tbs), &part, NULL) < 0)
			return -1;
	if (der_peek(tbs) == DER_SEQUENCE && der_take(&tbs, DER_SEQUENCE, &out->entries, NULL) < 0)
		return -1;
	if (der_take(&tbs, DER_CONSTRUCTED(0), &part, NULL) < 0 || der_take(&part, DER_SEQUENCE, &extensions, NULL) < 0)
		return -1;
	return take_number(extensions, &out->number);
}

/* The next entry, taken off *rest. 0 or -1. */
static int take_entry(struct strv *rest, struct entry *out)
{
	static const char reason_code[] = { 0x55, 0x1d, 0x15 };
	struct strv one, serial, time, extensions, value, reason;
	bool is_it;
	int tag;

	*out = (struct entry){ .reason = REVOKE_UNSPECIFIED };
	if (der_take(rest, DER_SEQUENCE, &one, NULL) < 0 || der_take(&one, DER_INTEGER, &value, NULL) < 0 || der_unsigned(value, &serial) < 0 ||
	    serial.n < 1 || serial.n > REGISTRY_SERIAL)
		return -1;
	memcpy(out->serial + REGISTRY_SERIAL - serial.n, serial.p, serial.n);
	tag = der_peek(one);
	if (der_take(&one, tag, &time, NULL) < 0 || der_time(tag, time, &out->at) < 0)
		return -1;
	if (one.n == 0)
		return 0;
	if (der_take(&one, DER_SEQUENCE, &extensions, NULL) < 0)
		return -1;
	while (extensions.n > 0) {
		if (take_extension(&extensions, (struct strv){ reason_code, sizeof(reason_code) }, &is_it, &value) < 0)
			return -1;
		if (is_it && der_take(&value, DER_ENUMERATED, &reason, NULL) == 0 && reason.n == 1)
			out->reason = reason.p[0];
	}
	return 0;
}

/* What the list says becomes what the registry says. 1: it did; 0: it says so already; -1: the registry does not know the certificate, or fails. */
static int take_over(struct revoke *v, const struct entry *e)
{
	const struct registry_by by = { "system", "by the list that was published: the registry is an older copy", loop_wall(v->c.loop) };
	enum registry_act_kind kind = e->reason == REVOKE_HOLD ? REGISTRY_ACT_HOLD : REGISTRY_ACT_REVOKE;
	/* as enrolment revokes; others' reasons never came onto a list of ours */
	int reason = e->reason < 0 || e->reason > 10 || e->reason == 2 || e->reason == 7 || e->reason == 8 ? REVOKE_UNSPECIFIED : e->reason;
	struct registry_certificate c;
	struct registry_act act;

	if (registry_certificate_get(v->c.registry, e->serial, &c) != REGISTRY_OK)
		return -1;
	if (c.state != REGISTRY_LIVE && !(c.state == REGISTRY_HOLD && kind == REGISTRY_ACT_REVOKE))
		return 0;
	return registry_act_begin(v->c.registry, &by, kind, e->serial, reason, &act) == REGISTRY_OK ? 1 : -1;
}

static void compare(struct revoke *v, const struct revoke_issuer *i, struct strv der)
{
	struct published list;
	uint64_t known = 0;
	unsigned taken = 0, unknown = 0;
	struct entry e;
	int rc;

	if (read_list(der, &list) < 0 || registry_crl_number(v->c.registry, i->name, 0, &known) != REGISTRY_OK || list.number <= known)
		return;
	while (list.entries.n > 0 && take_entry(&list.entries, &e) == 0) {
		/* what was revoked before the copy was made stands in it; what a delta takes off, no list on the disk has */
		if (e.at < i->full.this_update - MARGIN || e.reason == REMOVED)
			continue;
		rc = take_over(v, &e);
		taken += rc > 0;
		unknown += rc < 0;
	}
	/* nothing: a crash lost the list's row and no more */
	if (taken + unknown == 0)
		return;
	log_say(LOG_ERROR, "registry_older", "list %" PRIu64 " of %.16s... is newer than the registry, which was put back from a copy: %u revocations were taken over "
	    "from it; %u certificates on it are unknown here and leave the list: if that matters, end them with easenroll ca rollover", list.number, i->name, taken,
	    unknown);
}

static void look_at(struct revoke *v, const struct revoke_issuer *i, const char *ending)
{
	char path[REVOKE_PATH + REGISTRY_HEX + 16];
	struct stat st;
	void *p;
	int fd;

	snprintf(path, sizeof(path), "%s/%s%s", v->list_dir, i->name, ending);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= (off_t)LIST_MAX) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p != MAP_FAILED) {
			compare(v, i, (struct strv){ p, (size_t)st.st_size });
			munmap(p, (size_t)st.st_size);
		}
	}
	close(fd);
}

void revoke_older_look(struct revoke *v, struct revoke_issuer *i)
{
	if (i->compared)
		return;
	i->compared = true;
	/* of a long list the last revocations stand on the delta alone */
	look_at(v, i, ".crl");
	look_at(v, i, ".delta.crl");
}
