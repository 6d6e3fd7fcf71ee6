/*
 * object_memory: slabs of equal objects for OpenSSL and libevent. Knows nothing of what lies in them and wipes nothing: whoever keeps a secret
 * in an object wipes it, as with malloc(). Every process.
 */
#include "common/object_memory.h"

#include <event2/event.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#define REGION_BITS	34			/* 16 GiB of address space; memory is taken as it is touched */
#define REGION_SIZE	((size_t)1 << REGION_BITS)
#define NO_REGION	UINTPTR_MAX		/* a tag that no address has: the C library serves */
#define OPENED_AT_ONCE	16u
#define SLABS_MAX	(REGION_SIZE / OBJECT_SLAB_SIZE)
#define FINE_MAX	512u			/* sizes up to here are told apart by 16 bytes */
#define SMALL_MAX	4096u
#define LIKELY(x)	__builtin_expect(!!(x), 1)
#define UNLIKELY(x)	__builtin_expect(!!(x), 0)
#define CLASSES		(FINE_MAX / 16 + 12)
#define KEPT_MAX	32u			/* empty slabs (1 MiB) that wait for the next rush */
#define RECORD_MIN	16384u			/* OpenSSL's buffers of one record each, a few of which are kept ready */
#define RECORD_MAX	17408u
#define RECORDS_KEPT	16u

/* The head of a slab; objects follow. A free object's first word leads to the next free one. */
struct slab {
	struct slab *next, *prev;	/* of the class's slabs with room; of empty ones (next only) */
	void *free;			/* hidden by `mask` */
	uint32_t used, fresh;		/* objects given out; objects never given out begin at this offset */
	uint32_t size, room;		/* of one object; how many fit */
	uint32_t class;
	uint32_t pad[5];
};
_Static_assert(sizeof(struct slab) % 16 == 0, "objects are aligned");

static struct {
	uintptr_t tag;			/* what all addresses of the region begin with */
	uintptr_t mask;			/* what a stray write puts in a free object leads nowhere useful */
	struct slab *room[CLASSES];
	uint8_t class[SMALL_MAX / 16 + 1];
	size_t reached, opened;		/* slabs that were ever in use, and that may be, lie before these numbers */
	struct slab *empty;		/* with memory behind them */
	size_t kept, slabs;
	uint64_t released[SLABS_MAX / 64];	/* a bit each: without memory; none lies before this word: */
	size_t released_from;
	void *record[RECORDS_KEPT];
	unsigned records;
} at = { .tag = NO_REGION };

/* Steps of 16 bytes, and above FINE_MAX four for each doubling. */
static uint32_t class_of(size_t n)
{
	uint32_t top, step;

	if (n <= FINE_MAX)
		return n == 0 ? 0 : (uint32_t)((n - 1) / 16);
	top = 31u - (uint32_t)__builtin_clz((uint32_t)n - 1);	/* 9 to 11 */
	step = ((uint32_t)n - 1) >> (top - 2) & 3;
	return FINE_MAX / 16 + (top - 9) * 4 + step;
}

static uint32_t size_of(uint32_t class)
{
	uint32_t above = class - FINE_MAX / 16;

	if (class < FINE_MAX / 16)
		return (class + 1) * 16;
	return (5 + above % 4) << (above / 4 + 7);
}

static void *hide(const void *p)
{
	return (void *)((uintptr_t)p ^ at.mask);
}

/* False for NULL, and for everything where there is no region. */
static bool is_ours(const void *p)
{
	return (uintptr_t)p >> REGION_BITS == at.tag;
}

static struct slab *slab_of(void *p)
{
	return (struct slab *)(void *)((char *)p - ((uintptr_t)p & (OBJECT_SLAB_SIZE - 1)));
}

static struct slab *slab_number(size_t i)
{
	return (struct slab *)((at.tag << REGION_BITS) + i * OBJECT_SLAB_SIZE);
}

static void room_add(struct slab *s)
{
	s->prev = NULL;
	s->next = at.room[s->class];
	if (s->next != NULL)
		s->next->prev = s;
	at.room[s->class] = s;
}

static void room_remove(struct slab *s)
{
	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		at.room[s->class] = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
}

