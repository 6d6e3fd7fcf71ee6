/*
 * der_mutate: makes libFuzzer change ASN.1 as structure: one value is left out, doubled, swapped, emptied, wrapped, retagged or replaced (NULL, BOOLEAN,
 * absurd INTEGERs and OIDs, another value of the message), and the lengths around it are made right again, so that readers get past them. Bytes alone find
 * that in years. To be included once, by a fuzz target: it defines LLVMFuzzerCustomMutator().
 */
#ifndef EASGATE_TESTS_DER_MUTATE_H
#define EASGATE_TESTS_DER_MUTATE_H

#include "fuzz.h"

#define MUTATE_NODES 1024
#define MUTATE_MAX   65536

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t n, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t max, unsigned seed);

/* A value: from `at`, its contents from `inside` to `end`. */
struct mutate_node {
	size_t at, inside, end;
	int parent;
};

struct mutate_tree {
	const uint8_t *bytes;
	struct mutate_node node[MUTATE_NODES];
	int n;
};

struct mutate_out {
	uint8_t p[MUTATE_MAX];
	size_t n;
};

static inline void mutate_put(struct mutate_out *o, const void *p, size_t n)
{
	if (n > 0 && n <= sizeof(o->p) - o->n) {
		memcpy(o->p + o->n, p, n);
		o->n += n;
	}
}

static inline void mutate_byte(struct mutate_out *o, size_t byte)
{
	uint8_t b = (uint8_t)byte;

	mutate_put(o, &b, 1);
}

static inline void mutate_head(struct mutate_out *o, unsigned tag, size_t n)
{
	mutate_byte(o, tag);
	if (n >= 0x10000) {
		mutate_byte(o, 0x83);
		mutate_byte(o, n >> 16);
	} else if (n >= 0x100) {
		mutate_byte(o, 0x82);
	} else if (n >= 0x80) {
		mutate_byte(o, 0x81);
	}
	if (n >= 0x100)
		mutate_byte(o, n >> 8);
	mutate_byte(o, n);
}

/* All that is there, inside of one more value. */
static inline void mutate_wrap(struct mutate_out *o, unsigned tag)
{
	static struct mutate_out one;

	one.n = 0;
	mutate_head(&one, tag, o->n);
	mutate_put(&one, o->p, o->n);
	memcpy(o->p, one.p, one.n);
	o->n = one.n;
}

/* Definite lengths only. False: no value there that ends before `end`. */
static inline bool mutate_read(const uint8_t *p, size_t at, size_t end, struct mutate_node *out)
{
	size_t n, digits, i = at + 2;

	if (end - at < 2 || (p[at] & 0x1f) == 0x1f || p[at + 1] == 0x80)
		return false;
	n = p[at + 1];
	if (n > 0x80) {
		digits = n & 0x7f;
		if (digits > 3 || end - i < digits)
			return false;
		for (n = 0; digits > 0; digits--)
			n = n << 8 | p[i++];
	}
	if (n > end - i)
		return false;
	out->at = at;
	out->inside = i;
	out->end = i + n;
	return true;
}

static inline bool mutate_list(struct mutate_tree *t, size_t at, size_t end, int parent)
{
	int first = t->n, last;

	for (; at < end; at = t->node[t->n - 1].end) {
		if (t->n == MUTATE_NODES || !mutate_read(t->bytes, at, end, &t->node[t->n])) {
			t->n = first;
			return false;
		}
		t->node[t->n++].parent = parent;
	}
	last = t->n;
	for (int i = first; i < last; i++) {
		const struct mutate_node *o = &t->node[i];
		unsigned tag = t->bytes[o->at];

		/* what octets and bits hold may be ASN.1, too */
		if ((tag & 0x20) != 0 || (tag == 0x04 && o->end - o->inside > 4))
			(void)mutate_list(t, o->inside, o->end, i);
		else if (tag == 0x03 && o->end - o->inside > 4)
			(void)mutate_list(t, o->inside + 1, o->end, i);
	}
	return true;
}

static inline void mutate_strange(struct mutate_out *o, unsigned which)
{
	static const uint8_t null[] = { 5, 0 }, yes[] = { 1, 1, 0xff }, no[] = { 1, 1, 0 }, empty_bool[] = { 1, 0 }, zero[] = { 2, 1, 0 }, minus[] = { 2, 1, 0xff },
			     empty_int[] = { 2, 0 }, empty_oid[] = { 6, 0 }, open_oid[] = { 6, 2, 0x2a, 0x86 }, bits[] = { 3, 2, 9, 1 }, no_bits[] = { 3, 0 },
			     open[] = { 0x30, 0x80, 0, 0 }, open_octets[] = { 0x24, 0x80, 4, 1, 1, 0, 0 }, end[] = { 0, 0 }, real[] = { 9, 0 },
			     time[] = { 0x17, 3, '0', '0', 'Z' }, long_tag[] = { 0xbf, 0x81, 0x01, 0 }, padded[] = { 2, 3, 0, 0, 1 };
	static const struct strv all[] = { { (const char *)null, 2 }, { (const char *)yes, 3 }, { (const char *)no, 3 }, { (const char *)empty_bool, 2 },
		{ (const char *)zero, 3 }, { (const char *)minus, 3 }, { (const char *)empty_int, 2 }, { (const char *)empty_oid, 2 },
		{ (const char *)open_oid, 4 }, { (const char *)bits, 4 }, { (const char *)no_bits, 2 }, { (const char *)open, 4 },
		{ (const char *)open_octets, 7 }, { (const char *)end, 2 }, { (const char *)real, 2 }, { (const char *)time, 5 },
		{ (const char *)long_tag, 4 }, { (const char *)padded, 5 } };
	uint8_t fill[600];

	if (which % 24 < ARRAY_LEN(all)) {
		mutate_put(o, all[which % 24].p, all[which % 24].n);
		return;
	}
	/* INTEGERs, OIDs and texts of absurd length */
	memset(fill, which & 1 ? 0x86 : 0x41, sizeof(fill));
	fill[sizeof(fill) - 1] = 1;
	mutate_head(o, which % 3 == 0 ? 2 : which % 3 == 1 ? 6 : 0x13, sizeof(fill));
	mutate_put(o, fill, sizeof(fill));
}

