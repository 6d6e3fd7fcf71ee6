/*
 * buffer: growing bytes under a ceiling, and the pool of 4 and 16 KiB blocks that they live in.
 * Must not keep what it held: every block is wiped before it goes back. Runs in every process, in
 * one thread.
 */
#include "common/buffer.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_SMALL 4096u
#define BLOCK_LARGE 16384u
#define PRINTF_SHORT 1024

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define POOL_MAX 0 /* lets the sanitizer see every use after a release */
#else
#define POOL_MAX 256
#endif

struct block { /* what a free block holds at its start */
	struct block *next;
};

static struct pool {
	size_t size;
	size_t held;
	struct block *first;
} pools[] = {
	{ BLOCK_SMALL, 0, NULL },
	{ BLOCK_LARGE, 0, NULL },
};

static struct pool *pool_of(size_t size)
{
	for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
		if (pools[i].size == size)
			return &pools[i];
	}
	return NULL;
}

static char *block_take(size_t size)
{
	struct pool *pool = pool_of(size);
	struct block *block;

	if (pool == NULL || pool->first == NULL)
		return malloc(size);
	block = pool->first;
	pool->first = block->next;
	pool->held--;
	block->next = NULL;
	return (char *)block;
}

/* `used`: the bytes at its start that held data. */
static void block_give(char *base, size_t size, size_t used)
{
	struct pool *pool = pool_of(size);
	struct block *block = (struct block *)(void *)base;

	if (base == NULL)
		return;
	OPENSSL_cleanse(base, used);
	if (pool == NULL || pool->held + 1 > POOL_MAX) {
		free(base);
		return;
	}
	block->next = pool->first;
	pool->first = block;
	pool->held++;
}

void buffer_pool_trim(size_t keep)
{
	for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
		while (pools[i].held > keep) {
			struct block *block = pools[i].first;

			pools[i].first = block->next;
			pools[i].held--;
			free(block);
		}
	}
}

void buffer_init(struct buffer *b, size_t max)
{
	*b = (struct buffer){ .max = max };
}

void buffer_clear(struct buffer *b)
{
	block_give(b->base, b->size, b->high);
	buffer_init(b, b->max);
}

void buffer_release_empty(struct buffer *b)
{
	if (buffer_len(b) == 0)
		buffer_clear(b);
}

/* The two block sizes, then doubling; never far above the ceiling. */
static size_t size_for(const struct buffer *b, size_t need)
{
	size_t size;

	if (need <= BLOCK_SMALL)
		return BLOCK_SMALL;
	if (need <= BLOCK_LARGE)
		return BLOCK_LARGE;
	for (size = BLOCK_LARGE; size < need && size <= b->max / 2; size *= 2)
		;
	return size < need ? b->max : size;
}

static int grow(struct buffer *b, size_t need)
{
	size_t len = buffer_len(b), size = size_for(b, need);
	char *base = block_take(size);

	if (base == NULL)
		return -1;
	if (len > 0)
		memcpy(base, b->base + b->start, len);
	block_give(b->base, b->size, b->high);
	b->base = base;
	b->size = size;
	b->start = 0;
	b->end = b->high = len;
	return 0;
}

char *buffer_reserve(struct buffer *b, size_t want, size_t *got)
{
	size_t len = buffer_len(b), room = buffer_room(b);

	if (want == 0)
		want = 1;
	if (want > room)
		return NULL;
	if (b->size - b->end < want) {
		if (b->size - len >= want) {
			memmove(b->base, b->base + b->start, len);
			b->start = 0;
			b->end = len;
		} else if (grow(b, len + want) < 0) {
			return NULL;
		}
	}
	*got = b->size - b->end < room ? b->size - b->end : room;
	return b->base + b->end;
}

void buffer_added(struct buffer *b, size_t n)
{
	if (n > b->size - b->end || n > buffer_room(b))
		bug("buffer: %zu bytes added where %zu were free", n, b->size - b->end);
	b->end += n;
	if (b->end > b->high)
		b->high = b->end;
}

int buffer_add(struct buffer *b, const void *bytes, size_t n)
{
	size_t got;
	char *to;

	if (n == 0)
		return 0;
	to = buffer_reserve(b, n, &got);
	if (to == NULL)
		return -1;
	memcpy(to, bytes, n);
	buffer_added(b, n);
	return 0;
}

int buffer_addv(struct buffer *b, struct strv text)
{
	return buffer_add(b, text.p, text.n);
}

int buffer_printf(struct buffer *b, const char *fmt, ...)
{
	char brief[PRINTF_SHORT], *text = brief;
	va_list args;
	int n, rc = -1;

	va_start(args, fmt);
	n = vsnprintf(brief, sizeof(brief), fmt, args);
	va_end(args);
	if (n >= (int)sizeof(brief)) {
		va_start(args, fmt);
		n = vasprintf(&text, fmt, args);
		va_end(args);
		if (n < 0)
			text = brief;
	}
	if (n >= 0)
		rc = buffer_add(b, text, (size_t)n);
	OPENSSL_cleanse(brief, n < 0 || n >= (int)sizeof(brief) ? sizeof(brief) : (size_t)n);
	if (text != brief) {
		OPENSSL_cleanse(text, (size_t)n);
		free(text);
	}
	return rc;
}

void buffer_eat(struct buffer *b, size_t n)
{
	if (n > buffer_len(b))
		bug("buffer: %zu bytes taken where %zu are held", n, buffer_len(b));
	b->start += n;
	if (b->start == b->end)
		b->start = b->end = 0;
}