/* The lowest one that the kernel has back, or NULL. */
static struct slab *slab_released(void)
{
	for (; at.released_from * 64 < at.reached; at.released_from++) {
		uint64_t *word = &at.released[at.released_from];
		if (*word != 0) {
			size_t bit = (size_t)__builtin_ctzll(*word);
			*word &= *word - 1;
			return slab_number(at.released_from * 64 + bit);
		}
	}
	return NULL;
}

/* The next one of the region, whose pages may not be touched before. NULL: it is full, or there is no memory. */
static struct slab *slab_reached(void)
{
	if (at.reached == at.opened) {
		if (at.opened == SLABS_MAX ||
		    mprotect(slab_number(at.opened), (size_t)OPENED_AT_ONCE * OBJECT_SLAB_SIZE, PROT_READ | PROT_WRITE) < 0)
			return NULL;
		at.opened += OPENED_AT_ONCE;
	}
	return slab_number(at.reached++);
}

/* NULL: the region is full, or there is no memory. */
static struct slab *slab_new(uint32_t class)
{
	struct slab *s = at.empty;

	if (s != NULL) {
		at.empty = s->next;
		at.kept--;
	} else {
		s = slab_released();
		if (s == NULL)
			s = slab_reached();
		if (s == NULL)
			return NULL;
	}
	s->size = size_of(class);
	s->room = (uint32_t)((OBJECT_SLAB_SIZE - sizeof(*s)) / s->size);
	s->class = class;
	s->used = 0;
	s->fresh = sizeof(*s);
	s->free = hide(NULL);
	room_add(s);
	at.slabs++;
	return s;
}

/* The kernel is asked for several at once, not at each. */
static void release_down_to(size_t left)
{
	while (at.kept > left) {
		struct slab *s = at.empty;
		size_t i = ((uintptr_t)s & (REGION_SIZE - 1)) / OBJECT_SLAB_SIZE;
		at.empty = s->next;
		at.kept--;
		(void)madvise(s, OBJECT_SLAB_SIZE, MADV_DONTNEED);
		at.released[i / 64] |= (uint64_t)1 << i % 64;
		if (i / 64 < at.released_from)
			at.released_from = i / 64;
	}
}

static void keep(struct slab *s)
{
	room_remove(s);
	at.slabs--;
	s->next = at.empty;
	at.empty = s;
	at.kept++;
}

static void slab_emptied(struct slab *s)
{
	/* the last one with room stays: the next object of this size comes soon */
	if (s->next == NULL && s->prev == NULL)
		return;
	keep(s);
	if (at.kept > KEPT_MAX)
		release_down_to(KEPT_MAX / 2);
}

/* --- a connection's buffers, of one record each: borrowed for one read or write at a time --- */

static void *large_get(size_t n)
{
	if (n < RECORD_MIN || n > RECORD_MAX)
		return malloc(n);
	return at.records > 0 ? at.record[--at.records] : malloc(RECORD_MAX);
}

static void large_give(void *p)
{
	size_t n = malloc_usable_size(p);

	if (n >= RECORD_MAX && n < RECORD_MAX + 64 && at.records < RECORDS_KEPT)
		at.record[at.records++] = p;
	else
		free(p);
}

/* --- what OpenSSL and libevent call --- */

/* No slab of this size has room, or it is no matter of slabs. */
static __attribute__((noinline)) void *get_slowly(size_t n)
{
	if (n > SMALL_MAX || at.tag == NO_REGION || slab_new(class_of(n)) == NULL)
		return large_get(n);
	return object_memory_get(n);
}

void *object_memory_get(size_t n)
{
	struct slab *s = LIKELY(n <= SMALL_MAX) ? at.room[at.class[(n + 15) / 16]] : NULL;
	void *p;

	if (UNLIKELY(s == NULL))
		return get_slowly(n);
	p = hide(s->free);
	if (LIKELY(p != NULL)) {
		s->free = *(void **)p;
	} else {
		p = (char *)s + s->fresh;
		s->fresh += s->size;
	}
	if (UNLIKELY(++s->used == s->room))
		room_remove(s);
	return p;
}

/* The slab was full, or is empty now. */
static __attribute__((noinline)) void give_slowly(struct slab *s)
{
	if (s->used + 1 == s->room)
		room_add(s);
	if (s->used == 0)
		slab_emptied(s);
}