/* The value, with something about its length or contents that should not be. */
static inline void mutate_shape(const struct mutate_tree *t, const struct mutate_node *v, unsigned seed, struct mutate_out *o)
{
	const uint8_t *p = t->bytes + v->inside, tag = t->bytes[v->at];
	size_t n = v->end - v->inside, whole = v->end - v->at;

	switch (seed % 5) {
	case 0:			/* a length with a zero before it */
		mutate_byte(o, tag);
		mutate_byte(o, 0x83);
		mutate_byte(o, n >> 16);
		mutate_byte(o, n >> 8);
		mutate_byte(o, n);
		mutate_put(o, p, n);
		break;
	case 1:			/* none */
		mutate_byte(o, tag | 0x20u);
		mutate_byte(o, 0x80);
		mutate_put(o, tag & 0x20 ? p : t->bytes + v->at, tag & 0x20 ? n : whole);
		mutate_put(o, "\0", 2);
		break;
	case 2:			/* cut */
		mutate_head(o, tag, n / 2);
		mutate_put(o, p, n / 2);
		break;
	case 3:			/* something behind its end */
		mutate_head(o, tag, n + 2);
		mutate_put(o, p, n);
		mutate_put(o, "\5", 2);
		break;
	default:		/* one bit of it */
		mutate_head(o, tag, n);
		mutate_put(o, p, n);
		if (n > 0 && o->n > n)
			o->p[o->n - 1 - (seed >> 12) % n] ^= (uint8_t)(1u << (seed >> 24 & 7));
		break;
	}
}

/* What stands in the place of this value. */
static inline void mutate_value(const struct mutate_tree *t, int i, unsigned seed, struct mutate_out *o)
{
	const struct mutate_node *v = &t->node[i], *other = &t->node[(seed >> 12) % (unsigned)t->n];
	const uint8_t *p = t->bytes, more = (uint8_t)(seed >> 24);
	size_t n = v->end - v->inside, whole = v->end - v->at;

	switch (seed % 16) {
	case 0:			/* left out */
		break;
	case 1:			/* doubled */
		mutate_put(o, p + v->at, whole);
		mutate_put(o, p + v->at, whole);
		break;
	case 2:
	case 3:
	case 4:
		mutate_strange(o, seed >> 8);
		break;
	case 5:			/* emptied */
		mutate_head(o, p[v->at], 0);
		break;
	case 6:			/* another tag */
		mutate_head(o, more, n);
		mutate_put(o, p + v->inside, n);
		break;
	case 7:			/* another one of the message */
		mutate_put(o, p + other->at, other->end - other->at);
		break;
	case 8:			/* and another one */
		mutate_put(o, p + v->at, whole);
		mutate_put(o, p + other->at, other->end - other->at);
		break;
	case 9:			/* in a nest */
		mutate_put(o, p + v->at, whole);
		for (unsigned k = 0; k < more; k++)
			mutate_wrap(o, k & 1 ? 0x30 : 0x31);
		break;
	case 10:		/* in a SET, an OCTET STRING, [0] */
		mutate_head(o, more & 1 ? 0x31 : more & 2 ? 0x04 : 0xa0, whole);
		mutate_put(o, p + v->at, whole);
		break;
	default:
		mutate_shape(t, v, seed >> 4, o);
		break;
	}
}

static inline size_t mutate_der(uint8_t *bytes, size_t n, size_t max, unsigned seed)
{
	static struct mutate_tree t;
	static struct mutate_out out, around;
	int i;

	t = (struct mutate_tree){ .bytes = bytes };
	if (n > MUTATE_MAX / 2 || !mutate_list(&t, 0, n, -1) || t.n == 0)
		return 0;
	i = (int)((seed >> 4) * 2654435761u % (unsigned)t.n);
	out.n = 0;
	mutate_value(&t, i, seed * 2246822519u ^ seed >> 15, &out);
	for (int up = t.node[i].parent; up >= 0; i = up, up = t.node[up].parent) {
		const struct mutate_node *v = &t.node[up];

		around.n = 0;
		mutate_head(&around, bytes[v->at], t.node[i].at - v->inside + out.n + v->end - t.node[i].end);
		mutate_put(&around, bytes + v->inside, t.node[i].at - v->inside);
		mutate_put(&around, out.p, out.n);
		mutate_put(&around, bytes + t.node[i].end, v->end - t.node[i].end);
		out = around;
	}
	/* what stood before and behind the outermost value */
	around.n = 0;
	mutate_put(&around, bytes, t.node[i].at);
	mutate_put(&around, out.p, out.n);
	mutate_put(&around, bytes + t.node[i].end, n - t.node[i].end);
	if (around.n == 0 || around.n > max)
		return 0;
	memcpy(bytes, around.p, around.n);
	return around.n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t max, unsigned seed)
{
	size_t made = 0;

	for (unsigned k = 0; k <= (seed >> 28) % 3 && (seed & 3) != 0; k++) {
		size_t one = mutate_der(bytes, made > 0 ? made : n, max, seed * (2 * k + 1) * 2654435761u ^ seed >> 7);

		made = one > 0 ? one : made;
	}
	return made > 0 ? made : LLVMFuzzerMutate(bytes, n, max);
}

#endif
