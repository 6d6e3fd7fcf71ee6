/*
 * pac: reads KERB_VALIDATION_INFO as the KDC marshalled it. The bytes come out of a ticket that our
 * own key opened, and are still treated as hostile. Runs in the *kerberos* process; no allocation.
 */
#include "proxy/kerberos/pac.h"

#include "common/text.h"

/* A walk over NDR bytes, little endian. `bad` sticks: after it everything reads as zero. */
struct ndr {
	const uint8_t *p;
	size_t n, at;
	bool bad;
};

static const uint8_t *ndr_bytes(struct ndr *r, size_t n)
{
	if (r->bad || n > r->n - r->at) {
		r->bad = true;
		return NULL;
	}
	r->at += n;
	return r->p + r->at - n;
}

static void ndr_align(struct ndr *r)
{
	size_t rest = r->at % 4;

	if (rest != 0)
		(void)ndr_bytes(r, 4 - rest);
}

static uint32_t ndr_u32(struct ndr *r)
{
	const uint8_t *b;

	ndr_align(r);
	b = ndr_bytes(r, 4);
	if (b == NULL)
		return 0;
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint16_t ndr_u16(struct ndr *r)
{
	const uint8_t *b = ndr_bytes(r, 2);

	if (b == NULL)
		return 0;
	return (uint16_t)(b[0] | b[1] << 8);
}

/* RPC_UNICODE_STRING as it stands in a structure; its characters come later. */
struct ndr_string {
	uint16_t bytes, max;
	uint32_t pointer;
};

static struct ndr_string ndr_string_head(struct ndr *r)
{
	struct ndr_string s;

	s.bytes = ndr_u16(r);
	s.max = ndr_u16(r);
	s.pointer = ndr_u32(r);
	return s;
}

/* The characters, UTF-16LE; empty where there are none. */
static struct strv ndr_string_tail(struct ndr *r, const struct ndr_string *s)
{
	uint32_t max, offset, actual;
	const uint8_t *b;

	if (s->pointer == 0)
		return (struct strv){ NULL, 0 };
	max = ndr_u32(r);
	offset = ndr_u32(r);
	actual = ndr_u32(r);
	if (offset != 0 || actual > max || max > 32768 || s->bytes % 2 != 0 ||
	    actual != s->bytes / 2) {
		r->bad = true;
		return (struct strv){ NULL, 0 };
	}
	b = ndr_bytes(r, (size_t)actual * 2);
	return (struct strv){ (const char *)b, b == NULL ? 0 : (size_t)actual * 2 };
}

static void ndr_sid(struct ndr *r, struct sid *out)
{
	uint32_t parts = ndr_u32(r);
	const uint8_t *b;

	out->n = 0;
	if (parts > SID_PARTS_MAX) {
		r->bad = true;
		return;
	}
	b = ndr_bytes(r, 8 + 4 * (size_t)parts);
	if (b == NULL ||
	    sid_from_bytes((struct strv){ (const char *)b, 8 + 4 * (size_t)parts }, out) < 0)
		r->bad = true;
}

/* domain + RID. */
static int sid_in_domain(const struct sid *domain, uint32_t rid, struct sid *out)
{
	if (domain->n == 0 || domain->n + 4 > SID_BYTES_MAX)
		return -1;
	*out = *domain;
	out->byte[1]++;
	for (int i = 0; i < 4; i++)
		out->byte[out->n++] = (uint8_t)(rid >> (8 * i));
	return 0;
}

static void add_sid(struct ndr *r, struct pac_identity *out, const struct sid *sid)
{
	if (r->bad || out->n == PAC_SIDS_MAX) {
		r->bad = true;
		return;
	}
	out->group[out->n++] = *sid;
}

static void add_rid(struct ndr *r, struct pac_identity *out, const struct sid *domain, uint32_t rid)
{
	struct sid sid;

	if (sid_in_domain(domain, rid, &sid) < 0)
		r->bad = true;
	else
		add_sid(r, out, &sid);
}

/* UTF-16LE to UTF-8; only what text_copy() takes. */
static int put_name(char out[ACCOUNT_NAME_MAX], struct strv utf16)
{
	char text[ACCOUNT_NAME_MAX + 4];
	size_t n = 0;

	for (size_t i = 0; i + 1 < utf16.n; i += 2) {
		uint32_t c = (uint32_t)(uint8_t)utf16.p[i] | (uint32_t)(uint8_t)utf16.p[i + 1] << 8;
		if (n >= ACCOUNT_NAME_MAX)
			return -1;
		if (c < 0x80) {
			text[n++] = (char)c;
		} else if (c < 0x800) {
			text[n++] = (char)(0xc0 | c >> 6);
			text[n++] = (char)(0x80 | (c & 0x3f));
		} else {
			if (c >= 0xd800 && c < 0xe000)
				return -1; /* sAMAccountName has no characters above the BMP */
			text[n++] = (char)(0xe0 | c >> 12);
			text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
			text[n++] = (char)(0x80 | (c & 0x3f));
		}
	}
	return text_copy(out, ACCOUNT_NAME_MAX, (struct strv){ text, n });
}

/* The fixed part: what is needed later. */
struct logon_info {
	/* EffectiveName, FullName, LogonScript, ProfilePath, HomeDirectory, HomeDirectoryDrive */
	struct ndr_string text[6];
	struct ndr_string server, domain;
	uint32_t user_rid, primary_rid;
	uint32_t groups_n, groups, domain_sid;
	uint32_t extra_n, extra;
	uint32_t resource_domain, resource_n, resource;
};

static void read_fixed(struct ndr *r, struct logon_info *i)
{
	(void)ndr_bytes(r, 6 * 8); /* LogonTime ... PasswordMustChange */
	for (size_t k = 0; k < ARRAY_LEN(i->text); k++)
		i->text[k] = ndr_string_head(r);
	(void)ndr_bytes(r, 4); /* LogonCount, BadPasswordCount */
	i->user_rid = ndr_u32(r);
	i->primary_rid = ndr_u32(r);
	i->groups_n = ndr_u32(r);
	i->groups = ndr_u32(r);
	(void)ndr_bytes(r, 4 + 16); /* UserFlags, UserSessionKey */
	i->server = ndr_string_head(r);
	i->domain = ndr_string_head(r);
	i->domain_sid = ndr_u32(r);
	(void)ndr_bytes(r, 8 + 4 + 4 + 8 + 8 + 4 + 4); /* Reserved1 ... Reserved3 */
	i->extra_n = ndr_u32(r);
	i->extra = ndr_u32(r);
	i->resource_domain = ndr_u32(r);
	i->resource_n = ndr_u32(r);
	i->resource = ndr_u32(r);
}

/* An array of { RID, attributes } behind its count. */
static void read_rids(
    struct ndr *r, uint32_t pointer, uint32_t expected, uint32_t rid[PAC_SIDS_MAX], size_t *n)
{
	*n = 0;
	if (pointer == 0) {
		r->bad |= expected != 0;
		return;
	}
	if (ndr_u32(r) != expected || expected > PAC_SIDS_MAX) {
		r->bad = true;
		return;
	}
	while (*n < expected && !r->bad) {
		rid[(*n)++] = ndr_u32(r);
		(void)ndr_u32(r);
	}
}

static void read_extra(struct ndr *r, const struct logon_info *i, struct pac_identity *out)
{
	uint32_t present = 0;
	struct sid sid;

	if (i->extra == 0) {
		r->bad |= i->extra_n != 0;
		return;
	}
	if (ndr_u32(r) != i->extra_n || i->extra_n > PAC_SIDS_MAX) {
		r->bad = true;
		return;
	}
	for (uint32_t k = 0; k < i->extra_n && !r->bad; k++) {
		if (ndr_u32(r) != 0)
			present++;
		(void)ndr_u32(r);
	}
	for (uint32_t k = 0; k < present && !r->bad; k++) {
		ndr_sid(r, &sid);
		add_sid(r, out, &sid);
	}
}

/* What the pointers of the fixed part stand for, in their order. */
static void read_deferred(struct ndr *r, const struct logon_info *i, struct pac_identity *out)
{
	uint32_t rid[PAC_SIDS_MAX];
	struct sid domain = { 0 };
	struct strv name;
	size_t n;

	name = ndr_string_tail(r, &i->text[0]);
	for (size_t k = 1; k < ARRAY_LEN(i->text); k++)
		(void)ndr_string_tail(r, &i->text[k]);
	read_rids(r, i->groups, i->groups_n, rid, &n);
	(void)ndr_string_tail(r, &i->server);
	(void)ndr_string_tail(r, &i->domain);
	if (i->domain_sid != 0)
		ndr_sid(r, &domain);
	if (r->bad || sid_in_domain(&domain, i->user_rid, &out->own) < 0 ||
	    put_name(out->name, name) < 0) {
		r->bad = true;
		return;
	}
	add_rid(r, out, &domain, i->primary_rid);
	for (size_t k = 0; k < n; k++)
		add_rid(r, out, &domain, rid[k]);
	read_extra(r, i, out);
	domain.n = 0;
	if (i->resource_domain != 0)
		ndr_sid(r, &domain);
	read_rids(r, i->resource, i->resource_n, rid, &n);
	for (size_t k = 0; k < n; k++)
		add_rid(r, out, &domain, rid[k]);
}

int pac_identity_parse(struct strv bytes, struct pac_identity *out)
{
	struct ndr r = { .p = (const uint8_t *)bytes.p, .n = bytes.n };
	struct logon_info info = { 0 };
	const uint8_t *head;

	out->own.n = 0;
	out->n = 0;
	out->name[0] = '\0';
	/* Type serialization version 1 (MS-RPCE 2.2.6): version, little endian, length 8; then the
	 * object's length. */
	head = ndr_bytes(&r, 8);
	if (head == NULL || head[0] != 1 || head[1] != 0x10 || head[2] != 8 || head[3] != 0)
		return -1;
	(void)ndr_bytes(&r, 8);
	if (ndr_u32(&r) == 0)
		return -1;
	read_fixed(&r, &info);
	if (!r.bad)
		read_deferred(&r, &info, out);
	if (r.bad)
		out->own.n = 0, out->n = 0;
	return r.bad ? -1 : 0;
}

bool pac_identity_protected(const struct pac_identity *who, const struct refused_groups *refused)
{
	struct account a = { .flags = 0 };

	memcpy(a.sam, who->name, sizeof(a.sam));
	facts_from_token(&a, &who->own, who->group, who->n, NULL, 0, refused);
	return who->own.n == 0 || (a.flags & (ACCOUNT_PROTECTED | ACCOUNT_NOT_DELEGATED)) != 0;
}