void object_memory_give(void *p)
{
	struct slab *s;

	if (UNLIKELY(!is_ours(p))) {
		if (p != NULL)
			large_give(p);
		return;
	}
	s = slab_of(p);
	if (UNLIKELY(s->used == 0 || p == hide(s->free)))
		abort();		/* given twice: nothing here can be trusted any more */
	*(void **)p = s->free;
	s->free = hide(p);
	s->used--;
	if (UNLIKELY(s->used == 0 || s->used + 1 == s->room))
		give_slowly(s);
}

size_t object_memory_size(void *p)
{
	return is_ours(p) ? slab_of(p)->size : malloc_usable_size(p);
}

void *object_memory_resize(void *p, size_t n)
{
	size_t had;
	void *q;

	if (p == NULL)
		return object_memory_get(n);
	if (n == 0) {
		object_memory_give(p);
		return NULL;
	}
	had = object_memory_size(p);
	if (n <= had && n >= had / 2)
		return p;
	q = object_memory_get(n);
	if (q == NULL)
		return NULL;
	memcpy(q, p, n < had ? n : had);
	object_memory_give(p);
	return q;
}

#ifndef EASGATE_SANITIZED
void *object_new(size_t n)
{
	void *p = object_memory_get(n);

	return p != NULL ? memset(p, 0, n) : NULL;
}

void object_free(void *p)
{
	object_memory_give(p);
}
#else
void *object_new(size_t n)
{
	return calloc(1, n);
}

void object_free(void *p)
{
	free(p);
}
#endif

void object_memory_trim(void)
{
	/* one of each size at most: slab_emptied() took all others */
	for (size_t i = 0; i < CLASSES; i++) {
		if (at.room[i] != NULL && at.room[i]->used == 0)
			keep(at.room[i]);
	}
	release_down_to(0);
	while (at.records > 0)
		free(at.record[--at.records]);
}

void object_memory_use(struct object_memory_use *out)
{
	*out = (struct object_memory_use){ .slabs = at.slabs, .kept = at.kept };
	for (size_t i = 0; i < at.reached; i++) {
		/* reading one that has no memory would give it some */
		if ((at.released[i / 64] >> i % 64 & 1) == 0)
			out->objects += slab_number(i)->used;
	}
}

#ifndef EASGATE_SANITIZED

static void *get(size_t n, const char *file UNUSED, int line UNUSED)
{
	return object_memory_get(n);
}

static void *resize(void *p, size_t n, const char *file UNUSED, int line UNUSED)
{
	return object_memory_resize(p, n);
}

static void give(void *p, const char *file UNUSED, int line UNUSED)
{
	object_memory_give(p);
}

#endif

void object_memory_init(void)
{
	uintptr_t begin;
	char *p;

	if (at.tag != NO_REGION)
		return;
	/* twice as much, so that a whole region of aligned addresses lies in it; what is not needed goes back */
	p = mmap(NULL, 2 * REGION_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return;
	begin = ((uintptr_t)p + REGION_SIZE - 1) & ~(REGION_SIZE - 1);
	if (begin != (uintptr_t)p)
		(void)munmap(p, begin - (uintptr_t)p);
	(void)munmap((char *)p + (begin - (uintptr_t)p) + REGION_SIZE, REGION_SIZE - (begin - (uintptr_t)p));
	/* one huge page would be 2 MiB for the first object of each size */
	(void)madvise((char *)p + (begin - (uintptr_t)p), REGION_SIZE, MADV_NOHUGEPAGE);
	if (getrandom(&at.mask, sizeof(at.mask), 0) != (ssize_t)sizeof(at.mask))
		at.mask = (uintptr_t)p >> 12;
	for (size_t i = 0; i < ARRAY_LEN(at.class); i++)
		at.class[i] = (uint8_t)class_of(i * 16);
	at.tag = begin >> REGION_BITS;
#ifndef EASGATE_SANITIZED
	/* refused once OpenSSL has allocated anything: then it stays with the C library */
	(void)CRYPTO_set_mem_functions(get, resize, give);
	event_set_mem_functions(object_memory_get, object_memory_resize, object_memory_give);
#endif
}
